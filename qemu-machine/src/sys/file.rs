//! Files: their holes, shared content and free space, and files in memory.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The free space of the file system of an open file, for this user.
pub(crate) fn free_bytes(file: &impl AsFd) -> io::Result<u64> {
    // SAFETY: all zeros are a valid `statvfs`.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the structure is ours.
    let result = unsafe { libc::fstatvfs(file.as_fd().as_raw_fd(), &raw mut found) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The first range of a file, at this offset or after it, that is not a hole.
/// `None` after the last one. Moves the position of the file.
pub(crate) fn next_data(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let seek = |offset: u64, whence| {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: the call only reads its arguments, and the descriptor is open.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    };
    match seek(offset, libc::SEEK_DATA) {
        Ok(start) => Ok(Some(start..seek(start, libc::SEEK_HOLE)?)),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes an empty file share the content of another, until one of them is
/// written. Fails on a file system that cannot do it.
pub(crate) fn reflink(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: the argument of this request is a descriptor, and both are open.
    let result = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A file in memory, which exists while it is open somewhere. The name is only
/// for `/proc`.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: The name is a C string, and outlives the call.
    let create = |flags| unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | flags) };
    // Since Linux 6.3. A system may require it (`vm.memfd_noexec`).
    let mut descriptor = create(libc::MFD_NOEXEC_SEAL);
    if descriptor < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        descriptor = create(0);
    }
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The kernel made the descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }.into())
}
