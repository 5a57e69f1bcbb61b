//! The files that a guest is made of, as the arguments name them.
//!
//! Pure: whether such a file exists is not looked up. So a name may be too much,
//! for example that of a node of `-blockdev`, or of a firmware that QEMU finds in
//! its own directories.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde_json::Value;

use super::group::{json, members};
use super::options::given;

/// The files that QEMU reads for the guest, in order.
pub(crate) fn input_files(arguments: &[OsString]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for option in given(arguments) {
        let (Some(name), Some(value)) = (option.name, option.value) else {
            continue;
        };
        if WHOLE.contains(&name) {
            files.push(value.into());
        } else if GROUPS.contains(&name) && !value.as_bytes().starts_with(b"filter-dump") {
            named_in(value, &mut files);
        }
    }
    files
}

/// The file that the header of an image names: QEMU writes a path, or a value
/// with a protocol.
pub(crate) fn file_of_image(name: &OsStr) -> Vec<PathBuf> {
    let mut files = Vec::new();
    file(name, &mut files);
    files
}

fn named_in(value: &OsStr, files: &mut Vec<PathBuf>) {
    if let Some(json) = json(value) {
        named_in_json(&json, files);
        return;
    }
    for (key, value) in members(value) {
        if is_file_key(&key)
            && let Some(value) = value
        {
            file(&value, files);
        }
    }
}

fn named_in_json(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if is_file_key(key) => file(OsStr::new(text), files),
                    _ => named_in_json(value, files),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|it| named_in_json(it, files)),
        _ => {}
    }
}

fn file(name: &OsStr, files: &mut Vec<PathBuf>) {
    if let Some(described) = name.as_bytes().strip_prefix(b"json:") {
        if let Some(json) = json(OsStr::from_bytes(described)) {
            named_in_json(&json, files);
        }
        return;
    }
    let plain = name.as_bytes().strip_prefix(b"file:");
    let plain = plain.unwrap_or(name.as_bytes());
    files.push(OsString::from_vec(plain.to_vec()).into());
}

/// Whether a value of this key is a file: `file`, `file.filename`, `romfile`,
/// `firmware`.
fn is_file_key(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    last.ends_with("file")
        || ["filename", "kernel", "initrd", "dtb", "firmware", "data"].contains(&last)
}

/// Options whose value is a file.
const WHOLE: [&str; 7] = ["kernel", "initrd", "bios", "dtb", "shim", "cdrom", "plugin"];

/// Options that name files among other things. Others name what QEMU writes.
const GROUPS: [&str; 10] = [
    "drive",
    "blockdev",
    "device",
    "fw_cfg",
    "acpitable",
    "smbios",
    "object",
    "machine",
    "M",
    "global",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_qemu_reads_for_the_guest_is_named_and_nothing_that_it_writes() {
        let line = "-kernel /k --initrd /i -cdrom /cd -drive if=none,readonly=on,file=/ro,,x \
             -drive file=json:{\"driver\":\"raw\",,\"file\":{\"filename\":\"/js\"}} \
             -blockdev driver=file,filename=/b,read-only=on \
             -blockdev {\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/c\"}} \
             -fw_cfg name=opt/x,file=/fw -device loader,file=/l,addr=0 -device e1000,romfile=/rom \
             -machine q35,firmware=/f -drive file=file:/p -drive file.filename=/d \
             -object filter-dump,id=f,file=/out -chardev file,id=c,path=/out -D /out \
             -trace file=/out -netdev user,id=n,tftp=/out";
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let expected = [
            "/k", "/i", "/cd", "/ro,x", "/js", "/b", "/c", "/fw", "/l", "/rom", "/f", "/p", "/d",
        ];
        let expected: Vec<_> = expected.map(PathBuf::from).into();
        assert_eq!(input_files(&words), expected);
    }
}
