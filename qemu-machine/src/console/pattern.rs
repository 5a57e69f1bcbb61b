//! What to look for on a console, and a search that reads each byte once.
//!
//! A match ends at the first byte at which the pattern is satisfied, so what
//! is found does not depend on the pieces in which the bytes came. A pattern
//! thus takes no more than it must: `[0-9]+` matches one digit, `[0-9]+\r?\n`
//! a whole number and its line end. The exception is an assertion at a
//! pattern's end (`$`, `\b`): it also holds where the bytes end that have come
//! so far, for a prompt is the last thing before silence.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::hybrid::regex::Regex;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use thiserror::Error;

/// A literal or a regular expression over bytes.
///
/// A `&str` or `&[u8]` becomes a literal by itself, where a pattern is asked
/// for. In a regular expression `.`, `\w` and the like stand for single bytes;
/// it may hold text of any language.
///
/// A match ends at the first byte at which the pattern is satisfied: `[0-9]+`
/// takes one digit, `[0-9]+\r?\n` a whole number and its line end. `^` holds
/// where the search begins, after the last match; `(?m)^` at each line. `$` and
/// `\b` at the end of a pattern also hold at the end of what has come so far.
///
/// # Examples
/// ```
/// use qemu_machine::Pattern;
///
/// let prompt = Pattern::regex(r"(?m)^\[?root@(\S+) ~\]?# ")?;
/// # Ok::<(), qemu_machine::PatternError>(())
/// ```
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    source: String,
    /// Finds where a match ends, then where it began.
    finder: Regex,
    /// Finds the groups within it.
    groups: PikeVM,
}

/// A regular expression that cannot be read.
#[derive(Debug, Clone, Error)]
#[error("cannot use pattern '{pattern}': {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

impl Pattern {
    /// Exactly these bytes.
    ///
    /// # Panics
    /// A literal of many megabytes makes too large an automaton.
    pub fn literal(bytes: impl AsRef<[u8]>) -> Self {
        use fmt::Write;
        let bytes = bytes.as_ref();
        let mut expression = String::with_capacity(4 * bytes.len());
        for byte in bytes {
            // Writing into a string never fails.
            let _ = write!(expression, r"\x{byte:02x}");
        }
        Self::compile(&expression, bytes.escape_ascii().to_string())
            .expect("numbered bytes are a regular expression")
    }

    /// A regular expression, in the syntax of the `regex` crate.
    ///
    /// # Errors
    /// It cannot be read, or is too large.
    pub fn regex(expression: &str) -> Result<Self, PatternError> {
        Self::compile(expression, expression.to_owned())
    }

    fn compile(expression: &str, source: String) -> Result<Self, PatternError> {
        let bytes = syntax::Config::new().unicode(false).utf8(false);
        let error = |reason: &dyn fmt::Display| PatternError {
            pattern: source.clone(),
            reason: reason.to_string(),
        };
        let finder = Regex::builder()
            .syntax(bytes)
            .build(expression)
            .map_err(|reason| error(&reason))?;
        let groups = PikeVM::builder()
            .syntax(bytes)
            .build(expression)
            .map_err(|reason| error(&reason))?;
        Ok(Self(Arc::new(Compiled {
            source,
            finder,
            groups,
        })))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.0.source)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
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

/// A search under way over a stream that comes in pieces.
pub(super) struct Search {
    pattern: Pattern,
    cache: Cache,
    state: LazyStateID,
    idle: Option<Idle>,
}

/// The state in which nothing of the pattern has come, where but few bytes end
/// that: what is between them is passed at the speed of `memchr`.
#[derive(Debug, Clone, Copy)]
struct Idle {
    state: LazyStateID,
    /// States are numbered anew when the automaton's memory was cleared.
    clear_count: usize,
    ended_by: [u8; 3],
}

impl Idle {
    /// Where the automaton begins, if it is back there after most bytes. It is
    /// not where what comes before a match matters, as for `\b` and `^`.
    fn of(automaton: &DFA, cache: &mut Cache, state: LazyStateID) -> Option<Self> {
        if !automaton.get_nfa().look_set_any().is_empty() {
            return None;
        }
        let mut ended_by = Vec::new();
        for byte in 0..=u8::MAX {
            if automaton.next_state(cache, state, byte).ok()? != state {
                ended_by.push(byte);
            }
        }
        let ended_by = match ended_by[..] {
            [one] => [one; 3],
            [one, two] => [one, two, two],
            [one, two, three] => [one, two, three],
            _ => return None,
        };
        let clear_count = cache.clear_count();
        Some(Self {
            state,
            clear_count,
            ended_by,
        })
    }

    /// How many of these bytes change nothing.
    fn pass(&self, rest: &[u8]) -> usize {
        let [one, two, three] = self.ended_by;
        memchr::memchr3(one, two, three, rest).unwrap_or(rest.len())
    }
}

/// The automaton gave up: its memory was not enough for the pattern.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooComplex;

impl Search {
    /// Begins at the start of a stream.
    pub(super) fn new(pattern: Pattern) -> Result<Self, TooComplex> {
        let automaton = pattern.0.finder.forward();
        let mut cache = automaton.create_cache();
        let state = automaton
            .start_state_forward(&mut cache, &Input::new(b""))
            .map_err(|_| TooComplex)?;
        let idle = Idle::of(automaton, &mut cache, state);
        Ok(Self {
            pattern,
            cache,
            state,
            idle,
        })
    }

    /// Reads the next piece of the stream. Gives how many bytes of the stream,
    /// counted from the start of the piece, are before the end of the first
    /// match that is followed by a byte of it: a match that ended with the piece
    /// before is told by the first byte of this one.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>, TooComplex> {
        let automaton = self.pattern.0.finder.forward();
        let mut index = 0;
        while let Some(&byte) = piece.get(index) {
            if let Some(idle) = &self.idle
                && idle.state == self.state
                && idle.clear_count == self.cache.clear_count()
            {
                let passed = idle.pass(&piece[index..]);
                if passed > 0 {
                    index += passed;
                    continue;
                }
            }
            self.state = automaton
                .next_state(&mut self.cache, self.state, byte)
                .map_err(|_| TooComplex)?;
            if self.state.is_tagged() {
                if self.state.is_match() {
                    return Ok(Some(index));
                }
                if self.state.is_quit() {
                    return Err(TooComplex);
                }
            }
            index += 1;
        }
        Ok(None)
    }

    /// Whether a match ends with the last byte that was read. A state tells
    /// that only with the byte after it, which may never come.
    pub(super) fn matches_at_end(&mut self) -> Result<bool, TooComplex> {
        let end = self
            .pattern
            .0
            .finder
            .forward()
            .next_eoi_state(&mut self.cache, self.state)
            .map_err(|_| TooComplex)?;
        Ok(end.is_match())
    }

    /// Where the match that ends at `end` in `stream` begins, and its groups;
    /// the first is the whole. What follows the end is only looked at, as by
    /// `\b`.
    pub(super) fn groups(&self, stream: &[u8], end: usize) -> Vec<Option<Range<usize>>> {
        let compiled = &*self.pattern.0;
        let reverse = compiled.finder.reverse();
        let input = Input::new(stream).range(..end).anchored(Anchored::Yes);
        // Where the start is not found, it came before what is kept.
        let start = reverse
            .try_search_rev(&mut reverse.create_cache(), &input)
            .ok()
            .flatten()
            .map_or(0, |half| half.offset());
        if compiled.groups.get_nfa().group_info().slot_len() == 2 {
            // It has none but the whole.
            return vec![Some(start..end)];
        }
        let mut slots = vec![None; compiled.groups.get_nfa().group_info().slot_len()];
        let input = Input::new(stream).range(start..end).anchored(Anchored::Yes);
        compiled
            .groups
            .search_slots(&mut compiled.groups.create_cache(), &input, &mut slots);
        let mut groups: Vec<_> = slots
            .chunks(2)
            .map(|slot| Some(slot[0]?.get()..slot[1]?.get()))
            .collect();
        // The whole match is certain; where its groups begin is the rest.
        groups[0] = Some(start..end);
        groups
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The match in `stream` fed in pieces of `size`, and its groups.
    fn search(pattern: &Pattern, stream: &[u8], size: usize) -> Option<Vec<String>> {
        let mut search = Search::new(pattern.clone()).unwrap();
        let mut before = 0;
        for piece in stream.chunks(size) {
            let mut found = search.feed(piece).unwrap();
            if found.is_none() && search.matches_at_end().unwrap() {
                found = Some(piece.len());
            }
            if let Some(count) = found {
                let text = |range| String::from_utf8_lossy(&stream[range]).into_owned();
                return Some(
                    search
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
                // Where the stream ends is where the end of text is.
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

    /// What is passed quickly is not what a match begins with.
    #[test]
    fn a_match_after_much_that_is_none_is_found_in_pieces_of_any_size() {
        for (pattern, begins_rarely) in [
            (Pattern::literal("never"), true),
            (Pattern::regex("[nm]e?v.r").unwrap(), true),
            (Pattern::regex("never|x+y").unwrap(), true),
            (Pattern::regex("[^ ]ever").unwrap(), false),
            (Pattern::regex(r"\bnever").unwrap(), false),
        ] {
            assert_eq!(
                Search::new(pattern.clone()).unwrap().idle.is_some(),
                begins_rarely
            );
            let stream = [b"n nn ne nev neve xx ".repeat(20).as_slice(), b"never"].concat();
            for size in [1, 2, 3, 7, 64, stream.len()] {
                let found = search(&pattern, &stream, size).expect("it is there");
                assert_eq!(found[0], "never", "{pattern} by {size}");
            }
        }
    }

    #[test]
    fn an_empty_pattern_matches_at_once() {
        let mut search = Search::new("".into()).unwrap();
        assert!(search.matches_at_end().unwrap());
    }

    #[test]
    fn a_bad_expression_says_what_is_wrong() {
        let error = Pattern::regex("a(b").unwrap_err().to_string();
        assert!(error.starts_with("cannot use pattern 'a(b': "), "{error}");
    }
}
