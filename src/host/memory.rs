//! How memory is given to us.

use std::ffi::c_void;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// What x86-64 and arm64 have, with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Asks for huge pages in a block of so many bytes, for all but its beginning: a small host is not to
/// take 2 MiB where a page would do. To fault small pages in one by one takes longer than to fill
/// them: without this, `list` takes 1.1 to 1.2 times as long at 100,000 leaks (6.18, a virtual machine,
/// two binaries in one run).
pub fn prefer_huge_pages(block: NonNull<c_void>, size: usize) {
    let skipped = block.align_offset(HUGE_PAGE).saturating_add(HUGE_PAGE);
    if let Some(rest) = size.checked_sub(skipped).filter(|&rest| rest > 0) {
        // A kernel without them refuses, and all goes on as it is.
        #[expect(unsafe_code, reason = "an advice changes nothing of what memory holds")]
        let _ = unsafe { madvise(block.byte_add(skipped), rest, MmapAdvise::MADV_HUGEPAGE) };
    }
}
