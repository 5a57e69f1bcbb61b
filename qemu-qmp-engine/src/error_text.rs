//! How errors show texts from other programs: quoted, or with control characters
//! escaped.
//!
//! For crates that build on this one; not for their users.

use std::fmt;

/// Shows a text in quotation marks, and an empty text as `(empty)`.
#[derive(Debug)]
pub struct Quoted<T>(pub T);

/// Shows a text of another program. It escapes control characters and invisible
/// characters, so that a terminal does not execute them.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a str);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        if text.is_empty() {
            return f.write_str("(empty)");
        }
        write!(f, "'{text}'")
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(UNESCAPED) {
            let text = piece.trim_end_matches(UNESCAPED);
            write!(f, "{}{}", text.escape_debug(), &piece[text.len()..])?;
        }
        Ok(())
    }
}

/// `escape_debug` escapes these, but a terminal shows them well.
const UNESCAPED: [char; 4] = ['\'', '"', '\\', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_console_said_is_shown_as_it_is_but_for_what_a_terminal_obeys() {
        let said = "it's \"so\"\t\\o/ \u{1b}[1m\u{7}\u{e4}'";
        assert_eq!(
            Shown(said).to_string(),
            "it's \"so\"\t\\o/ \\u{1b}[1m\\u{7}\u{e4}'"
        );
    }

    #[test]
    fn an_empty_name_is_told_and_not_quoted() {
        assert_eq!(Quoted("a").to_string(), "'a'");
        assert_eq!(Quoted("").to_string(), "(empty)");
    }
}
