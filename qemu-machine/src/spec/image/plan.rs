//! Plans the memory and the disks of a machine that can be frozen or cloned,
//! from its arguments.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::blockdev::{self, BlockDisk};
use super::group::{members, switch, with_value};
use super::options::given;
use super::{disk_file, memory};
use crate::spec::OptionGroup;

/// The memory and the disks of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImagePlan {
    pub(crate) memory_bytes: u64,
    /// The disks to which the guest can write.
    pub(crate) disks: Vec<PlannedDisk>,
    /// The index of each `-snapshot`. An overlay keeps the writes from the image
    /// anyway, and a temporary one over it would be lost at a freeze.
    snapshots: Vec<usize>,
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
        let mut snapshots = Vec::new();
        for option in given(arguments) {
            let (word, value) = (option.word, option.value.unwrap_or_default());
            let Some(name) = option.name else {
                return Err(refusal(word, OTHER_DISK));
            };
            match name {
                "m" => {
                    let size = memory::size_bytes(value);
                    memory_bytes = Some(size.ok_or(refusal(word, MEMORY_SIZE))?);
                }
                "drive" => disks.extend(PlannedDisk::of(option.index + 1, value)?),
                "object" if value.to_string_lossy().contains("memory-backend-") => {
                    return Err(refusal(value, OTHER_MEMORY));
                }
                "device" | "netdev" | "chardev" if is_vhost_user(value) => {
                    return Err(refusal(value, OTHER_PROCESS));
                }
                "snapshot" => snapshots.push(option.index),
                "mem-path" | "numa" => return Err(refusal(word, OTHER_MEMORY)),
                "hda" | "hdb" | "hdc" | "hdd" | "fda" | "fdb" | "sd" | "mtdblock" | "pflash" => {
                    return Err(refusal(word, OTHER_DISK));
                }
                "readconfig" => return Err(refusal(word, OTHER_FILE)),
                "set" if value.as_encoded_bytes().starts_with(b"drive.") => {
                    return Err(refusal(value, LATER_OPTION));
                }
                _ => {}
            }
        }
        let added = blockdev::disks(arguments);
        let added = added.map_err(|value| refusal(value, OTHER_BLOCKDEV))?;
        disks.extend(added.into_iter().map(PlannedDisk::of_blockdev));
        let memory_bytes = memory_bytes.ok_or(refusal(OsStr::new("-m"), NO_MEMORY))?;
        Ok(Self {
            memory_bytes,
            disks,
            snapshots,
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
        for &index in self.snapshots.iter().rev() {
            arguments.remove(index);
        }
        arguments
    }
}

impl PlannedDisk {
    /// A disk from the value of `-drive`; `None` if the guest cannot write to it.
    fn of(argument: usize, value: &OsStr) -> Result<Option<Self>, ImageRefusal> {
        let (mut base, mut format) = (None, None);
        let (mut is_read_only, mut is_medium, mut has_backing) = (false, false, false);
        let mut options = OptionGroup::default();
        for (key, member) in members(value).into_iter().map(with_value) {
            let text = member.as_os_str();
            match key.as_str() {
                "file" if !has_protocol(text) => base = Some(PathBuf::from(text)),
                "format" => format = Some(text.to_string_lossy().into_owned()),
                // An overlay keeps the writes from the image anyway.
                "snapshot" if switch(text).is_some() => {}
                "driver" => return Err(refusal(value, OTHER_DISK)),
                key if key.starts_with("file") => return Err(refusal(value, OTHER_DISK)),
                key => {
                    match key {
                        "readonly" | "read-only" => is_read_only = switch(text) == Some(true),
                        "media" => is_medium = text == "cdrom",
                        // The overlay has the image below it.
                        key => has_backing |= key.starts_with("backing"),
                    }
                    options = options.set(key, text);
                }
            }
        }
        Ok(match base {
            _ if is_read_only || is_medium => None,
            Some(_) if has_backing => return Err(refusal(value, OTHER_DISK)),
            Some(base) => Some(Self {
                argument,
                base,
                format,
                options,
                is_node: false,
                fixed: None,
            }),
            None => None,
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
const OTHER_FILE: &str = "the memory and disks of that file are not known; give its options here";
const LATER_OPTION: &str = "it would change the disk; set this with `drive`";
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
    fn a_switch_of_a_drive_is_read_as_qemu_reads_it() {
        let is_planned = |switch: &str| {
            let plan = ImagePlan::of(&words(&format!("-m 1G -drive file=a,{switch}")));
            !plan.unwrap().disks.is_empty()
        };
        for on in ["on", "yes", "true", "y"] {
            assert!(!is_planned(&format!("readonly={on}")), "{on}");
            assert!(!is_planned(&format!("read-only={on},snapshot={on}")));
        }
        for off in ["off", "no", "false", "n"] {
            assert!(is_planned(&format!("readonly={off}")), "{off}");
            assert!(is_planned(&format!("read-only={off},snapshot={off}")));
        }
        assert!(!is_planned("readonly"));
        assert!(is_planned("noreadonly,snapshot"));
        assert!(is_planned("readonly=on,readonly=off"));
        assert!(!is_planned("readonly=off,readonly=on"));
        assert!(!is_planned("media=cdrom,readonly=off"));
        // QEMU refuses it.
        assert!(is_planned("readonly=maybe"));
    }

    #[test]
    fn an_overlay_takes_the_place_of_a_snapshot() {
        let given = words("-snapshot -append -snapshot -m 1G -drive file=/a --snapshot -S");
        let plan = ImagePlan::of(&given).unwrap();
        let expected = "-append -snapshot -m 1G -drive file=/d/disk0.qcow2,format=qcow2 -S";
        assert_eq!(plan.arguments(&given, Path::new("/d")), words(expected));
    }

    #[test]
    fn a_value_is_not_an_image() {
        for line in [
            "-m 1G -append a.img -S -k de",
            "-append -m -m 1G",
            "-nodefaults -m 1G",
        ] {
            assert!(ImagePlan::of(&words(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_frozen_is_refused_by_name() {
        for (line, option) in [
            ("-smp 2", "-m"),
            ("-m 1G,maxmem=2G", "-m"),
            ("-m 1G -hda x", "-hda"),
            ("-m 1G --pflash x", "--pflash"),
            ("-m 1G -mem-path /x", "-mem-path"),
            ("-m 1G disk.raw", "disk.raw"),
            ("disk.raw -m 1G", "disk.raw"),
            ("-m 1G -S disk.raw", "disk.raw"),
            ("-m 1G --readconfig x", "--readconfig"),
            ("-m 1G -set drive.d.file=x", "drive.d.file=x"),
            (
                "-m 1G -drive file=a,backing.file=b",
                "file=a,backing.file=b",
            ),
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
        for line in [
            "-m 1G -blockdev driver=raw,read-only=on,file=x",
            "-m 1G -drive file=a,backing.file=b,readonly",
        ] {
            assert!(ImagePlan::of(&words(line)).is_ok(), "{line}");
        }
    }
}
