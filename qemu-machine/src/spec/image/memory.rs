//! Reads the size of the memory from `-m`.

use std::ffi::OsStr;

use super::group::members;

/// The size that `-m VALUE` sets, in bytes; `None` if it cannot be read, or
/// sets more than a size.
pub(super) fn size_bytes(value: &OsStr) -> Option<u64> {
    let members = members(value);
    let [(key, size)] = members.as_slice() else {
        return None;
    };
    let size = match (key.as_str(), size) {
        (size, None) => size,
        ("size", Some(size)) => size.to_str()?,
        _ => return None,
    };
    let (digits, unit) = match size.find(|it: char| it.is_ascii_alphabetic()) {
        Some(at) => size.split_at(at),
        // As QEMU has it (QEMU manual, "-m").
        None => (size, "M"),
    };
    let shift = match unit.to_ascii_uppercase().as_str() {
        "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    // QEMU rounds up to this, and refuses a backend of another size.
    (bytes > 0).then(|| bytes.checked_next_multiple_of(8192))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_qemu_reads_it() {
        let table = [
            ("256", Some(256 << 20)),
            ("256M", Some(256 << 20)),
            ("size=1g", Some(1 << 30)),
            ("10000B", Some(16384)),
            ("1024k", Some(1 << 20)),
            ("256M,slots=2,maxmem=1G", None),
            ("1.5G", None),
            ("0", None),
            ("", None),
            ("x", None),
        ];
        for (text, bytes) in table {
            assert_eq!(size_bytes(OsStr::new(text)), bytes, "{text}");
        }
    }
}
