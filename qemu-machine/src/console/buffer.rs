//! A console's bytes, and the searches in them.
//!
//! Pure: bytes come in, matches come out. Never keeps more bytes than the ring
//! holds. Never misses a match because a waiter is slow: each search reads each
//! byte as it comes.

use std::sync::Arc;

use qemu_qmp_engine::oneshot;

use super::pattern::TooComplex;
use super::searches::{FoundSpan, MatchEnd, SearchSpec, Searches};
use crate::life::{ExitReport, PausedForGood};
use crate::output::Tail;

/// A match on a console, with the output before it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Match {
    /// The output between the previous match and this one. `before` and `groups`
    /// do not contain bytes that the search skipped.
    pub before: Vec<u8>,
    /// The match and its groups; the first is the whole match. `None` is a
    /// group without a part in the match.
    pub groups: Vec<Option<Vec<u8>>>,
    /// The index of the pattern that matched, counted from 0.
    pub pattern: usize,
    /// How many bytes are missing at the start of `before`, because the output
    /// was larger than the ring. If that cut a sequence or line that the search
    /// skips, `before` begins with the rest of it.
    pub dropped_bytes: u64,
}

impl Match {
    /// The whole match.
    pub fn matched(&self) -> &[u8] {
        self.group(0).unwrap_or_default()
    }

    /// A group, by its number in the regular expression.
    pub fn group(&self, number: usize) -> Option<&[u8]> {
        self.groups.get(number)?.as_deref()
    }

    /// `before` as text. Bytes that are not UTF-8 are replaced.
    pub fn before_text(&self) -> String {
        String::from_utf8_lossy(&self.before).into_owned()
    }
}

/// Why a console has ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The machine never had it, or the caller reads it.
    Absent(&'static str),
    /// QEMU closed it, and may still run.
    Closed,
    /// The machine has ended.
    MachineEnded(Arc<ExitReport>),
}

/// Why a search found no match.
#[derive(Debug)]
pub(super) enum NoMatch {
    Ended(End),
    Paused(PausedForGood),
    TooComplex,
}

#[derive(Debug)]
pub(super) struct Buffer {
    ring: Tail,
    /// How many bytes came in total.
    received: u64,
    /// The end of the last match that was taken.
    cursor: u64,
    /// In no order.
    searches: Vec<Waiting>,
    next_id: u64,
    end: Option<End>,
    /// Why QEMU keeps the guest paused for good, so that it prints nothing.
    hold: Option<PausedForGood>,
    /// How far the readers have read that must not lose a byte.
    readers: Vec<(u64, u64)>,
    /// The rest is read without regard to readers: QEMU has ended.
    is_last: bool,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    searches: Searches,
    from: u64,
    waiter: oneshot::Sender<Result<FoundSpan, NoMatch>>,
}

/// The answer for a waiter.
#[derive(Debug)]
pub(crate) struct Answer {
    waiter: oneshot::Sender<Result<FoundSpan, NoMatch>>,
    answer: Result<FoundSpan, NoMatch>,
}

impl Answer {
    pub(crate) fn send(self) {
        // A waiter that gave up does not receive it.
        let _ = self.waiter.send(self.answer);
    }
}

impl Buffer {
    pub(super) fn new(ring_bytes: usize) -> Self {
        Self {
            ring: Tail::new(ring_bytes),
            received: 0,
            cursor: 0,
            searches: Vec::new(),
            next_id: 0,
            end: None,
            hold: None,
            readers: Vec::new(),
            is_last: false,
        }
    }

    /// Adds a reader that must not lose a byte after this position. Returns its
    /// number.
    pub(super) fn add_reader(&mut self, position: u64) -> u64 {
        self.next_id += 1;
        self.readers.push((self.next_id, position));
        self.next_id
    }

    /// The reader has read up to here, or leaves with `None`.
    pub(super) fn reader_is_at(&mut self, id: u64, position: Option<u64>) {
        self.readers.retain(|(number, _)| *number != id);
        self.readers.extend(position.map(|position| (id, position)));
    }

    /// QEMU has ended: the rest of the stream is read in any case.
    pub(super) fn no_more_holds(&mut self) {
        self.is_last = true;
    }

    /// Whether two more pieces of the socket might push out what a reader has not
    /// read.
    pub(super) fn must_hold(&self) -> bool {
        let room = self.ring.limit().saturating_sub(2 * SOCKET_PIECE_BYTES) as u64;
        let is_behind = |(_, position): &(u64, u64)| self.received - position > room;
        !self.is_last && self.readers.iter().any(is_behind)
    }

    /// Adds bytes of the stream. Returns answers for the waiters. The caller sends
    /// them after it unlocks the buffer, as that may run a waiter's executor.
    #[must_use]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        // In pieces that fit, so that the ring still has what a search finds.
        for piece in bytes.chunks(self.ring.limit().max(1)) {
            self.ring.push(piece);
            self.received += piece.len() as u64;
            let mut at = 0;
            while let Some(waiting) = self.searches.get_mut(at) {
                match waiting.searches.feed(piece).transpose() {
                    Some(found) => {
                        let waiting = self.searches.swap_remove(at);
                        answers.push(self.answer(waiting, found));
                    }
                    None => at += 1,
                }
            }
        }
        answers
    }

    /// Ends the stream. The first end counts, but the machine's end replaces any
    /// other. Returns answers as [`push`](Self::push) does.
    #[must_use]
    pub(super) fn end(&mut self, end: &End) -> Vec<Answer> {
        if self.end.is_none() || matches!(end, End::MachineEnded(_)) {
            self.end = Some(end.clone());
        }
        self.fail_searches(|| NoMatch::Ended(end.clone()))
    }

    /// QEMU keeps the guest paused for good, for this reason; `None` if it does
    /// not. Returns answers as [`push`](Self::push) does.
    #[must_use]
    pub(super) fn set_hold(&mut self, hold: Option<&PausedForGood>) -> Vec<Answer> {
        self.hold = hold.cloned();
        match hold {
            Some(hold) => self.fail_searches(|| NoMatch::Paused(hold.clone())),
            None => Vec::new(),
        }
    }

    /// The guest is not paused for good. The supervisor may report that later.
    pub(super) fn guest_resumed(&mut self) {
        self.hold = None;
    }

    /// Ends all searches: with a match if the last bytes are one, or else with
    /// the reason.
    fn fail_searches(&mut self, reason: impl Fn() -> NoMatch) -> Vec<Answer> {
        let waiting = std::mem::take(&mut self.searches);
        let answer = |mut waiting: Waiting| match waiting.searches.finish().transpose() {
            Some(found) => self.answer(waiting, found),
            None => Answer {
                waiter: waiting.waiter,
                answer: Err(reason()),
            },
        };
        waiting.into_iter().map(answer).collect()
    }

    /// Searches the bytes that were not taken yet. Returns what it found there,
    /// or else the number of the search, which goes on with later bytes.
    pub(super) fn search(
        &mut self,
        spec: SearchSpec,
        waiter: oneshot::Sender<Result<FoundSpan, NoMatch>>,
    ) -> Result<u64, Result<FoundSpan, NoMatch>> {
        let from = self.cursor.max(self.first());
        let passed = usize::try_from(from - self.first()).unwrap_or(usize::MAX);
        let nothing_follows = self.nothing_follows();
        let search = |untaken: [&[u8]; 2]| {
            let mut searches = Searches::new(spec, from)?;
            let mut hit = None;
            for piece in untaken {
                if hit.is_none() {
                    hit = searches.feed(piece)?;
                }
            }
            if hit.is_none() && nothing_follows.is_some() {
                hit = searches.finish()?;
            }
            Ok((searches, hit))
        };
        let (searches, hit) =
            search(self.ring.pieces(passed)).map_err(|TooComplex| Err(NoMatch::TooComplex))?;
        if let Some(hit) = hit {
            return Err(Ok(self.found(&searches, hit, self.cursor)));
        }
        if let Some(reason) = nothing_follows {
            return Err(Err(reason));
        }
        self.next_id += 1;
        self.searches.push(Waiting {
            id: self.next_id,
            searches,
            from: self.cursor,
            waiter,
        });
        Ok(self.next_id)
    }

    /// Ends a search at its deadline. Returns a match if the last bytes are one.
    pub(super) fn give_up(&mut self, id: u64) -> Option<Result<FoundSpan, NoMatch>> {
        let mut waiting = self.take(id)?;
        let hit = waiting.searches.finish().transpose()?;
        Some(self.answer(waiting, hit).answer)
    }

    /// Removes a search whose waiter was dropped.
    pub(super) fn forget(&mut self, id: u64) {
        self.take(id);
    }

    fn take(&mut self, id: u64) -> Option<Waiting> {
        let at = self.searches.iter().position(|waiting| waiting.id == id)?;
        Some(self.searches.swap_remove(at))
    }

    /// Marks the bytes up to here as taken.
    pub(super) fn take_until(&mut self, end: u64) {
        self.cursor = self.cursor.max(end);
    }

    /// Why nothing more will come; `None` if more may come.
    pub(super) fn nothing_follows(&self) -> Option<NoMatch> {
        match &self.end {
            Some(end) => Some(NoMatch::Ended(end.clone())),
            None => self.hold.clone().map(NoMatch::Paused),
        }
    }

    /// All bytes in the ring.
    pub(super) fn tail(&self) -> Vec<u8> {
        self.ring.to_vec()
    }

    /// The last bytes in the ring, at most `count`.
    pub(super) fn last(&self, count: usize) -> Vec<u8> {
        self.ring.last(count)
    }

    /// The last bytes that were not taken, at most `count`.
    pub(super) fn last_untaken(&self, count: usize) -> Vec<u8> {
        let untaken = usize::try_from(self.received - self.cursor).unwrap_or(usize::MAX);
        self.ring.last(untaken.min(count))
    }

    /// The end of the last match that was taken.
    pub(super) fn taken(&self) -> u64 {
        self.cursor
    }

    /// How many bytes came in total.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// At most `count` bytes from this position on, and where they begin: later,
    /// if the ring has dropped the first ones.
    pub(super) fn since(&self, position: u64, count: usize) -> (Vec<u8>, u64) {
        let first = self.first();
        let begin = position.clamp(first, self.received);
        let skipped = usize::try_from(begin - first).unwrap_or(usize::MAX);
        (self.ring.piece(skipped, count), begin)
    }

    /// Why the console has ended; `None` if it has not.
    pub(super) fn ended(&self) -> Option<End> {
        self.end.clone()
    }

    /// Whether the console has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Where the ring begins in the stream.
    fn first(&self) -> u64 {
        self.received - self.ring.len() as u64
    }

    fn answer(&self, waiting: Waiting, hit: Result<MatchEnd, TooComplex>) -> Answer {
        let Waiting {
            id: _,
            searches,
            from,
            waiter,
        } = waiting;
        let answer = match hit {
            Ok(hit) => Ok(self.found(&searches, hit, from)),
            Err(TooComplex) => Err(NoMatch::TooComplex),
        };
        Answer { waiter, answer }
    }

    /// A match whose search began at `from`.
    fn found(&self, searches: &Searches, hit: MatchEnd, from: u64) -> FoundSpan {
        let first = self.first();
        let start = from.max(first);
        let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let length = hit.decided_at.saturating_sub(start);
        let stream = self.ring.piece(count(start - first), count(length));
        searches.found(hit, stream, start, start - from)
    }
}

/// The most that the engine reads of a socket at a time.
const SOCKET_PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Pattern;
    use crate::spec::Noise;

    type Waiter = oneshot::Receiver<Result<FoundSpan, NoMatch>>;

    fn spec<const N: usize>(patterns: [Pattern; N]) -> SearchSpec {
        SearchSpec {
            patterns: patterns.into(),
            noise: Noise::default(),
        }
    }

    fn push(buffer: &mut Buffer, bytes: &[u8]) {
        buffer.push(bytes).into_iter().for_each(Answer::send);
    }

    fn look(buffer: &mut Buffer, pattern: &str) -> Result<Waiter, Match> {
        let (waiter, answer) = oneshot::channel();
        match buffer.search(spec([Pattern::regex(pattern).unwrap()]), waiter) {
            Ok(_) => Ok(answer),
            Err(found) => {
                let found = found.unwrap();
                buffer.take_until(found.end());
                Err(found.into_match())
            }
        }
    }

    #[test]
    fn matches_follow_each_other_and_keep_what_is_between() {
        let mut buffer = Buffer::new(100);
        push(&mut buffer, b"one two three ");
        let two = look(&mut buffer, "two").unwrap_err();
        assert_eq!(
            (two.before.as_slice(), two.matched()),
            (b"one ".as_slice(), b"two".as_slice())
        );
        let mut four = look(&mut buffer, "fo(u)r").unwrap();
        push(&mut buffer, b"fo");
        assert!(four.try_recv().is_err());
        push(&mut buffer, b"ur five");
        let found = four.try_recv().unwrap().unwrap();
        let (end, four) = (found.end(), found.into_match());
        assert_eq!(
            (four.before.as_slice(), four.group(1)),
            (b" three ".as_slice(), Some(b"u".as_slice()))
        );
        // The match was not taken, so the next search begins at the same place.
        assert_eq!(
            look(&mut buffer, "five").unwrap_err().before,
            b" three four "
        );
        buffer.take_until(end);
        assert_eq!(buffer.last_untaken(100), b"");
    }

    #[test]
    fn a_match_that_is_found_takes_no_more_of_the_ring_than_it_needs() {
        let mut buffer = Buffer::new(1000);
        push(
            &mut buffer,
            &[b"a=1 b=2; ".as_slice(), &[b'x'; 900]].concat(),
        );
        for (pattern, matched, copied) in [
            (Pattern::literal("b="), "b=", 7),
            (Pattern::regex(r"b=(\d)\b").unwrap(), "b=2", 8),
        ] {
            let (waiter, _answer) = oneshot::channel();
            let found = buffer.search(spec([pattern]), waiter);
            let found = found.unwrap_err().unwrap();
            assert_eq!(found.stream_bytes(), copied);
            assert_eq!(found.into_match().matched(), matched.as_bytes());
        }
    }

    #[test]
    fn what_came_before_is_searched_wherever_the_ring_is_cut_in_memory() {
        for shift in 0..12 {
            let mut buffer = Buffer::new(12);
            push(&mut buffer, &b"x".repeat(12 + shift));
            push(&mut buffer, b"ab needle yz");
            let found = look(&mut buffer, "needle").unwrap_err();
            let answered = (found.before.as_slice(), found.matched());
            assert_eq!(answered, (b"ab ".as_slice(), b"needle".as_slice()));
            assert_eq!(found.dropped_bytes, 12 + shift as u64);
        }
    }

    #[test]
    fn a_match_is_found_however_much_came_at_once_and_the_loss_is_told() {
        let mut buffer = Buffer::new(10);
        let mut end = look(&mut buffer, "end").unwrap();
        push(
            &mut buffer,
            &[
                b"x".repeat(1000).as_slice(),
                b"end",
                b"y".repeat(1000).as_slice(),
            ]
            .concat(),
        );
        let end = end.try_recv().unwrap().unwrap().into_match();
        assert_eq!(end.matched(), b"end");
        assert_eq!(end.before.len() as u64 + end.dropped_bytes, 1000);
        assert_eq!(buffer.tail(), b"y".repeat(10));
        let last = look(&mut buffer, "y").unwrap_err();
        assert_eq!(last.dropped_bytes, 1993);
    }

    #[test]
    fn of_several_patterns_the_one_that_ends_first_is_found_and_told() {
        let patterns = || spec(["login: ", "panic", "log", "ic"].map(Pattern::from));
        for (stream, index, matched) in [
            ("a login: panic", 2, "log"),
            ("kernel panic", 1, "panic"),
            ("basic login: ", 3, "ic"),
        ] {
            // At once, byte by byte, and in bytes that came before.
            for size in [stream.len(), 1] {
                let mut buffer = Buffer::new(100);
                let (waiter, mut answer) = oneshot::channel();
                buffer.search(patterns(), waiter).unwrap();
                for piece in stream.as_bytes().chunks(size) {
                    push(&mut buffer, piece);
                }
                let found = answer.try_recv().unwrap().unwrap().into_match();
                assert_eq!(
                    (found.pattern, found.matched()),
                    (index, matched.as_bytes())
                );
            }
            let mut buffer = Buffer::new(100);
            push(&mut buffer, stream.as_bytes());
            let (waiter, _answer) = oneshot::channel();
            let found = buffer.search(patterns(), waiter).unwrap_err().unwrap();
            let found = found.into_match();
            assert_eq!(
                (found.pattern, found.matched()),
                (index, matched.as_bytes())
            );
        }
    }

    #[test]
    fn a_search_that_is_given_up_is_told_at_once_and_loses_nothing() {
        let mut buffer = Buffer::new(1 << 20);
        let mut complex = look(&mut buffer, "1[01]{500}x").unwrap();
        push(&mut buffer, b"begin ");
        let mut random = 1_u32;
        let mut bits = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'0' + u8::from(random >> 31 == 1)
        });
        let answered = (0..100).find_map(|_| {
            let piece: Vec<u8> = bits.by_ref().take(4096).collect();
            push(&mut buffer, &piece);
            complex.try_recv().ok()
        });
        assert!(matches!(answered, Some(Err(NoMatch::TooComplex))));
        assert!(buffer.searches.is_empty());
        push(&mut buffer, b" end");
        assert_eq!(look(&mut buffer, "begin ").unwrap_err().before, b"");
        look(&mut buffer, " end").unwrap_err();
    }

    #[test]
    fn the_end_reaches_who_waits_and_who_comes_later_but_not_before_what_is_there() {
        let mut buffer = Buffer::new(100);
        let mut waiting = look(&mut buffer, "never").unwrap();
        push(&mut buffer, b"last words");
        buffer.end(&End::Closed).into_iter().for_each(Answer::send);
        assert!(matches!(
            waiting.try_recv(),
            Ok(Err(NoMatch::Ended(End::Closed)))
        ));
        assert_eq!(look(&mut buffer, "words").unwrap_err().before, b"last ");
        let (waiter, _answer) = oneshot::channel();
        let late = buffer.search(spec(["never".into()]), waiter);
        assert!(matches!(late, Err(Err(NoMatch::Ended(End::Closed)))));
    }

    #[test]
    fn what_may_have_begun_a_kernel_line_is_text_when_nothing_follows() {
        let bracket = || SearchSpec {
            noise: Noise {
                kernel_lines: true,
                escapes: false,
            },
            ..spec(["[".into()])
        };
        let matched =
            |answer: Result<FoundSpan, NoMatch>| answer.unwrap().into_match().matched().to_vec();

        let mut buffer = Buffer::new(100);
        let (waiter, mut answer) = oneshot::channel();
        let id = buffer.search(bracket(), waiter).unwrap();
        push(&mut buffer, b"> [");
        assert!(answer.try_recv().is_err(), "decided too early");
        // By the deadline.
        assert_eq!(matched(buffer.give_up(id).unwrap()), b"[");
        assert!(buffer.give_up(id).is_none());

        // By the end, for a waiter and for a later search.
        let (waiter, mut answer) = oneshot::channel();
        buffer.search(bracket(), waiter).unwrap();
        buffer.end(&End::Closed).into_iter().for_each(Answer::send);
        assert_eq!(matched(answer.try_recv().unwrap()), b"[");
        let (waiter, _answer) = oneshot::channel();
        assert_eq!(matched(buffer.search(bracket(), waiter).unwrap_err()), b"[");
    }

    #[test]
    fn the_next_search_begins_after_a_match_past_noise() {
        let mut buffer = Buffer::new(100);
        push(&mut buffer, b"log[    1.5] a\r\nin: [    2.5] b\r\npass");
        let (waiter, _answer) = oneshot::channel();
        let login = SearchSpec {
            noise: Noise {
                kernel_lines: true,
                escapes: false,
            },
            ..spec(["login: ".into()])
        };
        let found = buffer.search(login, waiter).unwrap_err().unwrap();
        let (end, found) = (found.end(), found.into_match());
        assert_eq!((found.before, found.dropped_bytes), (Vec::new(), 0));
        buffer.take_until(end);
        let rest = look(&mut buffer, "pass").unwrap_err();
        assert_eq!(rest.before, b"[    2.5] b\r\n");
    }
}
