//! An extract of type information (BTF): a few types, and the types of their parts.
//!
//! For each type that our BPF programs name, libbpf looks at each type that the kernel has: a
//! hundred thousand, and twenty times. An extract has a few hundred. It holds all that relocations
//! need: the place and the size of each part of a type. The targets of pointers are left out, and
//! types are numbered anew.
//!
//! Without it `list` takes 1.96 ± 0.03 times as long on a host with 20 sockets, and 1.4 times beside
//! 100,000 healthy connections (6.18, two binaries in one run).
//!
//! The format is that of the kernel's Documentation/bpf/btf.rst: a header, types, strings. A type
//! consists of words: its name, its kind and how many parts it has, its size or another type, and
//! more by its kind.

use std::collections::HashMap;
use std::iter;

use rustc_hash::FxHashSet;

/// The header.
const MAGIC: u16 = 0xEB9F;
const HEADER: u32 = 24;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Removes the flavour (`___before_5_14`) from the name of a type in a BPF program.
pub(super) fn without_flavour(name: &[u8]) -> &[u8] {
    let flavour = name.windows(3).rposition(|three| three == b"___");
    match flavour {
        Some(at @ 1..) => &name[..at],
        _ => name,
    }
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn parts(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// The number of words of a part, where the kind has parts.
fn part_len(kind: u32) -> usize {
    match kind {
        STRUCT | UNION | DATASEC | ENUM64 => 3,
        ENUM | FUNC_PROTO => 2,
        _ => 0,
    }
}

/// The number of words of a type.
fn len(info: u32) -> Option<usize> {
    let extra = match kind(info) {
        INT | VAR | DECL_TAG => 1,
        ARRAY => 3,
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
        kind @ (STRUCT | UNION | ENUM | FUNC_PROTO | DATASEC | ENUM64) => {
            part_len(kind) * parts(info)
        }
        _ => return None,
    };
    Some(3 + extra)
}

/// All types, to extract some from.
pub(super) struct Types<'a> {
    words: &'a [[u8; 4]],
    /// Where each type begins, from the first, which has the number 1.
    starts: Vec<usize>,
    strings: &'a [u8],
}

impl<'a> Types<'a> {
    /// `None` where it is no BTF, or has something that is not known here.
    pub(super) fn parse(btf: &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*btf.get(at..)?.first_chunk()?));
        let section = |at: usize| {
            let start = (word(4)? as usize).checked_add(word(at)? as usize)?;
            btf.get(start..)?.get(..word(at + 4)? as usize)
        };
        if u16::from_ne_bytes(*btf.first_chunk()?) != MAGIC {
            return None;
        }
        let (types, strings) = (section(8)?, section(16)?);
        let (words, []) = types.as_chunks() else { return None };
        let mut types = Self { words, starts: Vec::new(), strings };
        let mut next = 0;
        while next < words.len() {
            types.starts.push(next);
            next += len(types.word(next + 1)?)?;
        }
        (next == words.len()).then_some(types)
    }

    /// The structs, unions and enums of these names, of whatever flavour (`name___flavour`);
    /// `None` where it contradicts itself.
    pub(super) fn extract(&self, names: &FxHashSet<Vec<u8>>) -> Option<Vec<u8>> {
        let mut extract = Extract { strings: vec![0], ..Extract::default() };
        for (id, &start) in (1..).zip(&self.starts) {
            if matches!(kind(self.word(start + 1)?), STRUCT | UNION | ENUM | ENUM64)
                && names.contains(without_flavour(self.string(self.word(start)?)?))
            {
                extract.number(id);
            }
        }
        let mut words = Vec::new();
        let mut done = 0;
        while let Some(&id) = extract.types.get(done) {
            extract.copy(self, id, &mut words)?;
            done += 1;
        }
        Some(extract.assemble(&words))
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.words.get(at).map(|&word| u32::from_ne_bytes(word))
    }

    fn words_of(&self, id: u32) -> Option<Vec<u32>> {
        let start = *self.starts.get((id as usize).checked_sub(1)?)?;
        let words = self.words.get(start..)?.get(..len(self.word(start + 1)?)?)?;
        Some(words.iter().map(|&word| u32::from_ne_bytes(word)).collect())
    }

    /// Without its end.
    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let from = self.strings.get(offset as usize..)?;
        from.split(|&byte| byte == 0).next()
    }
}

#[derive(Default)]
struct Extract {
    /// The numbers that they have in the whole, in the order of those that they have here.
    types: Vec<u32>,
    numbers: HashMap<u32, u32>,
    strings: Vec<u8>,
    offsets: HashMap<u32, u32>,
}

impl Extract {
    /// The number here of a type of the whole. 0 is void.
    fn number(&mut self, id: u32) -> u32 {
        if id == 0 {
            return 0;
        }
        *self.numbers.entry(id).or_insert_with(|| {
            self.types.push(id);
            u32::try_from(self.types.len()).unwrap_or(0)
        })
    }

    fn string(&mut self, whole: &Types<'_>, offset: u32) -> Option<u32> {
        if offset == 0 {
            return Some(0);
        }
        if let Some(&known) = self.offsets.get(&offset) {
            return Some(known);
        }
        let here = u32::try_from(self.strings.len()).ok()?;
        self.strings.extend(whole.string(offset)?.iter().chain(iter::once(&0)));
        self.offsets.insert(offset, here);
        Some(here)
    }

    /// Copies a type, with the numbers and strings that are valid here.
    fn copy(&mut self, whole: &Types<'_>, id: u32, out: &mut Vec<u32>) -> Option<()> {
        let mut words = whole.words_of(id)?;
        let info = words[1];
        words[0] = self.string(whole, words[0])?;
        let (head, tail) = words.split_at_mut(3);
        match kind(info) {
            PTR => head[2] = 0,
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => head[2] = self.number(head[2]),
            ARRAY => {
                for id in &mut tail[..2] {
                    *id = self.number(*id);
                }
            }
            kind @ (STRUCT | UNION | ENUM | ENUM64) => {
                for part in tail.chunks_mut(part_len(kind)) {
                    part[0] = self.string(whole, part[0])?;
                    if matches!(kind, STRUCT | UNION) {
                        part[1] = self.number(part[1]);
                    }
                }
            }
            INT | FWD | FLOAT => {}
            // Nothing consists of these.
            _ => return None,
        }
        out.append(&mut words);
        Some(())
    }

    fn assemble(self, types: &[u32]) -> Vec<u8> {
        // Both are shorter than in the whole.
        let len = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (types_len, strings_len) = (len(size_of_val(types)), len(self.strings.len()));
        let header = [HEADER, 0, types_len, types_len, strings_len];
        // Version 1, no flags.
        let mut bytes = Vec::from(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        bytes.extend(header.iter().chain(types).flat_map(|word| word.to_ne_bytes()));
        bytes.extend(self.strings);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names are numbers of bytes into this.
    const STRINGS: &[u8] = b"\0wanted\0a\0inner___v2\0b\0int\0other\0";
    const WANTED: u32 = 1;
    const A: u32 = 8;
    const INNER: u32 = 10;
    const B: u32 = 21;
    const INT_NAME: u32 = 23;
    const OTHER: u32 = 27;

    fn info(kind: u32, parts: u32) -> u32 {
        kind << 24 | parts
    }

    fn btf(types: &[&[u32]]) -> Vec<u8> {
        let extract = Extract { strings: STRINGS.to_vec(), ..Extract::default() };
        extract.assemble(&types.concat())
    }

    fn extract(btf: &[u8], names: &[&str]) -> Option<Vec<u8>> {
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Types::parse(btf)?.extract(&names)
    }

    fn whole() -> Vec<u8> {
        btf(&[
            &[OTHER, info(STRUCT, 1), 4, A, 2, 0],             // 1
            &[INT_NAME, info(INT, 0), 4, 32],                  // 2
            &[0, info(PTR, 0), 1],                             // 3: to other
            &[INNER, info(STRUCT, 1), 8, B, 3, 0],             // 4
            &[0, info(ARRAY, 0), 0, 4, 2, 5],                  // 5: of inner
            &[0, info(CONST, 0), 5],                           // 6
            &[WANTED, info(STRUCT, 2), 44, A, 2, 0, B, 6, 32], // 7
        ])
    }

    #[test]
    fn a_type_comes_with_what_it_consists_of_and_nothing_else() {
        let extracted = extract(&whole(), &["wanted"]).unwrap();
        let part = Types::parse(&extracted).unwrap();
        let name = |offset| std::str::from_utf8(part.string(offset).unwrap()).unwrap();
        let types: Vec<_> = (1..=6).map(|id| part.words_of(id).unwrap()).collect();
        assert_eq!(part.words_of(7), None, "other is only pointed to");
        assert_eq!(name(types[0][0]), "wanted");
        assert_eq!(types[0][1..3], [info(STRUCT, 2), 44]);
        assert_eq!((name(types[0][3]), types[0][4], types[0][5]), ("a", 2, 0));
        assert_eq!((name(types[0][6]), types[0][7], types[0][8]), ("b", 3, 32));
        assert_eq!((name(types[1][0]), &types[1][1..]), ("int", &[info(INT, 0), 4, 32][..]));
        assert_eq!(types[2], [0, info(CONST, 0), 4]);
        assert_eq!(types[3], [0, info(ARRAY, 0), 0, 5, 2, 5]);
        assert_eq!((name(types[4][0]), types[4][4]), ("inner___v2", 6));
        assert_eq!(types[5], [0, info(PTR, 0), 0]);
    }

    #[test]
    fn a_flavour_is_no_part_of_a_name() {
        assert_eq!(without_flavour(b"net___apart"), b"net");
        assert_eq!(without_flavour(b"___apart"), b"___apart");
        let extracted = extract(&whole(), &["inner"]).unwrap();
        assert_eq!(Types::parse(&extracted).unwrap().starts.len(), 2);
        let nothing = extract(&whole(), &["absent"]).unwrap();
        assert!(Types::parse(&nothing).unwrap().starts.is_empty());
    }

    #[test]
    fn what_is_no_btf_has_no_extract() {
        let wanted = ["wanted"];
        assert_eq!(extract(b"", &wanted), None);
        assert_eq!(extract(b"\x7fELF", &wanted), None);
        let whole = whole();
        for len in 0..whole.len() - 1 {
            assert_eq!(extract(&whole[..len], &wanted), None, "{len} bytes");
        }
        assert_eq!(extract(&btf(&[&[WANTED, info(30, 0), 0]]), &wanted), None);
        assert_eq!(extract(&btf(&[&[WANTED, info(STRUCT, 1), 4, A, 9, 0]]), &wanted), None);
        assert_eq!(extract(&btf(&[&[9999, info(STRUCT, 0), 4]]), &wanted), None);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_there_is_no_panic(at in 0..200_usize, byte: u8) {
            let mut bytes = whole();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = extract(&bytes, &["wanted", "other", "inner"]);
        }
    }
}
