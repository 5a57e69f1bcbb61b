//! Texts in a script: escapes for bytes that a line cannot have, and the ids of
//! commands, which are known only when the text is sent.

/// A piece of a text to send.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// `$id` or `$N`.
    Id(CommandRef),
}

/// A command that was read before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CommandRef {
    Last,
    /// Counted from 1.
    Nth(usize),
}

/// Resolves the escapes. A dollar sign has no meaning.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = if first == '\\' {
            let (byte, after) = escape(&rest[1..])?;
            out.push(byte);
            after
        } else {
            let (character, after) = rest.split_at(first.len_utf8());
            out.extend_from_slice(character.as_bytes());
            after
        };
    }
    Ok(out)
}

/// Resolves the escapes and finds the ids to insert.
pub(crate) fn template(text: &str) -> Result<Vec<Piece>, String> {
    // The search for dollars is in the text as it was written, so `\x24` is always
    // a literal dollar. No escape has a dollar, so none is cut in two.
    let mut pieces = Vec::new();
    let mut parts = text.split('$');
    let mut literal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some((id, after)) = reference(part)? {
            pieces.push(Piece::Bytes(bytes(&literal)?));
            pieces.push(Piece::Id(id));
            after.clone_into(&mut literal);
        } else {
            literal.push('$');
            literal.push_str(part);
        }
    }
    pieces.push(Piece::Bytes(bytes(&literal)?));
    pieces.retain(|piece| *piece != Piece::Bytes(Vec::new()));
    Ok(pieces)
}

/// Parses the text after a dollar: the command, and the rest.
fn reference(part: &str) -> Result<Option<(CommandRef, &str)>, String> {
    if let Some(after) = part.strip_prefix("id") {
        return Ok(Some((CommandRef::Last, after)));
    }
    let digits = part.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = part.split_at(digits);
    if number.is_empty() {
        return Ok(None);
    }
    Ok(Some((CommandRef::Nth(ordinal(number)?), after)))
}

/// A command's number, counted from 1.
pub(crate) fn ordinal(number: &str) -> Result<usize, String> {
    match number.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!(
            "`{number}` is no number of a command, which count from 1"
        )),
    }
}

/// Parses the text after a backslash: its byte, and the rest.
fn escape(after: &str) -> Result<(u8, &str), String> {
    if let Some(digits) = after.strip_prefix('x') {
        let (byte, rest) = digits
            .split_at_checked(2)
            .filter(|(pair, _)| pair.bytes().all(|b| b.is_ascii_hexdigit()))
            .ok_or("`\\x` needs two hexadecimal digits")?;
        let byte = u8::from_str_radix(byte, 16).map_err(|e| e.to_string())?;
        return Ok((byte, rest));
    }
    let byte = match after.chars().next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('\\') => b'\\',
        other => {
            let name = other.map(String::from).unwrap_or_default();
            return Err(format!("unknown escape `\\{name}`"));
        }
    };
    Ok((byte, &after[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(
            bytes(r"a\r\n\t\\\x00\xfF$id ü").unwrap(),
            b"a\r\n\t\\\x00\xff$id \xc3\xbc"
        );
    }

    #[test]
    fn a_wrong_escape_is_refused() {
        for text in [r"\", r"\q", r"\x", r"\x1", r"\xg0", r"\x+1", r"\x1ü", r"\ü"] {
            assert!(bytes(text).is_err(), "{text}");
            assert!(template(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_found_between_bytes() {
        assert_eq!(
            template(r"$id,\n$12x$1").unwrap(),
            [
                Piece::Id(CommandRef::Last),
                Piece::Bytes(b",\n".to_vec()),
                Piece::Id(CommandRef::Nth(12)),
                Piece::Bytes(b"x".to_vec()),
                Piece::Id(CommandRef::Nth(1)),
            ]
        );
    }

    #[test]
    fn other_dollars_are_dollars() {
        assert_eq!(
            template(r"$ $$x \x24id \\$").unwrap(),
            [Piece::Bytes(br"$ $$x $id \$".to_vec())]
        );
        assert!(template("$0").is_err());
    }
}
