//! A pattern for a console, and a search that reads each byte once.
//!
//! A match ends at the first byte that satisfies the pattern. So it does not
//! depend on the pieces in which the bytes came. It is as short as possible:
//! `[0-9]+` matches one digit, `[0-9]+\r?\n` a whole number and its line end.
//!
//! An assertion at a pattern's end (`$`, `\b`) is an exception. It also holds at
//! the end of the bytes so far, because a prompt is the last text before silence.

mod automaton;
mod literal;

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::error_text::{Quoted, Shown};

use automaton::Automaton;
pub(super) use automaton::TooComplex;
use literal::Literal;

/// A literal or a regular expression over bytes.
///
/// A `&str` or `&[u8]` is converted to a literal. In a regular expression, `.`,
/// `\w` and similar classes stand for single bytes. An expression may contain
/// text of any language.
///
/// A match ends at the first byte that satisfies the pattern: `[0-9]+` matches
/// one digit, `[0-9]+\r?\n` a whole number and its line end. `^` holds at the
/// start of the search, after the last match; `(?m)^` holds at each line. At the
/// end of a pattern, `$` and `\b` also hold at the end of the output so far.
///
/// # Examples
/// ```
/// use qemu_machine::console::Pattern;
///
/// let prompt = Pattern::regex(r"(?m)^\[?root@(\S+) ~\]?# ")?;
/// # Ok::<(), qemu_machine::error::PatternError>(())
/// ```
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    finder: Finder,
}

#[derive(Clone)]
enum Finder {
    Literal(Arc<Literal>),
    Automaton(Arc<Automaton>),
}

/// A regular expression is invalid or too large.
#[derive(Clone)]
#[non_exhaustive]
pub struct PatternError {
    pattern: String,
    reason: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, reason } = self;
        write!(f, "cannot use pattern {}: {reason}", Quoted(pattern))
    }
}

impl Error for PatternError {}

impl PatternError {
    /// What kind of failure it is: always
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

impl Pattern {
    /// Exactly these bytes; any number of them.
    pub fn literal(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        Self {
            source: shown(bytes).into(),
            finder: Finder::Literal(Arc::new(Literal::new(bytes))),
        }
    }

    /// A regular expression, in the syntax of the `regex` crate.
    ///
    /// The cost of a search is bounded for any output. Some output can lead some
    /// patterns from state to state without end, such as random `a` and `b` for
    /// `a[ab]{20}c`. Then the search fails with
    /// [`ExpectFailure::TooComplex`](crate::error::ExpectFailure::TooComplex).
    ///
    /// # Errors
    /// [`PatternError`], if the expression is invalid or too large.
    pub fn regex(expression: &str) -> Result<Self, PatternError> {
        let automaton = Automaton::new(expression).map_err(|reason| PatternError {
            pattern: expression.to_owned(),
            reason,
        })?;
        Ok(Self {
            source: expression.into(),
            finder: Finder::Automaton(Arc::new(automaton)),
        })
    }

    /// The groups of the match that ends at `end` in `stream`; the first is the
    /// whole match. Bytes after the end only matter to assertions such as `\b`.
    pub(super) fn groups(&self, stream: &[u8], end: usize) -> Vec<Option<Range<usize>>> {
        match &self.finder {
            // The ring may have dropped the start.
            Finder::Literal(literal) => vec![Some(end.saturating_sub(literal.len())..end)],
            Finder::Automaton(automaton) => automaton.groups(stream, end),
        }
    }
}

/// A text unchanged; other bytes escaped.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => Shown(text).to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self::literal(text)
    }
}

impl From<&String> for Pattern {
    fn from(text: &String) -> Self {
        Self::literal(text)
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::literal(text)
    }
}

impl From<&[u8]> for Pattern {
    fn from(bytes: &[u8]) -> Self {
        Self::literal(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Pattern {
    fn from(bytes: &[u8; N]) -> Self {
        Self::literal(bytes)
    }
}

impl From<&Self> for Pattern {
    fn from(pattern: &Self) -> Self {
        pattern.clone()
    }
}

/// A search in a stream that comes in pieces.
#[derive(Debug)]
pub(super) enum Search {
    Literal(literal::Search),
    Automaton(Box<automaton::Search>),
}

impl Search {
    /// Begins at the start of a stream.
    pub(super) fn new(pattern: &Pattern) -> Result<Self, TooComplex> {
        Ok(match &pattern.finder {
            Finder::Literal(literal) => Self::Literal(literal::Search::new(Arc::clone(literal))),
            Finder::Automaton(automaton) => {
                Self::Automaton(Box::new(automaton::Search::new(Arc::clone(automaton))?))
            }
        })
    }

    /// Reads the next piece of the stream. Returns the end of the first match,
    /// as a number of bytes from the start of the piece.
    ///
    /// A match is reported by the byte after it. So 0 means a match that ended
    /// with the previous piece.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>, TooComplex> {
        match self {
            Self::Literal(search) => Ok(search.feed(piece)),
            Self::Automaton(search) => search.feed(piece),
        }
    }

    /// Whether a match ends with the last byte that was read. [`feed`](Self::feed)
    /// reports that only with the next byte, which may never come.
    pub(super) fn matches_at_end(&mut self) -> Result<bool, TooComplex> {
        match self {
            Self::Literal(search) => Ok(search.matches_at_end()),
            Self::Automaton(search) => search.matches_at_end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The match in `stream` fed in pieces of `size`, and its groups.
    fn search(pattern: &Pattern, stream: &[u8], size: usize) -> Option<Vec<String>> {
        let mut search = Search::new(pattern).unwrap();
        let mut before = 0;
        for piece in stream.chunks(size) {
            let mut found = search.feed(piece).unwrap();
            if found.is_none() && search.matches_at_end().unwrap() {
                found = Some(piece.len());
            }
            if let Some(count) = found {
                let text = |range| String::from_utf8_lossy(&stream[range]).into_owned();
                return Some(
                    pattern
                        .groups(stream, before + count)
                        .into_iter()
                        .map(|group| group.map_or("-".to_owned(), text))
                        .collect(),
                );
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn the_first_match_is_the_same_in_pieces_of_any_size() {
        let stream = b"boot\xff ok\r\nx=12 y=345\r\nlogin: tty1 login: ";
        let regex = |text| Pattern::regex(text).unwrap();
        let cases: [(Pattern, Option<&[&str]>); 9] = [
            ("login: ".into(), Some(&["login: "])),
            (b"\xff ok".into(), Some(&["\u{fffd} ok"])),
            (regex(r"y=(\d+)\r"), Some(&["y=345\r", "345"])),
            (regex(r"(x|y)=(\d+)"), Some(&["x=1", "x", "1"])),
            (regex(r"(?m)^login: (a)?"), Some(&["login: ", "-"])),
            (regex(r"\blogin: $"), Some(&["login: "])),
            (regex(r"logi\B"), Some(&["logi"])),
            (regex(r"12.*345"), Some(&["12 y=345"])),
            ("logout".into(), None),
        ];
        for (pattern, expected) in cases {
            let expected = expected.map(|groups| groups.iter().map(ToString::to_string).collect());
            for size in 1..=stream.len() {
                // These assertions hold at the end of each piece.
                let asserts = pattern.to_string().ends_with(['$', 'B']);
                if asserts && size < stream.len() {
                    continue;
                }
                assert_eq!(
                    search(&pattern, stream, size),
                    expected,
                    "{pattern} by {size}"
                );
            }
        }
    }

    #[test]
    fn a_match_after_much_that_is_none_is_found_in_pieces_of_any_size() {
        let regex = |expression| Pattern::regex(expression).unwrap();
        for (pattern, begins_rarely) in [
            (Pattern::literal("never"), true),
            (regex("[nm]e?v.r"), true),
            (regex("never|x+y"), true),
            (regex("[^ ]ever"), false),
            (regex(r"\bnever"), false),
        ] {
            let is_passed = match Search::new(&pattern).unwrap() {
                Search::Literal(_) => true,
                Search::Automaton(search) => search.has_idle(),
            };
            assert_eq!(is_passed, begins_rarely, "{pattern}");
            let stream = [b"n nn ne nev neve xx ".repeat(20).as_slice(), b"never"].concat();
            for size in [1, 2, 3, 7, 64, stream.len()] {
                let found = search(&pattern, &stream, size).expect("it is there");
                assert_eq!(found[0], "never", "{pattern} by {size}");
            }
        }
    }

    /// Random words, as a guest may print them.
    fn random(alphabet: &[&str], count: usize) -> String {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            alphabet[usize::try_from(random % alphabet.len() as u64).unwrap()]
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_search_that_is_led_from_state_to_state_is_given_up() {
        let bits = random(&["0", "1"], 400_000);
        for expression in [
            "1[01]{20}x",
            "1[01]{500}x",
            "password[^\r\n]{0,90}: [^\r\n]{0,90}x",
        ] {
            let stream = if expression.starts_with('1') {
                bits.clone()
            } else {
                random(&["password", ": ", "y", "zz", "o"], 400_000)
            };
            let mut search = Search::new(&Pattern::regex(expression).unwrap()).unwrap();
            let fed = stream.as_bytes().chunks(4096).try_for_each(|piece| {
                search.feed(piece)?;
                search.matches_at_end().map(drop)
            });
            assert!(matches!(fed, Err(TooComplex)), "{expression}");
        }
    }

    #[test]
    fn a_literal_of_any_length_is_found_and_what_a_person_looks_for_is_not_given_up() {
        let long = random(&["a", "b", "c"], 300_000);
        let same = "x".repeat(300_000);
        for text in [&long, &same] {
            let stream = [&text[1..], "-", text, "-"].concat();
            let found = search(&text.into(), stream.as_bytes(), 65536).unwrap();
            assert!(found == [text.as_str()]);
        }
        let stream = random(
            &["login", ": ", "#", " ", "\r\n", "[", "4", "~", "\x1b", "a"],
            100_000,
        );
        for expression in [
            r"(?m)^\[?root@(\S+) ~\]?# ",
            r"\b[0-9]+\r?\n",
            r"(?i)login incorrect|authentication fail|permission denied",
            r"[#$%>] ?(?:\x1b\[[0-9;?]*[A-Za-z])*!$",
            r"login: .*login: .*never",
            r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}",
        ] {
            let pattern = Pattern::regex(expression).unwrap();
            search(&pattern, stream.as_bytes(), 4096);
        }
    }

    #[test]
    fn an_empty_pattern_matches_at_once() {
        for pattern in ["".into(), Pattern::regex("").unwrap()] {
            let mut search = Search::new(&pattern).unwrap();
            assert!(search.matches_at_end().unwrap());
            assert_eq!(search.feed(b"x").unwrap(), Some(0));
        }
    }

    #[test]
    fn a_bad_expression_says_what_is_wrong() {
        let error = Pattern::regex("a(b").unwrap_err().to_string();
        assert!(error.starts_with("cannot use pattern 'a(b': "), "{error}");
    }
}
