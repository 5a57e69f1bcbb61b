//! Unpacks a kernel. QEMU boots an unpacked one by PVH, which saves the guest a
//! fifth of its boot: an emulated processor unpacks slowly.
//!
//! The kernel's documents `x86/boot` and `lz4_Frame_format` ("legacy frame")
//! have the formats.

/// The program inside a kernel's image, if it is packed by LZ4 and boots by PVH.
pub(super) fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    let program = unpack(payload(image)?)?;
    (program.starts_with(b"\x7fELF") && has_entry(&program)).then_some(program)
}

/// The packed program in an image with the header `HdrS`.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let version = image.get(0x206..0x208)?;
    if image.get(0x202..0x206)? != b"HdrS" || u16::from_le_bytes([version[0], version[1]]) < 0x208 {
        return None;
    }
    let sectors = usize::from(*image.get(0x1f1)?);
    let start = (sectors + 1) * 512 + number(image, 0x248)?;
    image.get(start..start + number(image, 0x24c)?)
}

/// Unpacks a legacy frame: a magic number and blocks. The kernel's build appends
/// the size of the result.
fn unpack(frame: &[u8]) -> Option<Vec<u8>> {
    let end = frame.len().checked_sub(4)?;
    let size = number(frame, end)?;
    let (mut place, mut unpacked) = (4, Vec::with_capacity(size.min(MAX_SIZE)));
    if number(frame, 0)? != MAGIC {
        return None;
    }
    while place < end {
        let block = place + 4;
        place = block + number(frame, place)?;
        unpack_block(frame.get(block..place)?, &mut unpacked)?;
    }
    (unpacked.len() == size).then_some(unpacked)
}

/// Appends a block's bytes: literal ones, then a copy of earlier ones, and so on.
/// A block refers to no other block.
fn unpack_block(block: &[u8], unpacked: &mut Vec<u8>) -> Option<()> {
    let first = unpacked.len();
    let mut place = 0;
    loop {
        let token = *block.get(place)?;
        place += 1;
        let literals = length(block, &mut place, token >> 4)?;
        unpacked.extend(block.get(place..place + literals)?);
        place += literals;
        if place == block.len() {
            return Some(());
        }
        let distance = usize::from(u16::from_le_bytes([
            *block.get(place)?,
            *block.get(place + 1)?,
        ]));
        place += 2;
        let copied = length(block, &mut place, token & 15)? + 4;
        let from = unpacked.len().checked_sub(distance)?;
        if distance == 0 || from < first || unpacked.len() + copied > MAX_SIZE {
            return None;
        }
        // The copy may overlap itself: its begin is then repeated.
        let end = unpacked.len() + copied;
        while unpacked.len() < end {
            let part = distance.min(end - unpacked.len());
            unpacked.extend_from_within(from..from + part);
        }
    }
}

/// A length: four bits, and more bytes if these are full.
fn length(block: &[u8], place: &mut usize, bits: u8) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let more = *block.get(*place)?;
            *place += 1;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}

/// Whether a program has the note with its PVH entry.
fn has_entry(program: &[u8]) -> bool {
    // The lengths of the name and the entry, the type, and the name.
    let note = |length| [&[4, 0, 0, 0, length, 0, 0, 0, 18, 0, 0, 0], &b"Xen\0"[..]].concat();
    let notes = [note(4), note(8)];
    let is_note = |at: usize| notes.iter().any(|note| program[at..].starts_with(note));
    (0..program.len()).step_by(4).any(is_note)
}

/// A little-endian number of 32 bits.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?;
    u32::from_le_bytes(bytes.try_into().ok()?).try_into().ok()
}

const MAGIC: usize = 0x184c_2102;
/// More than any kernel.
const MAX_SIZE: usize = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &[u8] = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0";

    /// A frame with these blocks.
    fn frame(blocks: &[&[u8]], size: u32) -> Vec<u8> {
        let mut frame = b"\x02\x21\x4c\x18".to_vec();
        for block in blocks {
            frame.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            frame.extend(*block);
        }
        frame.extend(size.to_le_bytes());
        frame
    }

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        image[0x248] = 16;
        let length = u32::try_from(payload.len()).unwrap();
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn literals_and_copies_that_overlap_are_unpacked() {
        let ab_ten_times = b"\x2fab\x02\0\x00\x00";
        let long = [&b"\xf0\x05"[..], &[b'x'; 20]].concat();
        let unpacked = unpack(&frame(&[ab_ten_times, &long], 41)).unwrap();
        let expected = ["ab".repeat(10), "a".to_owned(), "x".repeat(20)].concat();
        assert_eq!(String::from_utf8(unpacked).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_or_refers_to_nothing_is_refused() {
        let whole = frame(&[b"\x2fab\x02\0\x00\x00"], 21);
        assert!(unpack(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(unpack(&whole[..length]), None, "{length}");
        }
        assert_eq!(unpack(&frame(&[b"\x2fab\x03\0\x00\x00"], 21)), None);
        assert_eq!(unpack(&frame(&[b"\x2fab\x00\0\x00\x00"], 21)), None);
        assert_eq!(unpack(&frame(&[b"\x2fab\x02\0\x00\x00"], 20)), None);
    }

    #[test]
    fn only_a_program_that_boots_by_pvh_is_taken() {
        let program = |note: &[u8]| [b"\x7fELF", note].concat();
        let packed = |program: &[u8]| {
            let more = u8::try_from(program.len() - 15).unwrap();
            let block = [&[0xf0, more], program].concat();
            image(&frame(&[&block], u32::try_from(program.len()).unwrap()))
        };
        assert_eq!(unpacked(&packed(&program(NOTE))), Some(program(NOTE)));
        assert_eq!(unpacked(&packed(&program(&[0; 16]))), None);
        assert_eq!(unpacked(&image(b"\xfd7zXZ-and-more")), None);
        assert_eq!(unpacked(b"short"), None);
    }
}
