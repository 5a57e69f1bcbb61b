//! Plans the memory and the disks of a machine that can be frozen or cloned,
//! from its arguments.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::blockdev::{self, BlockDisk};
use super::group::members;
use super::{disk_file, memory};
use crate::spec::OptionGroup;

/// The memory and the disks of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImagePlan {
    pub(crate) memory_bytes: u64,
    /// The disks to which the guest can write.
    pub(crate) disks: Vec<PlannedDisk>,
}

/// A disk to which the guest can write, so it becomes an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedDisk {
    /// The index of its value among the arguments.
    argument: usize,
    /// The image, as it was given.
    pub(crate) base: PathBuf,
    /// The format of the image; `None` if it was not given.
    pub(crate) format: Option<String>,
    /// The other options.
    options: OptionGroup,
    /// Whether it is a `-blockdev`, not a `-drive`.
    is_node: bool,
    /// A node of the image that must not write: its index, and its new value.
    fixed: Option<(usize, OptionGroup)>,
}

/// Why a guest with these arguments cannot be frozen or cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRefusal {
    /// The option in the way.
    pub(crate) option: OsString,
    /// The reason, and what to do.
    pub(crate) reason: &'static str,
}

impl ImagePlan {
    /// Plans, or says which argument is in the way.
    pub(crate) fn of(arguments: &[OsString]) -> Result<Self, ImageRefusal> {
        let (mut memory_bytes, mut disks) = (None, Vec::new());
        let mut index = 0;
        while let Some(word) = arguments.get(index) {
            let value = arguments.get(index + 1).map_or(OsStr::new(""), |it| it);
            match option_name(word) {
                Some("m") => {
                    let size = memory::size_bytes(value);
                    memory_bytes = Some(size.ok_or(refusal(word, MEMORY_SIZE))?);
                    index += 1;
                }
                Some("drive") => {
                    disks.extend(PlannedDisk::of(index + 1, value)?);
                    index += 1;
                }
                Some("object") => {
                    if value.to_string_lossy().contains("memory-backend-") {
                        return Err(refusal(value, OTHER_MEMORY));
                    }
                    index += 1;
                }
                Some("device" | "netdev" | "chardev") if is_vhost_user(value) => {
                    return Err(refusal(value, OTHER_PROCESS));
                }
                Some("mem-path" | "numa") => return Err(refusal(word, OTHER_MEMORY)),
                Some(
                    "hda" | "hdb" | "hdc" | "hdd" | "fda" | "fdb" | "sd" | "mtdblock" | "pflash",
                ) => return Err(refusal(word, OTHER_DISK)),
                _ => {}
            }
            index += 1;
        }
        let added = blockdev::disks(arguments);
        let added = added.map_err(|value| refusal(value, OTHER_BLOCKDEV))?;
        disks.extend(added.into_iter().map(PlannedDisk::of_blockdev));
        let memory_bytes = memory_bytes.ok_or(refusal(OsStr::new("-m"), NO_MEMORY))?;
        Ok(Self {
            memory_bytes,
            disks,
        })
    }

    /// The arguments with the disks in this directory.
    pub(crate) fn arguments(&self, arguments: &[OsString], directory: &Path) -> Vec<OsString> {
        let mut arguments = arguments.to_vec();
        for (index, disk) in self.disks.iter().enumerate() {
            let options = disk.options.clone();
            let overlay = directory.join(disk_file(index));
            let options = if disk.is_node {
                let options = options.set("driver", "qcow2").set("file.driver", "file");
                options.set("file.filename", overlay)
            } else {
                options.set("file", overlay).set("format", "qcow2")
            };
            if let Some((argument, value)) = &disk.fixed {
                value.as_os_str().clone_into(&mut arguments[*argument]);
            }
            options
                .as_os_str()
                .clone_into(&mut arguments[disk.argument]);
        }
        arguments
    }
}

impl PlannedDisk {
    /// A disk from the value of `-drive`; `None` if the guest cannot write to it.
    fn of(argument: usize, value: &OsStr) -> Result<Option<Self>, ImageRefusal> {
        let (mut base, mut format, mut is_fixed) = (None, None, false);
        let mut options = OptionGroup::default();
        for (key, member) in members(value) {
            let text = member.as_deref().unwrap_or_default();
            match key.as_str() {
                "file" if !has_protocol(text) => base = Some(PathBuf::from(text)),
                "format" => format = Some(text.to_string_lossy().into_owned()),
                // An overlay keeps the writes from the image anyway.
                "snapshot" => {}
                "readonly" | "read-only" if text != "off" => is_fixed = true,
                "media" if text == "cdrom" => is_fixed = true,
                "driver" => return Err(refusal(value, OTHER_DISK)),
                key if key.starts_with("file") => return Err(refusal(value, OTHER_DISK)),
                key => options = options.set(key, text),
            }
        }
        Ok(match base {
            Some(base) if !is_fixed => Some(Self {
                argument,
                base,
                format,
                options,
                is_node: false,
                fixed: None,
            }),
            _ => None,
        })
    }

    fn of_blockdev(disk: BlockDisk) -> Self {
        Self {
            argument: disk.argument,
            base: disk.base,
            format: Some(disk.format),
            options: disk.options,
            is_node: true,
            fixed: disk.file,
        }
    }
}

impl fmt::Display for ImageRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option.display(), self.reason)
    }
}

fn refusal(option: &OsStr, reason: &'static str) -> ImageRefusal {
    ImageRefusal {
        option: option.to_owned(),
        reason,
    }
}

/// The name of an option: QEMU accepts one dash or two.
pub(crate) fn option_name(word: &OsStr) -> Option<&str> {
    let name = word.to_str()?.strip_prefix('-')?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

/// Whether a file name begins with a protocol, such as `nbd:`.
fn has_protocol(file: &OsStr) -> bool {
    let text = file.to_string_lossy();
    let colon = text.find([':', '/']);
    colon.is_some_and(|at| text[at..].starts_with(':'))
}

/// Whether a device is in another process, which would share the guest's memory.
fn is_vhost_user(value: &OsStr) -> bool {
    value.as_encoded_bytes().starts_with(b"vhost-user")
}

const NO_MEMORY: &str = "is missing; set the size of the memory with `memory`";
const MEMORY_SIZE: &str = "must be one whole size, such as 256M";
const OTHER_MEMORY: &str = "the memory must be one file, which the launch makes; leave this out";
const OTHER_PROCESS: &str = "another process would need the memory of each clone; use a device of \
     QEMU itself";
const OTHER_DISK: &str = "its writes cannot be kept apart from the image; use `drive` with a file";

const OTHER_BLOCKDEV: &str = "its writes cannot be kept apart from the image; use `drive` with a \
     file, `read-only=on`, or `driver=qcow2` or `raw` with `file.driver=file`";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(Into::into).collect()
    }

    #[test]
    fn writable_disks_become_overlays_and_the_rest_stays() {
        let given = words(
            "-m 256M -drive file=/a,,b.img,format=raw,if=virtio,snapshot=on -drive \
             if=none,id=x,readonly=on,file=/ro -drive media=cdrom,file=/cd -device d -drive \
             if=none,id=empty -drive file=c.qcow2,readonly=off",
        );
        let plan = ImagePlan::of(&given).unwrap();
        assert_eq!(plan.memory_bytes, 256 << 20);
        let bases = plan.disks.iter();
        let bases: Vec<_> = bases
            .map(|disk| (&*disk.base, disk.format.as_deref()))
            .collect();
        assert_eq!(
            bases,
            [
                (Path::new("/a,b.img"), Some("raw")),
                (Path::new("c.qcow2"), None)
            ]
        );
        let expected = words(
            "-m 256M -drive if=virtio,file=/d,,d/disk0.qcow2,format=qcow2 -drive \
             if=none,id=x,readonly=on,file=/ro -drive media=cdrom,file=/cd -device d -drive \
             if=none,id=empty -drive readonly=off,file=/d,,d/disk1.qcow2,format=qcow2",
        );
        assert_eq!(plan.arguments(&given, Path::new("/d,d")), expected);
    }

    #[test]
    fn what_cannot_be_frozen_is_refused_by_name() {
        for (line, option) in [
            ("-smp 2", "-m"),
            ("-m 1G,maxmem=2G", "-m"),
            ("-m 1G -hda x", "-hda"),
            ("-m 1G --pflash x", "--pflash"),
            ("-m 1G -mem-path /x", "-mem-path"),
            (
                "-m 1G -netdev vhost-user,id=n,chardev=c",
                "vhost-user,id=n,chardev=c",
            ),
            (
                "-m 1G -device vhost-user-fs-pci,chardev=c",
                "vhost-user-fs-pci,chardev=c",
            ),
            ("-m 1G -drive file=nbd:x", "file=nbd:x"),
            ("-m 1G -drive driver=null-co", "driver=null-co"),
            ("-m 1G -drive file.driver=nbd", "file.driver=nbd"),
            (
                "-m 1G -blockdev driver=file,filename=x",
                "driver=file,filename=x",
            ),
            (
                "-m 1G -object memory-backend-ram,id=m,size=1G",
                "memory-backend-ram,id=m,size=1G",
            ),
        ] {
            let refusal = ImagePlan::of(&words(line)).unwrap_err();
            assert_eq!(refusal.option, option, "{line}");
        }
        assert!(ImagePlan::of(&words("-m 1G -blockdev driver=raw,read-only=on,file=x")).is_ok());
    }
}
