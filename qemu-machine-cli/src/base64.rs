//! Base64 (RFC 4648) with `+`, `/` and padding, as `base64` writes it.

/// Writes bytes in lines of 76 characters.
pub(crate) fn write(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 3 * 4 + bytes.len() / 57 + 8);
    for line in bytes.chunks(57) {
        for group in line.chunks(3) {
            let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for place in 0..4 {
                let digit = (bits >> (18 - 6 * place) & 63) as usize;
                text.push(if place <= group.len() {
                    char::from(DIGITS[digit])
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text
}

/// Reads it, with line ends between any two characters; `None` if it is
/// something else.
pub(crate) fn read(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.iter().filter(|it| !matches!(it, b'\n' | b'\r'));
    let digits: Vec<u8> = digits.copied().collect();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let padding = digits.iter().rev().take_while(|it| **it == b'=').count();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for group in digits[..digits.len() - padding].chunks(4) {
        let mut bits = 0;
        for digit in group {
            let value = DIGITS.iter().position(|it| it == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, whole @ ..] = bits.to_be_bytes();
        bytes.extend_from_slice(&whole[..group.len() - 1]);
    }
    (padding <= 2).then_some(bytes)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_standard_has_and_what_is_read() {
        let table = [
            ("", ""),
            ("f", "Zg==\n"),
            ("fo", "Zm8=\n"),
            ("foo", "Zm9v\n"),
        ];
        for (bytes, text) in table {
            assert_eq!(write(bytes.as_bytes()), text);
            assert_eq!(read(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length).map(|it: u8| it.wrapping_mul(37)).collect();
            assert_eq!(read(write(&bytes).as_bytes()), Some(bytes));
        }
        for wrong in ["Z", "Zg=", "Z===", "====", "Zm9v!", "sh: base64: not found"] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
