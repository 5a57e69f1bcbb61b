//! A console's old output, without its queries to the terminal.
//!
//! A terminal answers a query as if the person typed the answer. No program
//! waits for the answer to an old query, so the guest's shell would read it.

use super::sequences::{ControlSequence, Part, Sequences};

/// Leaves out the queries of a stream that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct QueryFilter(Sequences);

impl QueryFilter {
    /// Reads the next piece of the stream, and returns the bytes to show.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        self.0.push(piece, &mut |part| match part {
            Part::Sequence(sequence) if is_query(sequence) => {}
            Part::Text(bytes) | Part::Sequence(bytes) | Part::Fragment(bytes) => {
                shown.extend(bytes.iter().filter(|&&byte| byte != ENQUIRY));
            }
        });
        shown
    }

    /// Returns the bytes that were held back, before newer output follows. If
    /// that completes a query, the guest waits for the answer.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.0.take_pending()
    }
}

/// Whether a terminal answers this sequence (xterm's `ctlseqs`, and the
/// additions of kitty and others).
fn is_query(sequence: &[u8]) -> bool {
    match sequence.get(1) {
        Some(b'[') => ControlSequence::of(sequence).is_some_and(|it| is_control_query(&it)),
        Some(b']') => is_command_query(&sequence[2..]),
        // DECRQSS and XTGETTCAP.
        Some(b'P') => sequence[2..].starts_with(b"$q") || sequence[2..].starts_with(b"+q"),
        // Kitty's graphics; each command is answered.
        Some(b'_') => sequence[2..].starts_with(b"G"),
        // DECID.
        Some(b'Z') => true,
        _ => false,
    }
}

#[allow(clippy::match_same_arms)] // One for each kind of query.
fn is_control_query(sequence: &ControlSequence) -> bool {
    let marker = sequence.marker.map_or(' ', char::from);
    let last = char::from(sequence.last);
    match (marker, sequence.intermediates.as_str(), last) {
        // Device status, cursor position.
        (' ' | '?', "", 'n') => true,
        // Device attributes. `ESC [ ? … c` is the cursor's shape on a Linux console.
        (' ' | '>' | '=', "", 'c') => true,
        // Terminal parameters.
        (' ', "", 'x') => true,
        // Reports of the window.
        (' ', "", 't') => matches!(sequence.first_number(), 11 | 13..=16 | 18..=21),
        // Keyboard, key modifiers, graphics.
        ('?', "", 'u' | 'm' | 'g' | 'S') => true,
        // The terminal's name.
        ('>', "", 'q') => true,
        // Modes, the terminal's and the presentation's state.
        (' ' | '?', "$", 'p') => true,
        (' ', "$", 'u' | 'w') => true,
        // Checksums, the locator, function keys, preferred sets, extents, colours.
        (' ', "*", 'y') => true,
        (' ', "'", '|') => true,
        (' ', "+", 'x') => true,
        (' ', "&", 'u') => true,
        (' ', "\"", 'v') => true,
        (' ', "#", 'R' | '|') => true,
        _ => false,
    }
}

/// A query by an operating system command has a `?` in place of a value.
fn is_command_query(body: &[u8]) -> bool {
    let end = body
        .iter()
        .position(|&byte| byte == 0x07 || byte == 0x1b)
        .unwrap_or(body.len());
    let mut fields = body[..end].split(|&byte| byte == b';');
    let number = fields.next().unwrap_or_default();
    if number == b"1337" {
        return fields.any(|field| field.starts_with(b"Report"));
    }
    // Not a title, nor a link.
    let has_text = [b"0".as_slice(), b"1", b"2", b"8", b"9", b"777"];
    !has_text.contains(&number) && fields.any(|field| field == b"?" || field.ends_with(b"=?"))
}

/// The query for the terminal's answerback.
const ENQUIRY: u8 = 0x05;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stream: &[u8], split: usize) -> String {
        let mut filter = QueryFilter::default();
        let (before, after) = stream.split_at(split);
        let mut shown = filter.push(before);
        shown.extend(filter.push(after));
        shown.extend(filter.end());
        shown.escape_ascii().to_string()
    }

    #[test]
    fn no_query_of_the_past_reaches_the_terminal() {
        for query in [
            "\x1b[6n",
            "\x1b[5n",
            "\x1b[?6n",
            "\x1b[?996n",
            "\x1b[c",
            "\x1b[0c",
            "\x1b[>c",
            "\x1b[>0c",
            "\x1b[=c",
            "\x1bZ",
            "\x05",
            "\x1b[18t",
            "\x1b[14;2t",
            "\x1b[21t",
            "\x1b[?2004$p",
            "\x1b[4$p",
            "\x1b[1$w",
            "\x1b[x",
            "\x1b[?u",
            "\x1b[?4m",
            "\x1b[>q",
            "\x1b[>0q",
            "\x1b[?1;1;0S",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
            "\x1b]10;?\x07",
            "\x1b]11;?\x1b\\",
            "\x1b]4;1;?\x07",
            "\x1b]52;c;?\x07",
            "\x1b]21;foreground=?\x1b\\",
            "\x1b_Gi=1,a=q;AAAA\x1b\\",
            "\x1b[6\nn",
            "\x1b]1337;ReportCellSize\x07",
            "\x1b[1;1;1;2;2;2*y",
        ] {
            let stream = format!("before{query}after");
            for split in 0..=stream.len() {
                assert_eq!(shown(stream.as_bytes(), split), "beforeafter", "{query:?}");
            }
        }
    }

    #[test]
    fn all_else_reaches_it_as_it_is() {
        for stream in [
            "text\r\n\x07\t\u{e4}\u{20ac}",
            "\x1b[1;31mred\x1b[0m",
            "\x1b[2J\x1b[H\x1b[?25l\x1b[?1049h\x1b[1;24r",
            "\x1b]0;what?\x07\x1b]2;a;?\x07\x1b]8;;http://x/?\x1b\\link\x1b]8;;\x1b\\",
            "\x1b]11;#000000\x07\x1b]52;c;Zm9v\x07",
            "\x1b[?6c\x1b[22;0t\x1b[23;0t\x1b[8;24;80t\x1b[>4;2m\x1b[>1u\x1b[2 q",
            "\x1b(0lqk\x1b(B\x1b=\x1b>\x1b7\x1b8\x1bc",
            "\x1bPq#0;2;0;0;0\x1b\\",
            "\x1b[6",
        ] {
            for split in 0..=stream.len() {
                let expected = stream.as_bytes().escape_ascii().to_string();
                assert_eq!(shown(stream.as_bytes(), split), expected);
            }
        }
    }
}
