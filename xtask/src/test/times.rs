//! The time of each test, computed from the times of their ends.
//!
//! The test harness of the stable toolchain has no option for this. It starts
//! tests in the order of its list, in a fixed number of places. When a test
//! ends, the next one starts in its place at once. So the end of one test is the
//! start of another.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The tests of one program while it runs.
pub(crate) struct Times {
    waiting: VecDeque<String>,
    running: Vec<(String, Instant)>,
    ended: Vec<(String, Duration)>,
}

impl Times {
    /// All tests in the order of the list. `places` of them run at once.
    pub(crate) fn start(listed: Vec<String>, places: usize, now: Instant) -> Self {
        let mut times = Self {
            waiting: listed.into(),
            running: Vec::new(),
            ended: Vec::new(),
        };
        for _ in 0..places {
            times.start_next(now);
        }
        times
    }

    /// This test has ended, and its place is free. A test that is not running is
    /// ignored.
    pub(crate) fn end(&mut self, name: &str, now: Instant) {
        let is_it = |(running, _): &(String, Instant)| running == name;
        if let Some(place) = self.running.iter().position(is_it) {
            let (name, started) = self.running.swap_remove(place);
            self.ended.push((name, now.duration_since(started)));
            self.start_next(now);
        }
    }

    /// The tests that run now.
    pub(crate) fn running(&self) -> impl Iterator<Item = &str> {
        self.running.iter().map(|(name, _)| name.as_str())
    }

    /// Each test with its time.
    pub(crate) fn into_ended(self) -> Vec<(String, Duration)> {
        self.ended
    }

    fn start_next(&mut self, now: Instant) {
        if let Some(name) = self.waiting.pop_front() {
            self.running.push((name, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_starts_when_a_place_is_free() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let listed = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let mut times = Times::start(listed, 2, start);
        times.end("b", at(3));
        times.end("unknown", at(3));
        times.end("a", at(4));
        assert_eq!(times.running().collect::<Vec<_>>(), ["c", "d"]);
        times.end("c", at(10));
        times.end("d", at(5));
        let seconds = |(name, time): (String, Duration)| (name, time.as_secs());
        let ended: Vec<_> = times.into_ended().into_iter().map(seconds).collect();
        let expected = [("b", 3), ("a", 4), ("c", 7), ("d", 1)];
        assert_eq!(ended, expected.map(|(name, time)| (name.to_owned(), time)));
    }

    #[test]
    fn one_place_is_one_test_after_the_other() {
        let start = Instant::now();
        let listed = ["a", "b"].map(str::to_owned).to_vec();
        let mut times = Times::start(listed, 1, start);
        times.end("a", start + Duration::from_secs(1));
        times.end("b", start + Duration::from_secs(3));
        let ended = times.into_ended();
        assert_eq!(ended[1].1, Duration::from_secs(2));
    }
}
