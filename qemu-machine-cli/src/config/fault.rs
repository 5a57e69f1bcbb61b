//! What is wrong in a file: the place, the reason, and the line itself.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The bytes of the text; `None` if no place has the fault.
    span: Option<Range<usize>>,
    message: String,
}

impl Fault {
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span: Some(span),
            message: message.into(),
        }
    }

    /// A fault of the whole.
    pub(super) fn somewhere(message: impl Into<String>) -> Self {
        Self {
            span: None,
            message: message.into(),
        }
    }

    /// Of several, the first is reported.
    pub(super) fn begin(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.start)
    }

    /// `FILE:LINE:COLUMN: REASON`, and below it the line with marks under what
    /// is wrong.
    pub(super) fn render(&self, path: &Path, text: &str) -> String {
        let (path, message) = (path.display(), &self.message);
        let Some(span) = &self.span else {
            return format!("{path}: {message}");
        };
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let length = text[begin..].find('\n').unwrap_or(text.len() - begin);
        let line = text[begin..begin + length].trim_end_matches('\r');
        let number = text[..begin].matches('\n').count() + 1;
        let column = text[begin..start].chars().count() + 1;
        // Of a long line, the part around the fault.
        let left = floor(text, start.saturating_sub(BESIDE_BYTES)).max(begin);
        let right = floor(text, start + BESIDE_BYTES).min(begin + line.len());
        let line = &text[left..right.max(left)];
        let (begin, before) = (left, &text[left..start.max(left)]);
        // A tab stays one, so that the marks stand where the text does.
        let indent: String = before
            .chars()
            .map(|it| if it == '\t' { '\t' } else { ' ' })
            .collect();
        let last = end.min(begin + line.len());
        let marked = text.get(start..last).map_or(0, |it| it.chars().count());
        let marks = "^".repeat(marked.max(1));
        let gutter = " ".repeat(number.to_string().len());
        let mut shown = format!("{path}:{number}:{column}: {message}\n");
        let _ = write!(
            shown,
            " {gutter} |\n {number} | {line}\n {gutter} | {indent}{marks}"
        );
        shown
    }
}

/// How much of a line is shown before a fault, and how much after its begin.
const BESIDE_BYTES: usize = 200;

/// The begin of the character that this byte is in.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, span: Range<usize>) -> String {
        Fault::at(span, "it is wrong").render(Path::new("a.toml"), text)
    }

    #[test]
    fn a_fault_shows_its_line_with_marks() {
        let text = "[defaults]\n\té = \"abc\"\n";
        let at = text.find("\"abc\"").unwrap();
        assert_eq!(
            rendered(text, at..at + 5),
            "a.toml:2:6: it is wrong\n   |\n 2 | \té = \"abc\"\n   | \t    ^^^^^"
        );
    }

    #[test]
    fn of_a_long_line_the_part_around_the_fault_is_shown() {
        let text = format!("{}!{}", "é".repeat(5000), "x".repeat(5000));
        let shown = rendered(&text, 10_000..10_001);
        assert!(
            shown.starts_with("a.toml:1:5001: ") && shown.len() < 900,
            "{shown}"
        );
        let mut lines = shown
            .lines()
            .skip(2)
            .map(|it| it.chars().collect::<Vec<_>>());
        let (line, marks) = (lines.next().unwrap(), lines.next().unwrap());
        let at = |it: char, line: &[char]| line.iter().position(|other| *other == it);
        assert_eq!(at('!', &line), at('^', &marks));
        assert!(at('!', &line).is_some());
    }

    #[test]
    fn a_fault_over_several_lines_or_at_the_end_is_shown_too() {
        let text = "a = [\r\n1,\n2]";
        assert!(rendered(text, 4..text.len()).ends_with(" 1 | a = [\n   |     ^"));
        assert!(rendered(text, text.len()..text.len()).ends_with(" 3 | 2]\n   |   ^"));
        assert!(rendered("", 0..9).ends_with(" 1 | \n   | ^"));
        // A carriage return, and the middle of a character.
        assert!(rendered(text, 6..7).contains("a.toml:1:7: "));
        assert!(rendered("é", 1..1).contains("a.toml:1:1: "));
    }
}
