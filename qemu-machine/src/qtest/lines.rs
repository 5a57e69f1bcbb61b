//! Writes the lines of commands, and reads the values of replies. Pure.

use super::QtestFailure;
use super::wire::Reply;

/// One line to send, and the number of guest bytes that it reads or writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) bytes: usize,
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self { text, bytes: 0 }
    }
}

/// Splits a buffer into pieces, each an address and a length. `None` if the
/// buffer reaches past the end of the address space.
pub(super) fn pieces(
    address: u64,
    length: u64,
) -> Option<impl Iterator<Item = (u64, usize)> + Send + use<>> {
    if length > 0 {
        address.checked_add(length - 1)?;
    }
    let piece = PIECE_BYTES as u64;
    let offsets = (0..length.div_ceil(piece)).map(move |number| number * piece);
    Some(offsets.map(move |offset| {
        let bytes = (length - offset).min(piece);
        (
            address + offset,
            usize::try_from(bytes).unwrap_or(PIECE_BYTES),
        )
    }))
}

pub(super) fn read(address: u64, bytes: usize) -> Line {
    let text = format!("read {address:#x} {bytes:#x}");
    Line { text, bytes }
}

pub(super) fn write(address: u64, data: &[u8]) -> Line {
    let mut text = format!("write {address:#x} {:#x} 0x", data.len());
    text.reserve(2 * data.len());
    for byte in data {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    let bytes = data.len();
    Line { text, bytes }
}

/// The text after `OK`.
pub(super) fn value(reply: &Reply) -> Result<&str, QtestFailure> {
    match reply.outcome() {
        Some(Ok(value)) => Ok(value),
        Some(Err(message)) => Err(QtestFailure::Refused {
            message: message.to_owned(),
        }),
        None => Err(unexpected(reply)),
    }
}

/// Checks that the reply is `OK` without a value.
pub(super) fn done(reply: &Reply) -> Result<(), QtestFailure> {
    match value(reply)? {
        "" => Ok(()),
        _ => Err(unexpected(reply)),
    }
}

/// Reads a number: with `0x` for a register, without it for a clock.
pub(super) fn number<N: TryFrom<u64>>(reply: &Reply) -> Result<N, QtestFailure> {
    let value = value(reply)?;
    let (digits, radix) = match value.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    // `from_str_radix` would also accept a sign.
    let is_number = digits.starts_with(|first: char| first.is_digit(radix));
    let number = u64::from_str_radix(digits, radix).ok();
    let number = number
        .filter(|_| is_number)
        .and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| unexpected(reply))
}

/// Appends this number of bytes, which the reply has as hexadecimal digits.
pub(super) fn append(data: &mut Vec<u8>, reply: &Reply, bytes: usize) -> Result<(), QtestFailure> {
    let digits = value(reply)?.strip_prefix("0x").map(str::as_bytes);
    let Some(digits) = digits.filter(|digits| digits.len() == 2 * bytes) else {
        return Err(unexpected(reply));
    };
    for pair in digits.chunks_exact(2) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = digit(pair[0]).zip(digit(pair[1]));
        let byte = byte.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        data.push(byte.ok_or_else(|| unexpected(reply))?);
    }
    Ok(())
}

fn unexpected(reply: &Reply) -> QtestFailure {
    let reply = reply.line.chars().take(80).collect();
    QtestFailure::Unexpected { reply }
}

/// The most guest memory that one line reads or writes. QEMU reads 1 KiB of a
/// line at a time, and each time searches the whole line for its end. So a line
/// of several MiB takes it long.
pub(super) const PIECE_BYTES: usize = 64 << 10;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Reply {
        Reply { line: line.into() }
    }

    #[test]
    fn pieces_cover_every_byte_once_and_end_with_the_address_space() {
        let all = |address, length| pieces(address, length).unwrap().collect::<Vec<_>>();
        assert_eq!(all(7, 0), []);
        assert_eq!(all(7, 1), [(7, 1)]);
        assert_eq!(all(7, 0x10000), [(7, 0x10000)]);
        assert_eq!(
            all(7, 0x20001),
            [(7, 0x10000), (0x10007, 0x10000), (0x20007, 1)]
        );
        assert_eq!(all(u64::MAX, 1), [(u64::MAX, 1)]);
        assert!(pieces(u64::MAX, 2).is_none());
        assert_eq!(pieces(0, u64::MAX).unwrap().next(), Some((0, 0x10000)));
    }

    #[test]
    fn bytes_are_written_and_read_by_their_digits() {
        let every: Vec<u8> = (0..=255).collect();
        let line = write(0x1000, &every);
        assert!(
            line.text.starts_with("write 0x1000 0x100 0x000102"),
            "{}",
            line.text
        );
        let digits = line.text.rsplit(' ').next().unwrap();
        let mut read = Vec::new();
        append(&mut read, &reply(&format!("OK {digits}")), 256).unwrap();
        assert_eq!(read, every);
        for wrong in [
            "OK", "OK 0x", "OK 0x0", "OK 0x000", "OK 0xzz", "OK 00", "OK 0x+1",
        ] {
            let error = append(&mut Vec::new(), &reply(wrong), 1).unwrap_err();
            assert!(matches!(error, QtestFailure::Unexpected { reply } if reply == wrong));
        }
    }

    #[test]
    fn a_value_is_of_its_type_or_unexpected() {
        assert_eq!(number::<u8>(&reply("OK 0x00ff")).unwrap(), 255);
        assert_eq!(
            number::<u64>(&reply("OK 0xffffffffffffffff")).unwrap(),
            u64::MAX
        );
        assert_eq!(number::<u64>(&reply("OK 1000")).unwrap(), 1000);
        for wrong in ["OK", "OK 0x", "OK 0x0100", "OK x", "OK -1"] {
            let error = number::<u8>(&reply(wrong)).unwrap_err();
            assert!(matches!(error, QtestFailure::Unexpected { .. }), "{wrong}");
        }
        assert!(done(&reply("OK")).is_ok());
        assert!(matches!(
            done(&reply("OK 1")),
            Err(QtestFailure::Unexpected { .. })
        ));
        let refused = done(&reply("FAIL Unknown device")).unwrap_err();
        assert!(
            matches!(refused, QtestFailure::Refused { message } if message == "Unknown device")
        );
    }
}
