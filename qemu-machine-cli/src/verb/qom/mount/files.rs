//! The file system, as the kernel asks for it: objects are directories, properties
//! are files with their values, links are symlinks.
//!
//! The length of a value is not known before it is read. So a file has the length
//! 0, as in `/proc`, and is read directly. A handle has the value of the moment
//! when it was opened, and each write is a whole new value, as in `/sys`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::entries::{Entry, Form, content};
use super::inodes::{Inodes, Node, ROOT};
use super::objects::{KEPT_FOR, Objects, Refusal};
use crate::attention::{Attention, Call};
use crate::verb::qom::value;
use qemu_machine::qmp::qom::child_path;

/// The file system of one QEMU.
pub(super) struct Files {
    objects: Objects,
    is_writable: bool,
    owner: (u32, u32),
    attention: Attention,
    since: SystemTime,
    inodes: Mutex<Inodes>,
    handles: Mutex<Handles>,
}

/// What is open.
#[derive(Default)]
struct Handles {
    open: HashMap<u64, Handle>,
    next: u64,
}

#[derive(Clone)]
enum Handle {
    /// A directory, with its entries and their numbers.
    Directory(Arc<Vec<Entry>>),
    /// A file, with its value.
    File(Arc<Vec<u8>>),
}

impl Files {
    /// `owner` is the user and the group of all files. `attention` is called if
    /// somebody unmounts it.
    pub(super) fn new(
        objects: Objects,
        root: &str,
        is_writable: bool,
        owner: (u32, u32),
        attention: Attention,
    ) -> Self {
        Self {
            objects,
            is_writable,
            owner,
            attention,
            since: SystemTime::now(),
            inodes: Mutex::new(Inodes::new(root)),
            handles: Mutex::default(),
        }
    }

    fn inodes(&self) -> MutexGuard<'_, Inodes> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_handle(&self, handle: Handle) -> FileHandle {
        let mut handles = self.handles();
        handles.next += 1;
        let number = handles.next;
        handles.open.insert(number, handle);
        FileHandle(number)
    }

    fn handle(&self, number: FileHandle) -> Result<Handle, Errno> {
        let handle = self.handles().open.get(&number.0).cloned();
        handle.ok_or(Errno::EBADF)
    }

    fn close_handle(&self, number: FileHandle) {
        self.handles().open.remove(&number.0);
    }

    fn node(&self, number: INodeNo) -> Result<Node, Errno> {
        self.inodes().node(number.0).cloned().ok_or(Errno::ENOENT)
    }

    fn object(&self, number: INodeNo) -> Result<String, Errno> {
        match self.node(number)? {
            Node::Object(path) => Ok(path),
            Node::Property(..) => Err(Errno::ENOTDIR),
        }
    }

    fn property(&self, number: INodeNo) -> Result<(String, String), Errno> {
        match self.node(number)? {
            Node::Object(_) => Err(Errno::EISDIR),
            Node::Property(path, name) => Ok((path, name)),
        }
    }

    fn list(&self, path: &str) -> Result<Arc<Vec<Entry>>, Errno> {
        self.objects.list(path, Instant::now()).map_err(errno)
    }

    fn entry(&self, path: &str, name: &str) -> Result<Entry, Errno> {
        let entries = self.list(path)?;
        let entry = entries.iter().find(|entry| entry.name == name);
        entry.cloned().ok_or(Errno::ENOENT)
    }

    fn found(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let path = self.object(parent)?;
        let entry = self.entry(&path, name.to_str().ok_or(Errno::ENOENT)?)?;
        let node = match entry.form {
            Form::Directory => Node::Object(child_path(&path, &entry.name)),
            Form::Symlink(_) | Form::File => Node::Property(path, entry.name),
        };
        let number = self.inodes().look_up(node);
        Ok(self.attributes(number, &entry.form))
    }

    fn attributes_of(&self, number: INodeNo) -> Result<FileAttr, Errno> {
        let form = match self.node(number)? {
            Node::Object(_) => Form::Directory,
            Node::Property(path, name) => self.entry(&path, &name)?.form,
        };
        Ok(self.attributes(number.0, &form))
    }

    fn attributes(&self, number: u64, form: &Form) -> FileAttr {
        let (kind, mode, size) = match form {
            Form::Directory => (FileType::Directory, 0o555, 0),
            Form::Symlink(target) => (FileType::Symlink, 0o777, target.len()),
            Form::File if self.is_writable => (FileType::RegularFile, 0o644, 0),
            Form::File => (FileType::RegularFile, 0o444, 0),
        };
        FileAttr {
            ino: INodeNo(number),
            size: size.try_into().unwrap_or(0),
            blocks: 0,
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: self.since,
            kind,
            perm: mode,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn opened(&self, number: INodeNo, flags: OpenFlags) -> Result<FileHandle, Errno> {
        let (path, name) = self.property(number)?;
        // A property that is only written need not be readable.
        let value = if flags.acc_mode() == OpenAccMode::O_WRONLY {
            Vec::new()
        } else {
            content(&self.objects.get(&path, &name).map_err(errno)?)
        };
        Ok(self.open_handle(Handle::File(Arc::new(value))))
    }

    fn written(&self, number: INodeNo, data: &[u8]) -> Result<(), Errno> {
        if !self.is_writable {
            return Err(Errno::EROFS);
        }
        let (path, name) = self.property(number)?;
        let text = str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let type_name = self.entry(&path, &name)?.type_name;
        let value = value::read(&type_name, text).map_err(|_| Errno::EINVAL)?;
        self.objects.set(&path, &name, value).map_err(errno)
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Missing => Errno::ENOENT,
        // As `/sys` has it for a value that cannot be read or set now.
        Refusal::Refused => Errno::EINVAL,
        Refusal::TimedOut => Errno::ETIMEDOUT,
        Refusal::Gone => Errno::EIO,
    }
}

/// As long as a list is kept.
const KERNEL_KEEPS_FOR: Duration = KEPT_FOR;

impl Filesystem for Files {
    fn destroy(&mut self) {
        self.attention.call(Call::Unmounted);
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.found(parent, name) {
            Ok(attributes) => reply.entry(&KERNEL_KEEPS_FOR, &attributes, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.inodes().forget(number.0, count);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes_of(number) {
            Ok(attributes) => reply.attr(&KERNEL_KEEPS_FOR, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    /// Only for `>` of a shell, which cuts a file to nothing before it writes.
    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if !self.is_writable {
            return reply.error(Errno::EROFS);
        }
        if mode.is_some() || uid.is_some() || gid.is_some() {
            return reply.error(Errno::EPERM);
        }
        match self.attributes_of(number) {
            Ok(attributes) => reply.attr(&KERNEL_KEEPS_FOR, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let read = self.property(number);
        let read = read.and_then(|(path, name)| Ok(self.entry(&path, &name)?.form));
        match read {
            Ok(Form::Symlink(target)) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.opened(number, flags) {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.handle(handle) {
            Ok(Handle::File(value)) => reply.data(part(&value, offset, size)),
            Ok(Handle::Directory(_)) => reply.error(Errno::EISDIR),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.written(number, data) {
            Ok(()) => reply.written(data.len().try_into().unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.close_handle(handle);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.object(number).and_then(|path| self.list(&path)) {
            Ok(entries) => {
                let handle = self.open_handle(Handle::Directory(entries));
                reply.opened(handle, FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = match self.handle(handle) {
            Ok(Handle::Directory(entries)) => entries,
            Ok(Handle::File(_)) => return reply.error(Errno::ENOTDIR),
            Err(errno) => return reply.error(errno),
        };
        let dots = [".", ".."].map(|name| (number, FileType::Directory, name));
        let listed = entries.iter().map(|entry| {
            let kind = match entry.form {
                Form::Directory => FileType::Directory,
                Form::Symlink(_) => FileType::Symlink,
                Form::File => FileType::RegularFile,
            };
            // The number is given out by a lookup alone.
            (UNKNOWN, kind, &*entry.name)
        });
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let all = dots.into_iter().chain(listed).zip(1..).skip(offset);
        for ((number, kind, name), next) in all {
            if reply.add(number, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close_handle(handle);
        reply.ok();
    }
}

/// A number that no file has (`FUSE_UNKNOWN_INO` of the kernel).
const UNKNOWN: INodeNo = INodeNo(0xffff_ffff);

const _: () = assert!(ROOT == INodeNo::ROOT.0);

fn part(value: &[u8], offset: u64, size: u32) -> &[u8] {
    let begin = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(value.len());
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    &value[begin..begin.saturating_add(size).min(value.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_in_parts_and_not_past_its_end() {
        let value = b"value\n";
        let table: [(u64, u32, &[u8]); 5] = [
            (0, 100, value),
            (0, 2, b"va"),
            (4, 100, b"e\n"),
            (6, 1, b""),
            (u64::MAX, u32::MAX, b""),
        ];
        for (offset, size, expected) in table {
            assert_eq!(part(value, offset, size), expected, "{offset} {size}");
        }
    }
}
