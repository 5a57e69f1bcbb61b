//! Searches for several patterns at once, past noise or not.

use crate::spec::Noise;
use std::borrow::Cow;
use std::ops::ControlFlow;

use super::Match;
use super::noise::Filter;
use super::pattern::{Pattern, Search, TooComplex};

/// Patterns, and what is looked past.
#[derive(Debug, Clone)]
pub(super) struct Sought {
    pub(super) patterns: Vec<Pattern>,
    pub(super) noise: Noise,
}

/// Searches under way over a stream that comes in pieces.
#[derive(Debug)]
pub(super) struct Searches {
    patterns: Vec<Pattern>,
    each: Vec<Search>,
    noise: Noise,
    filter: Filter,
    /// Where the last byte ends that was read and is no noise.
    read_until: u64,
}

/// Which pattern has matched, and where in the stream the match ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pattern: usize,
    end: u64,
    /// Until where the stream was read to tell it: a byte more, or none.
    pub(super) told_by: u64,
}

/// A match that was found, and of the stream what it is made of. Not the match
/// yet, as what finds one has no time for that.
#[derive(Debug)]
pub(super) struct Found {
    pattern: Pattern,
    noise: Noise,
    hit: Hit,
    /// From `start` on, to where it was told.
    stream: Vec<u8>,
    start: u64,
    /// How many bytes were dropped before that.
    dropped_bytes: u64,
}

impl Searches {
    /// Begins at this place of the stream.
    pub(super) fn new(sought: Sought, from: u64) -> Result<Self, TooComplex> {
        let Sought { patterns, noise } = sought;
        let each: Result<_, _> = patterns.iter().map(Search::new).collect();
        Ok(Self {
            patterns,
            each: each?,
            noise,
            filter: Filter::new(noise, from),
            read_until: from,
        })
    }

    /// Reads the next piece. Gives the match that ends first, and of those that
    /// end together that of the pattern that was given first.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Option<Hit>, TooComplex> {
        let Self {
            each,
            filter,
            read_until,
            ..
        } = self;
        let flow = filter.push(piece, |run, at| feed_all(each, read_until, run, at));
        self.conclude(flow)
    }

    /// Nothing more will come, or is waited for.
    pub(super) fn finish(&mut self) -> Result<Option<Hit>, TooComplex> {
        let Self {
            each,
            filter,
            read_until,
            ..
        } = self;
        let flow = filter.finish(|run, at| feed_all(each, read_until, run, at));
        self.conclude(flow)
    }

    /// A search tells a match only with the byte after it, which may never
    /// come: a prompt is the last thing before silence.
    fn conclude(
        &mut self,
        flow: ControlFlow<Result<Hit, TooComplex>>,
    ) -> Result<Option<Hit>, TooComplex> {
        if let ControlFlow::Break(told) = flow {
            return told.map(Some);
        }
        for (pattern, search) in self.each.iter_mut().enumerate() {
            if search.matches_at_end()? {
                let end = self.read_until;
                return Ok(Some(Hit {
                    pattern,
                    end,
                    told_by: end,
                }));
            }
        }
        Ok(None)
    }

    /// What was found. `stream` is what is kept of the stream, from `start` on
    /// to where it was told.
    pub(super) fn found(&self, hit: Hit, stream: Vec<u8>, start: u64, dropped_bytes: u64) -> Found {
        Found {
            pattern: self.patterns[hit.pattern].clone(),
            noise: self.noise,
            hit,
            stream,
            start,
            dropped_bytes,
        }
    }
}

impl Found {
    /// Where in the stream it ends.
    pub(super) fn end(&self) -> u64 {
        self.hit.end
    }

    #[cfg(test)]
    pub(super) fn stream_bytes(&self) -> usize {
        self.stream.len()
    }

    /// The match, with what came before and its groups. That takes its time: tens
    /// of milliseconds for a megabyte.
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

    /// A stream without its noise, and how much of that is before `end`.
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
            // Never stopped.
            let _ = if is_last {
                filter.finish(keep)
            } else {
                filter.push(stream, keep)
            };
            if until >= end {
                // What is held back is not a part of the match, and its end
                // is the end of what has come.
                break;
            }
        }
        (Cow::Owned(text), before)
    }
}

/// Has all searches read a run of the stream that begins at `at`; stops with
/// the match that ends first.
fn feed_all(
    each: &mut [Search],
    read_until: &mut u64,
    run: &[u8],
    at: u64,
) -> ControlFlow<Result<Hit, TooComplex>> {
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
        // A match that was told by the run's first byte ended before it, and
        // there may be noise between.
        let end = match count {
            0 => *read_until,
            count => at + count as u64,
        };
        let told_by = at + count as u64 + 1;
        return ControlFlow::Break(Ok(Hit {
            pattern,
            end,
            told_by,
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

    /// The first match in a stream that comes in these pieces, as text, and
    /// what of the stream comes after it.
    fn search(sought: &Sought, pieces: &[&[u8]]) -> Option<(String, String, String)> {
        let stream = pieces.concat();
        let mut searches = Searches::new(sought.clone(), 7).unwrap();
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
        assert!(hit.told_by <= 7 + read as u64);
        let told_by = usize::try_from(hit.told_by).unwrap() - 7;
        let found = searches.found(hit, stream[..told_by].to_vec(), 7, 0);
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
            // Told by a byte that comes after noise.
            (
                regex("[a-z]+:"),
                "\x1b[1mab\x1b[0m:\x1b[1m[    1.5] x\r\nrest",
                ["", "ab:", "\x1b[1m[    1.5] x\r\nrest"],
            ),
            // Within what might have begun a kernel's line.
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
            let sought = Sought {
                patterns: vec![pattern.clone()],
                noise: NOISE,
            };
            let stream = stream.as_bytes();
            for second in 0..=stream.len() {
                // Where the stream ends is where the end of text is.
                if pattern.to_string().ends_with('$') && second < stream.len() {
                    continue;
                }
                for first in 0..=second {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    let found = search(&sought, &pieces);
                    assert_eq!(found, expected, "{pattern} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn a_search_that_looks_past_nothing_sees_every_byte() {
        let sought = Sought {
            patterns: vec!["login: ".into(), "[    1.5] ".into()],
            noise: Noise::default(),
        };
        let (before, matched, rest) = search(&sought, &[b"log[    1.5] a\r\nin: "]).unwrap();
        assert_eq!([before, matched, rest], ["log", "[    1.5] ", "a\r\nin: "]);
    }
}
