//! Which BPF programs are loaded. Decided here alone: by facts about the kernel, and by what the
//! call is for.
//!
//! The programs of a group do the same work; at most one of a group's variants is loaded. The head
//! of `sockleak.bpf.c` says what each of them does.

use std::fmt;

use bitflags::bitflags;

use super::{Config, KernelTypes};

/// The size that the walk through a hash table assumes of a bucket.
const BUCKET_SIZE: usize = 8;

bitflags! {
    /// Facts about a kernel, as its BTF states them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KernelFacts: u16 {
        /// `iter/bpf_map_elem`, an iterator over the elements of a map. Since 5.9 (a5cbe05a6673).
        const MAP_ITERATOR = 1 << 0;
        /// `bpf_sock_from_file()`. Since 5.11 (4f19cab76136).
        const SOCK_FROM_FILE = 1 << 1;
        /// `bpf_loop()`. Since 5.17 (e6f2dd0f8067).
        const LOOP = 1 << 2;
        /// `bpf_rdonly_cast()`. Since 6.2 (a35b9af4ec2c).
        const CAST = 1 << 3;
        /// The pointer to the hash table lies in a struct of its own. In 5.18 to 6.0 (fbb8295248e1,
        /// 17c91487364f).
        const TABLE_APART = 1 << 4;
        /// A network namespace can have a hash table of its own. Since 6.1 (d1e5e6408b30).
        const OWN_TABLES = 1 << 5;
        /// A bucket of the hash table is as large as the walk assumes. On all kernels so far.
        const KNOWN_BUCKETS = 1 << 6;
        /// `enum sock_flags` names all flags that are read. On all kernels so far.
        const KNOWN_FLAGS = 1 << 7;
        /// The table of files of an io_uring is as the programs know it. Since 6.13 (7029acd8a950).
        const RING_TABLES = 1 << 8;
        /// All network namespaces are in a list, and can be told from its head. On all kernels so far.
        const LISTED_NAMESPACES = 1 << 9;
    }
}

impl KernelFacts {
    /// Reads them.
    pub fn of(kernel: &KernelTypes) -> Self {
        let flags = ["SOCK_DEAD", "SOCK_DONE", "SOCK_KEEPOPEN"];
        let facts = [
            (Self::MAP_ITERATOR, kernel.has_struct("bpf_iter__bpf_map_elem")),
            (Self::SOCK_FROM_FILE, kernel.has_helper("bpf_sock_from_file")),
            (Self::LOOP, kernel.has_helper("bpf_loop")),
            (Self::CAST, kernel.has_function("bpf_rdonly_cast")),
            (Self::TABLE_APART, kernel.member_is_pointer("netns_ipv4", "tcp_death_row")),
            (Self::OWN_TABLES, kernel.has_member("inet_hashinfo", "pernet")),
            (Self::KNOWN_BUCKETS, kernel.size_of_struct("inet_ehash_bucket") == Some(BUCKET_SIZE)),
            (
                Self::RING_TABLES,
                kernel.has_member("io_rsrc_data", "nodes")
                    && kernel.has_member("io_file_table", "data")
                    && kernel.has_struct("io_rsrc_node"),
            ),
            (
                Self::LISTED_NAMESPACES,
                kernel.has_member("net", "list") && kernel.has_member("ns_common", "ops"),
            ),
            (Self::KNOWN_FLAGS, flags.iter().all(|flag| kernel.has_value("sock_flags", flag))),
        ];
        facts.into_iter().filter(|(_, is_so)| *is_so).map(|(fact, _)| fact).collect()
    }
}

/// The work that a program does. Variants of one program are of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Reports transitions.
    Transitions,
    /// Reports processes that exit.
    Exits,
    /// Finds out which process holds which socket.
    Files,
    /// Reports what the last one keeps, where it cannot report that itself.
    Kept,
    /// Walks along accept queues.
    Queues,
    /// Reports what is in them.
    Queued,
    /// Walks through the hash table of connections.
    Hash,
    /// Names the network namespaces.
    Namespaces,
}

/// A program, and when it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name in `sockleak.bpf.c`.
    pub name: &'static str,
    /// Its work.
    pub group: Group,
    /// The facts without which it is not loaded.
    pub needs: KernelFacts,
    /// The facts with which it is not loaded, since another variant is better.
    pub unless: KernelFacts,
}

const NONE: KernelFacts = KernelFacts::empty();
const HASH: KernelFacts = KernelFacts::MAP_ITERATOR.union(KernelFacts::KNOWN_BUCKETS);
const LOOP: KernelFacts = KernelFacts::LOOP;
const CAST: KernelFacts = KernelFacts::CAST;
const APART: KernelFacts = KernelFacts::TABLE_APART;
const OWN_TABLES: KernelFacts = KernelFacts::OWN_TABLES.union(KernelFacts::LISTED_NAMESPACES);

const fn program(
    name: &'static str,
    group: Group,
    needs: KernelFacts,
    unless: KernelFacts,
) -> Program {
    Program { name, group, needs, unless }
}

/// Every program.
pub const PROGRAMS: [Program; 14] = [
    // The kernel calls the first of these two first.
    program("on_set_state", Group::Transitions, NONE, NONE),
    program("on_skipped", Group::Transitions, NONE, NONE),
    program("on_exit", Group::Exits, NONE, NONE),
    program("scan_tasks", Group::Files, CAST, NONE),
    program("report_kept", Group::Kept, CAST, NONE),
    program("scan_files", Group::Files, KernelFacts::SOCK_FROM_FILE, CAST),
    program("scan_files_by_magic", Group::Files, NONE, KernelFacts::SOCK_FROM_FILE.union(CAST)),
    program("walk_queues", Group::Queues, KernelFacts::MAP_ITERATOR.union(LOOP), NONE),
    program("walk_queues_unrolled", Group::Queues, KernelFacts::MAP_ITERATOR, LOOP),
    program("report_queued", Group::Queued, KernelFacts::MAP_ITERATOR, NONE),
    program("scan_ehash", Group::Hash, HASH.union(LOOP), APART),
    program("scan_ehash_apart", Group::Hash, HASH.union(LOOP).union(APART), NONE),
    program("scan_ehash_unrolled", Group::Hash, HASH, LOOP),
    program("scan_netns", Group::Namespaces, HASH.union(OWN_TABLES), NONE),
];

impl Program {
    /// True if this kernel gets it, for whatever call needs it.
    pub fn is_for(&self, kernel: KernelFacts) -> bool {
        kernel.contains(self.needs) && !kernel.intersects(self.unless)
    }
}

/// The programs that are loaded on such a kernel.
pub fn programs(kernel: KernelFacts, config: &Config) -> Vec<Program> {
    let is_needed = |group| match group {
        Group::Transitions => !config.transitions.is_empty(),
        Group::Exits => !config.transitions.is_empty() && config.scans,
        _ => config.scans,
    };
    let is_loaded = |program: &Program| program.is_for(kernel) && is_needed(program.group);
    PROGRAMS.into_iter().filter(is_loaded).collect()
}

/// How many connections of an accept queue are walked at the most. Without `bpf_loop()` the verifier
/// follows each turn.
pub fn queue_bound(kernel: KernelFacts) -> u32 {
    if kernel.contains(KernelFacts::LOOP) { 1 << 16 } else { 1 << 10 }
}

/// Something about this kernel that no kernel was known for: answers may be incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surprise {
    /// Connections that no process holds are not looked for.
    BucketSize,
    /// Flags of sockets may be misread.
    SockFlags,
    /// No socket is found.
    SocketFiles,
    /// Hash tables of single network namespaces are not looked for.
    Namespaces,
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BucketSize => {
                "the kernel's hash table of connections has buckets of another size"
            }
            Self::SockFlags => "the kernel's flags of sockets have other names",
            Self::Namespaces => "network namespaces cannot be listed",
            Self::SocketFiles => "the files of sockets cannot be told from others",
        })
    }
}

/// The surprises that the kernel's types tell of.
pub fn surprises(kernel: KernelFacts) -> Vec<Surprise> {
    let expected = [
        (KernelFacts::KNOWN_BUCKETS, Surprise::BucketSize),
        (KernelFacts::KNOWN_FLAGS, Surprise::SockFlags),
    ];
    let missing = expected.into_iter().filter(|(fact, _)| !kernel.contains(*fact));
    let mut surprises: Vec<_> = missing.map(|(_, surprise)| surprise).collect();
    if kernel.contains(KernelFacts::OWN_TABLES) && !kernel.contains(OWN_TABLES) {
        surprises.push(Surprise::Namespaces);
    }
    surprises
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use libbpf_rs::ObjectBuilder;
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};

    use super::*;
    use crate::bpf::SockleakSkelBuilder;
    use crate::sock::state::StateSet;

    const KNOWN: KernelFacts = KernelFacts::KNOWN_BUCKETS
        .union(KernelFacts::KNOWN_FLAGS)
        .union(KernelFacts::LISTED_NAMESPACES);
    const V5_8: KernelFacts = KNOWN;
    const V5_10: KernelFacts = V5_8.union(KernelFacts::MAP_ITERATOR);
    const V5_11: KernelFacts = V5_10.union(KernelFacts::SOCK_FROM_FILE);
    const V5_17: KernelFacts = V5_11.union(KernelFacts::LOOP);
    const V5_18: KernelFacts = V5_17.union(KernelFacts::TABLE_APART);
    const V6_1: KernelFacts = V5_17.union(KernelFacts::OWN_TABLES);
    const V6_2: KernelFacts = V6_1.union(KernelFacts::CAST);

    fn config(transitions: StateSet, scans: bool) -> Config {
        let watched = StateSet::CLOSE_WAIT;
        Config { watched, transitions, scans, ring_size: 1 << 20, btf: None, kept: &[] }
    }

    fn names(kernel: KernelFacts, transitions: StateSet, scans: bool) -> Vec<&'static str> {
        let programs = programs(kernel, &config(transitions, scans));
        programs.iter().map(|program| program.name).collect()
    }

    fn for_list(kernel: KernelFacts) -> Vec<&'static str> {
        names(kernel, StateSet::NONE, true)
    }

    #[test]
    fn each_kernel_gets_its_variants() {
        assert_eq!(for_list(V5_8), ["scan_files_by_magic"]);
        assert_eq!(
            for_list(V5_10),
            ["scan_files_by_magic", "walk_queues_unrolled", "report_queued", "scan_ehash_unrolled"]
        );
        assert_eq!(
            for_list(V5_11),
            ["scan_files", "walk_queues_unrolled", "report_queued", "scan_ehash_unrolled"]
        );
        assert_eq!(for_list(V5_17), ["scan_files", "walk_queues", "report_queued", "scan_ehash"]);
        assert_eq!(
            for_list(V5_18),
            ["scan_files", "walk_queues", "report_queued", "scan_ehash_apart"]
        );
        assert_eq!(
            for_list(V6_1),
            ["scan_files", "walk_queues", "report_queued", "scan_ehash", "scan_netns"]
        );
        assert_eq!(
            for_list(V6_2),
            [
                "scan_tasks",
                "report_kept",
                "walk_queues",
                "report_queued",
                "scan_ehash",
                "scan_netns"
            ]
        );
    }

    #[test]
    fn a_call_gets_what_it_needs() {
        assert_eq!(names(V6_2, StateSet::ALL, false), ["on_set_state", "on_skipped"]);
        let for_watch = names(V6_2, StateSet::CLOSE_WAIT, true);
        assert_eq!(for_watch[..3], ["on_set_state", "on_skipped", "on_exit"]);
        assert_eq!(for_watch[3..], for_list(V6_2));
    }

    #[test]
    fn whatever_the_kernel_no_group_has_two_variants() {
        for bits in 0..=KernelFacts::all().bits() {
            let programs =
                programs(KernelFacts::from_bits_retain(bits), &config(StateSet::NONE, true));
            let files = programs.iter().filter(|program| program.group == Group::Files).count();
            assert_eq!(files, 1, "{bits:b}");
            for (index, program) in programs.iter().enumerate() {
                let same = |other: &&Program| other.group == program.group;
                assert_eq!(programs[..index].iter().find(same).map(|other| other.name), None);
            }
        }
    }

    #[test]
    fn other_buckets_are_a_surprise_and_not_walked() {
        let kernel = V6_2 - KernelFacts::KNOWN_BUCKETS;
        assert_eq!(surprises(kernel), [Surprise::BucketSize]);
        assert!(!for_list(kernel).contains(&"scan_ehash"));
        assert_eq!(surprises(V5_8), []);
    }

    #[test]
    fn namespaces_out_of_sight_matter_where_they_may_have_tables() {
        let unlisted = KernelFacts::LISTED_NAMESPACES;
        assert_eq!(surprises(V6_2 - unlisted), [Surprise::Namespaces]);
        assert!(!for_list(V6_2 - unlisted).contains(&"scan_netns"));
        assert_eq!(surprises(V5_17 - unlisted), []);
    }

    #[test]
    fn the_table_names_every_program_of_the_object() {
        let builder = SockleakSkelBuilder { obj_builder: ObjectBuilder::default() };
        let mut object = MaybeUninit::uninit();
        let open = builder.open(&mut object).unwrap();
        let mut there: Vec<String> = open
            .open_object()
            .progs()
            .map(|prog| prog.name().to_string_lossy().into_owned())
            .collect();
        let mut named: Vec<_> = PROGRAMS.iter().map(|program| program.name.to_owned()).collect();
        there.sort();
        named.sort();
        assert_eq!(named, there);
    }
}
