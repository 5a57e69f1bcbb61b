//! Searches for several patterns at once, with or without noise.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::Match;
use super::noise::Filter;
use super::pattern::{Pattern, Search, TooComplex};
use crate::spec::Noise;

/// The patterns, and the noise to skip.
#[derive(Debug, Clone)]
pub(super) struct SearchSpec {
    pub(super) patterns: Vec<Pattern>,
    pub(super) noise: Noise,
}

/// Searches in a stream that comes in pieces.
#[derive(Debug)]
pub(super) struct Searches {
    patterns: Vec<Pattern>,
    each: Vec<Search>,
    noise: Noise,
    filter: Filter,
    /// The end of the last byte that was read and is no noise.
    read_until: u64,
}

/// Which pattern matched, and where in the stream the match ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MatchEnd {
    pattern: usize,
    end: u64,
    /// How far the stream was read to decide: to the match's end, or one byte
    /// further.
    pub(super) decided_at: u64,
}

/// A match's place, with a copy of its part of the stream. The [`Match`] itself
/// is made later, as that takes too long for the thread that reads.
#[derive(Debug)]
pub(super) struct FoundSpan {
    pattern: Pattern,
    noise: Noise,
    hit: MatchEnd,
    /// The stream from `start` to the place where the match was decided.
    stream: Vec<u8>,
    start: u64,
    /// How many bytes before `start` were dropped.
    dropped_bytes: u64,
}

impl Searches {
    /// Begins at this position of the stream.
    pub(super) fn new(spec: SearchSpec, from: u64) -> Result<Self, TooComplex> {
        let SearchSpec { patterns, noise } = spec;
        let each: Result<_, _> = patterns.iter().map(Search::new).collect();
        Ok(Self {
            patterns,
            each: each?,
            noise,
            filter: Filter::new(noise, from),
            read_until: from,
        })
    }

    /// Reads the next piece. Returns the match that ends first; at the same end,
    /// that of the first pattern.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Option<MatchEnd>, TooComplex> {
        let Self {
            each,
            filter,
            read_until,
            ..
        } = self;
        let flow = filter.push(piece, |run, at| feed_all(each, read_until, run, at));
        self.conclude(flow)
    }

    /// Ends the searches: nothing more will come, or the waiter gives up.
    pub(super) fn finish(&mut self) -> Result<Option<MatchEnd>, TooComplex> {
        let Self {
            each,
            filter,
            read_until,
            ..
        } = self;
        let flow = filter.finish(|run, at| feed_all(each, read_until, run, at));
        self.conclude(flow)
    }

    /// A search reports a match only at the byte after it. That byte may never
    /// come: a prompt is the last text before silence.
    fn conclude(
        &mut self,
        flow: ControlFlow<Result<MatchEnd, TooComplex>>,
    ) -> Result<Option<MatchEnd>, TooComplex> {
        if let ControlFlow::Break(decided) = flow {
            return decided.map(Some);
        }
        for (pattern, search) in self.each.iter_mut().enumerate() {
            if search.matches_at_end()? {
                let end = self.read_until;
                return Ok(Some(MatchEnd {
                    pattern,
                    end,
                    decided_at: end,
                }));
            }
        }
        Ok(None)
    }

    /// Makes the match's span. `stream` is the kept part of the stream, from
    /// `start` to the place where the match was decided.
    pub(super) fn found(
        &self,
        hit: MatchEnd,
        stream: Vec<u8>,
        start: u64,
        dropped_bytes: u64,
    ) -> FoundSpan {
        FoundSpan {
            pattern: self.patterns[hit.pattern].clone(),
            noise: self.noise,
            hit,
            stream,
            start,
            dropped_bytes,
        }
    }
}

impl FoundSpan {
    /// Where the match ends in the stream.
    pub(super) fn end(&self) -> u64 {
        self.hit.end
    }

    #[cfg(test)]
    pub(super) fn stream_bytes(&self) -> usize {
        self.stream.len()
    }

    /// The match, with its groups and the text before it. This may take tens of
    /// milliseconds for a megabyte.
    pub(super) fn into_match(self) -> Match {
        let (text, end) = self.text();
        let groups = self.pattern.groups(&text, end);
        let matched = groups.first().cloned().flatten().unwrap_or_default();
        Match {
            before: text[..matched.start].to_vec(),
            groups: groups
                .into_iter()
                .map(|group| group.map(|range| text[range].to_vec()))
                .collect(),
            pattern: self.hit.pattern,
            dropped_bytes: self.dropped_bytes,
        }
    }

    /// The stream without its noise, and how many bytes of that are before the
    /// match's end.
    fn text(&self) -> (Cow<'_, [u8]>, usize) {
        let Self { stream, start, .. } = self;
        let (start, end) = (*start, self.hit.end);
        if self.noise == Noise::default() {
            let before = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
            return (Cow::Borrowed(stream), before);
        }
        let (mut text, mut before, mut until) = (Vec::new(), 0, start);
        let mut filter = Filter::new(self.noise, start);
        for is_last in [false, true] {
            let keep = |run: &[u8], at: u64| {
                text.extend_from_slice(run);
                let of_it = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
                before += run.len().min(of_it);
                until = at + run.len() as u64;
                ControlFlow::<()>::Continue(())
            };
            // `keep` never breaks.
            let _ = if is_last {
                filter.finish(keep)
            } else {
                filter.push(stream, keep)
            };
            if until >= end {
                // Bytes that the filter holds back are not part of the match.
                break;
            }
        }
        (Cow::Owned(text), before)
    }
}

/// Feeds all searches a run of the stream that begins at `at`; stops at the match
/// that ends first.
fn feed_all(
    each: &mut [Search],
    read_until: &mut u64,
    run: &[u8],
    at: u64,
) -> ControlFlow<Result<MatchEnd, TooComplex>> {
    let mut first: Option<(usize, usize)> = None;
    for (pattern, search) in each.iter_mut().enumerate() {
        match search.feed(run) {
            Ok(Some(count)) if first.is_none_or(|(_, least)| count < least) => {
                first = Some((pattern, count));
            }
            Ok(_) => {}
            Err(TooComplex) => return ControlFlow::Break(Err(TooComplex)),
        }
    }
    if let Some((pattern, count)) = first {
        // A match that the run's first byte decides ended before it, and there
        // may be noise between.
        let end = match count {
            0 => *read_until,
            count => at + count as u64,
        };
        let decided_at = at + count as u64 + 1;
        return ControlFlow::Break(Ok(MatchEnd {
            pattern,
            end,
            decided_at,
        }));
    }
    *read_until = at + run.len() as u64;
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: Noise = Noise {
        escapes: true,
        kernel_lines: true,
    };

    /// The first match in a stream that comes in these pieces: the text before
    /// it, its text, and the rest of the stream.
    fn search(spec: &SearchSpec, pieces: &[&[u8]]) -> Option<(String, String, String)> {
        let stream = pieces.concat();
        let mut searches = Searches::new(spec.clone(), 7).unwrap();
        let mut read = 0;
        let mut hit = None;
        for piece in pieces {
            read += piece.len();
            hit = searches.feed(piece).unwrap();
            if hit.is_some() {
                break;
            }
        }
        let hit = match hit {
            Some(hit) => hit,
            None => searches.finish().unwrap()?,
        };
        assert!(hit.decided_at <= 7 + read as u64);
        let decided_at = usize::try_from(hit.decided_at).unwrap() - 7;
        let found = searches.found(hit, stream[..decided_at].to_vec(), 7, 0);
        let found = found.into_match();
        let rest = &stream[usize::try_from(hit.end).unwrap() - 7..];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((found.before_text(), text(found.matched()), text(rest)))
    }

    #[test]
    fn a_match_past_noise_ends_at_its_last_byte_wherever_the_stream_is_cut() {
        let regex = |text| Pattern::regex(text).unwrap();
        let cases: [(Pattern, &str, [&str; 3]); 9] = [
            (
                "login: ".into(),
                "\x1b[1mtty log[    1.234567] a\r\nin\x1b[0m: \x1b[6n[    2.5] b\r\nx",
                ["tty ", "login: ", "\x1b[6n[    2.5] b\r\nx"],
            ),
            // Decided by a byte after noise.
            (
                regex("[a-z]+:"),
                "\x1b[1mab\x1b[0m:\x1b[1m[    1.5] x\r\nrest",
                ["", "ab:", "\x1b[1m[    1.5] x\r\nrest"],
            ),
            // Within bytes that might begin a kernel's line.
            ("[".into(), "a [ok] $ ", ["a ", "[", "ok] $ "]),
            (
                "[ok] $ ".into(),
                "[    1.5] x\r\n[ok] $ rest",
                ["", "[ok] $ ", "rest"],
            ),
            ("[ ".into(), "\x1b[1m> [ ", ["> ", "[ ", ""]),
            (
                regex(r"(?m)^login: "),
                "\r\n[    1.5] a login: b\r\nlogin: ",
                ["\r\n", "login: ", ""],
            ),
            (
                regex(r"\bgin: $"),
                "[    1.5] x\r\ngin: \x1b[6n",
                ["", "gin: ", "\x1b[6n"],
            ),
            ("".into(), "[    1.5] x\r\na", ["", "", "[    1.5] x\r\na"]),
            ("é".into(), "\x1b[1mcaf\x1b[0mé!", ["caf", "é", "!"]),
        ];
        for (pattern, stream, [before, matched, rest]) in cases {
            let expected = Some((before.to_owned(), matched.to_owned(), rest.to_owned()));
            let spec = SearchSpec {
                patterns: vec![pattern.clone()],
                noise: NOISE,
            };
            let stream = stream.as_bytes();
            for second in 0..=stream.len() {
                // `$` holds at the end of each piece.
                if pattern.to_string().ends_with('$') && second < stream.len() {
                    continue;
                }
                for first in 0..=second {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    let found = search(&spec, &pieces);
                    assert_eq!(found, expected, "{pattern} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn a_search_that_looks_past_nothing_sees_every_byte() {
        let spec = SearchSpec {
            patterns: vec!["login: ".into(), "[    1.5] ".into()],
            noise: Noise::default(),
        };
        let (before, matched, rest) = search(&spec, &[b"log[    1.5] a\r\nin: "]).unwrap();
        assert_eq!([before, matched, rest], ["log", "[    1.5] ", "a\r\nin: "]);
    }
}
