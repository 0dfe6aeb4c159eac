//! The kernel's type information (BTF): facts about the kernel, and where they come from.
//!
//! Relocations could be done with any copy of it. But what a tracepoint or an iterator attaches to
//! is named by its number in the kernel's own BTF, and libbpf looks that up in
//! /sys/kernel/btf/vmlinux, and in a few places under /boot and /lib, and nowhere else.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::slice;

use libbpf_rs::AsRawLibbpf;
use libbpf_rs::btf::types::{Enum, Func, Ptr, Struct, Typedef};
use libbpf_rs::btf::{Btf, BtfType, HasSize, TypeId};
use libbpf_rs::libbpf_sys::btf__raw_data;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::ProbeError;
use super::error::{collect_notes, refused, take_notes};

const SYSFS: &str = "/sys";
const SYSFS_BTF: &str = "/sys/kernel/btf";
const SYSFS_VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A kernel's BTF takes 4 to 10 MB, and less than 64 MiB inside a vmlinux without debug information.
const LARGEST_FILE: u64 = 64 << 20;

/// The kernel's types.
pub struct KernelTypes {
    btf: Btf<'static>,
    /// Where it comes from, if not from the kernel.
    file: Option<PathBuf>,
}

impl KernelTypes {
    /// Reads the running kernel's; where /sys hides it, from this file, and has libbpf find it
    /// there too.
    ///
    /// # Errors
    /// Where there is none, or the file is another kernel's.
    pub fn of_kernel(file: Option<&Path>) -> Result<Self, ProbeError> {
        collect_notes();
        let own = Btf::from_vmlinux();
        // It is no failure yet.
        take_notes();
        let Some(file) = file else {
            let btf = own.map_err(|_| ProbeError::NoBtf)?;
            return Ok(Self { btf, file: None });
        };
        let given = parse(file)?;
        let Some(own) = own.ok().filter(|_| !is_stood_in()) else {
            stand_in(file).map_err(|error| {
                let why = "to put it in the place of the kernel's own, which is hidden, needs \
                           CAP_SYS_ADMIN";
                ProbeError::bad_btf(file, format!("{why}: {error}"))
            })?;
            return Ok(Self { btf: given, file: Some(file.to_owned()) });
        };
        match fingerprint(&own) == fingerprint(&given) {
            // The kernel's own cannot be wrong.
            true => Ok(Self { btf: own, file: None }),
            false => Err(ProbeError::bad_btf(file, FOREIGN)),
        }
    }

    /// Their bytes.
    pub(super) fn raw(&self) -> &[u8] {
        let mut len = 0;
        #[expect(unsafe_code, reason = "libbpf-rs does not hand them out")]
        unsafe {
            let raw = btf__raw_data(self.btf.as_libbpf_object().as_ptr(), &raw mut len);
            match raw.is_null() {
                true => &[],
                false => slice::from_raw_parts(raw.cast(), len as usize),
            }
        }
    }

    /// True if there is a struct of this name.
    pub fn has_struct(&self, name: &str) -> bool {
        self.btf.type_by_name::<Struct<'_>>(name).is_some()
    }

    /// True if a struct has this member.
    pub fn has_member(&self, name: &str, member: &str) -> bool {
        self.member(name, member).is_some()
    }

    /// True if a struct has this member, and as a pointer.
    pub fn member_is_pointer(&self, name: &str, member: &str) -> bool {
        let id = self.member(name, member);
        id.is_some_and(|id| self.btf.type_by_id::<Ptr<'_>>(id).is_some())
    }

    fn member(&self, name: &str, member: &str) -> Option<TypeId> {
        let members: Struct<'_> = self.btf.type_by_name(name)?;
        let is_it = |name: Option<&OsStr>| name.is_some_and(|name| name == member);
        members.iter().find(|candidate| is_it(candidate.name)).map(|found| found.ty)
    }

    /// True if BPF programs may call this helper (`bpf_…`), some of them at least.
    pub fn has_helper(&self, name: &str) -> bool {
        let name = name.strip_prefix("bpf_").unwrap_or(name);
        self.has_value("bpf_func_id", &format!("BPF_FUNC_{name}"))
    }

    /// True if an enum has a value of this name.
    pub fn has_value(&self, name: &str, value: &str) -> bool {
        let values: Option<Enum<'_>> = self.btf.type_by_name(name);
        let is_it = |name: Option<&OsStr>| name.is_some_and(|name| name == value);
        values.is_some_and(|values| values.iter().any(|member| is_it(member.name)))
    }

    /// The size of a struct in bytes.
    pub fn size_of_struct(&self, name: &str) -> Option<usize> {
        self.btf.type_by_name::<Struct<'_>>(name).map(|found| found.size())
    }

    /// True if the kernel has a function of this name that BPF programs may call.
    pub fn has_function(&self, name: &str) -> bool {
        self.btf.type_by_name::<Func<'_>>(name).is_some()
    }

    /// True if there is a tracepoint of this name that BPF programs can attach to directly.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        let name = format!("btf_trace_{name}");
        self.btf.type_by_name::<Typedef<'_>>(&name).is_some()
    }

    /// True if BPF's memory counts as locked memory. Since 5.11 (80ee81e0403c) memory cgroups count
    /// it instead.
    pub fn counts_locked_memory(&self) -> bool {
        self.has_struct("bpf_map_memory")
    }

    /// True if they are from a file, and only loading will tell whether they are this kernel's.
    pub fn is_from_file(&self) -> bool {
        self.file.is_some()
    }

    /// The number of a struct, 0 where there is none.
    pub(super) fn number_of_struct(&self, name: &str) -> u32 {
        self.btf.type_by_name::<Struct<'_>>(name).map_or(0, |found| found.type_id().into())
    }

    /// Says why the programs could not be loaded.
    pub(super) fn blame(&self, error: libbpf_rs::Error) -> ProbeError {
        let denied = error.kind() == libbpf_rs::ErrorKind::PermissionDenied;
        if denied && self.counts_locked_memory() {
            return ProbeError::LockedMemory;
        }
        match &self.file {
            // libbpf has not found what it looked for, or the kernel something else at its number.
            Some(file) if !denied => ProbeError::bad_btf(file, FOREIGN),
            _ => refused("load the BPF programs")(error),
        }
    }
}

const FOREIGN: &str = "it does not belong to the running kernel";

/// Two kernels hardly ever have this in common: how many types there are, and the numbers of those
/// that programs attach to.
fn fingerprint(btf: &Btf<'_>) -> (usize, Vec<Option<TypeId>>) {
    fn id<'a, T: TryFrom<BtfType<'a>> + std::ops::Deref<Target = BtfType<'a>>>(
        btf: &'a Btf<'_>,
        name: &str,
    ) -> Option<TypeId> {
        btf.type_by_name::<T>(name).map(|found| found.type_id())
    }
    let ids = vec![
        id::<Typedef<'_>>(btf, "btf_trace_inet_sock_set_state"),
        id::<Func<'_>>(btf, "bpf_iter_task_file"),
        id::<Func<'_>>(btf, "bpf_iter_bpf_map_elem"),
        id::<Struct<'_>>(btf, "task_struct"),
        id::<Struct<'_>>(btf, "tcp_sock"),
    ];
    (btf.len(), ids)
}

fn parse(file: &Path) -> Result<Btf<'static>, ProbeError> {
    // libbpf would not say why, would wait for the writer of a FIFO, and read whatever there is.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file);
    let found = opened.and_then(|file| file.metadata());
    let found = found.map_err(|error| ProbeError::bad_btf(file, error))?;
    if !found.is_file() || found.len() > LARGEST_FILE {
        return Err(ProbeError::bad_btf(file, "it is not a regular file of at most 64 MiB"));
    }
    Btf::from_path(file).map_err(|_| {
        take_notes();
        ProbeError::bad_btf(file, "it holds no type information")
    })
}

/// Returns whether [`stand_in`] has been called before: the kernel's own file is no link.
fn is_stood_in() -> bool {
    Path::new(SYSFS_VMLINUX).is_symlink()
}

/// Puts a file into the place where libbpf looks, in a mount namespace of our own: for everybody
/// else, nothing changes.
fn stand_in(file: &Path) -> io::Result<()> {
    if is_stood_in() {
        return Ok(());
    }
    let file = fs::canonicalize(file)?;
    let place = [SYSFS_BTF, SYSFS].map(Path::new);
    let place = place.into_iter().find(|place| place.is_dir());
    let place = place.ok_or_else(|| io::Error::other("there is no /sys"))?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Mounts of the host's are still seen here from now on; ours are not seen there.
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)?;
    let tmpfs = Some("tmpfs");
    mount(tmpfs, place, tmpfs, MsFlags::empty(), None::<&str>)?;
    fs::create_dir_all(SYSFS_BTF)?;
    symlink(file, SYSFS_VMLINUX)
}
