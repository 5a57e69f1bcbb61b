//! Text with escapes, as an option takes it: `poweroff\n`.

/// Reads `\n`, `\r`, `\t`, `\e`, `\0`, `\\` and `\xHH`.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let kind = escape.chars().next();
        let (byte, length) = match kind {
            Some('n') => (b'\n', 1),
            Some('r') => (b'\r', 1),
            Some('t') => (b'\t', 1),
            Some('e') => (0x1b, 1),
            Some('0') => (0, 1),
            Some('\\') => (b'\\', 1),
            Some('x') => {
                let digits = escape.get(1..3).unwrap_or_default();
                let is_hex = digits.bytes().all(|it| it.is_ascii_hexdigit());
                let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex);
                (byte.ok_or_else(|| wrong(text))?, 3)
            }
            _ => return Err(wrong(text)),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

fn wrong(text: &str) -> String {
    format!(r"'{text}' has an escape other than \n, \r, \t, \e, \0, \\ and \xHH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_their_bytes_and_all_else_stays() {
        let table: [(&str, &[u8]); 5] = [
            ("", b""),
            ("echo é\\n", "echo é\n".as_bytes()),
            (r"\e[B\t\r\0", b"\x1b[B\t\r\0"),
            (r"a\\nb", b"a\\nb"),
            (r"\x03\xfF", b"\x03\xff"),
        ];
        for (text, bytes) in table {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for text in ["\\", r"\q", r"\x", r"\x1", r"\xé1", r"\x+1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
