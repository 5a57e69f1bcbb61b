//! Searches a stream for a regular expression, by an automaton. It makes only
//! the states that the stream leads to, each once.
//!
//! Never costs more for a byte than the limits here, for any output of a guest:
//! - the memory for states has a fixed size;
//! - a search gives up when the stream leads to new states again and again.

use std::ops::Range;
use std::sync::Arc;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// A regular expression, compiled.
#[derive(Debug)]
pub(super) struct Automaton {
    /// Finds where a match ends.
    forward: DFA,
    /// Finds where a match begins.
    reverse: DFA,
    /// Finds the groups within it.
    groups: PikeVM,
}

/// A search in a stream.
#[derive(Debug)]
pub(in crate::console) struct Search {
    automaton: Arc<Automaton>,
    cache: Cache,
    state: LazyStateID,
    idle: Option<Idle>,
}

/// The automaton gave up: the stream led to too many states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooComplex;

impl Automaton {
    pub(super) fn new(expression: &str) -> Result<Self, String> {
        let bytes = syntax::Config::new().unicode(false).utf8(false);
        let compile = |config| {
            let mut compiler = NFA::compiler();
            let nfa = compiler.configure(config).syntax(bytes).build(expression);
            nfa.map_err(|error| reason(&error))
        };
        let nfa = compile(thompson::Config::new())?;
        let backwards = thompson::Config::new().reverse(true);
        let backwards = compile(backwards.which_captures(WhichCaptures::None))?;
        // A state is a set of the pattern's states, and costs some 10 ns for each
        // of those. The number of bytes that use it must be worth that.
        let bounded = DFA::config()
            .minimum_cache_clear_count(Some(TIMES_CLEARED))
            .minimum_bytes_per_state(Some(nfa.states().len()));
        let all = DFA::config().match_kind(MatchKind::All);
        let automaton = |config, nfa| {
            let automaton = DFA::builder().configure(config).build_from_nfa(nfa);
            automaton.map_err(|error| error.to_string())
        };
        Ok(Self {
            forward: automaton(bounded, nfa.clone())?,
            // Without a limit: the ring limits its input.
            reverse: automaton(all, backwards)?,
            groups: PikeVM::new_from_nfa(nfa).map_err(|error| error.to_string())?,
        })
    }

    /// See [`Pattern::groups`](super::Pattern::groups).
    pub(super) fn groups(&self, stream: &[u8], end: usize) -> Vec<Option<Range<usize>>> {
        let input = Input::new(stream).range(..end).anchored(Anchored::Yes);
        // If the start is not found, the ring has dropped it.
        let start = self
            .reverse
            .try_search_rev(&mut self.reverse.create_cache(), &input)
            .ok()
            .flatten()
            .map_or(0, |half| half.offset());
        let slot_count = self.groups.get_nfa().group_info().slot_len();
        if slot_count == 2 {
            // The only group is the whole match.
            return vec![Some(start..end)];
        }
        let mut slots = vec![None; slot_count];
        let input = Input::new(stream).range(start..end).anchored(Anchored::Yes);
        self.groups
            .search_slots(&mut self.groups.create_cache(), &input, &mut slots);
        let mut groups: Vec<_> = slots
            .chunks(2)
            .map(|slot| Some(slot[0]?.get()..slot[1]?.get()))
            .collect();
        // The whole match is already known.
        groups[0] = Some(start..end);
        groups
    }
}

impl Search {
    /// Begins at the start of a stream.
    pub(super) fn new(automaton: Arc<Automaton>) -> Result<Self, TooComplex> {
        let mut cache = automaton.forward.create_cache();
        let start = |cache: &mut Cache| {
            let state = automaton
                .forward
                .start_state_forward(cache, &Input::new(b""));
            state.map_err(|_| TooComplex)
        };
        let state = start(&mut cache)?;
        let idle = Idle::of(&automaton.forward, &mut cache, state);
        // Once more, because `Idle::of` may have cleared the cache.
        let state = start(&mut cache)?;
        Ok(Self {
            automaton,
            cache,
            state,
            idle,
        })
    }

    /// See [`feed`](super::Search::feed).
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>, TooComplex> {
        let automaton = &self.automaton.forward;
        // Starts the count that decides whether to give up.
        self.cache.search_start(0);
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
            self.cache.search_update(index);
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
        self.cache.search_finish(index);
        Ok(None)
    }

    /// See [`matches_at_end`](super::Search::matches_at_end).
    pub(super) fn matches_at_end(&mut self) -> Result<bool, TooComplex> {
        let clear_count = self.cache.clear_count();
        let end = self
            .automaton
            .forward
            .next_eoi_state(&mut self.cache, self.state)
            .map_err(|_| TooComplex)?;
        if self.cache.clear_count() != clear_count {
            // The stream's present state was cleared.
            return Err(TooComplex);
        }
        Ok(end.is_match())
    }

    #[cfg(test)]
    pub(super) fn has_idle(&self) -> bool {
        self.idle.is_some()
    }
}

/// The state before any byte of a match, if at most three bytes lead out of it.
/// Then `memchr` skips all other bytes.
#[derive(Debug, Clone, Copy)]
struct Idle {
    state: LazyStateID,
    /// States get new numbers when the automaton's memory is cleared.
    clear_count: usize,
    ended_by: [u8; 3],
}

impl Idle {
    /// The automaton's first state, if most bytes lead back to it. `None` for a
    /// pattern with `\b` or `^`: there the bytes before a match matter.
    fn of(automaton: &DFA, cache: &mut Cache, state: LazyStateID) -> Option<Self> {
        if !automaton.get_nfa().look_set_any().is_empty() {
            return None;
        }
        let mut ended_by = Vec::new();
        for byte in 0..=u8::MAX {
            if automaton.next_state(cache, state, byte).ok()? != state {
                ended_by.push(byte);
            }
            if cache.clear_count() > 0 {
                return None;
            }
        }
        let ended_by = match ended_by[..] {
            [one] => [one; 3],
            [one, two] => [one, two, two],
            [one, two, three] => [one, two, three],
            _ => return None,
        };
        Some(Self {
            state,
            clear_count: 0,
            ended_by,
        })
    }

    /// How many of these bytes do not change the state.
    fn pass(&self, rest: &[u8]) -> usize {
        let [one, two, three] = self.ended_by;
        memchr::memchr3(one, two, three, rest).unwrap_or(rest.len())
    }
}

/// How often a search may fill 2 MiB with states that few bytes use before it
/// gives up. Each time takes some 30 ms.
const TIMES_CLEARED: usize = 1;

/// The reason why an expression is invalid: the innermost error has it, after a
/// drawing of the position.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    match text.rsplit_once("error: ") {
        Some((_, what)) => what.to_owned(),
        None => text,
    }
}
