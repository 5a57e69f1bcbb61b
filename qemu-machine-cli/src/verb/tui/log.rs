//! The messages that are kept, and those of them that are shown. Pure.
//!
//! Never keeps more than its bounds: the oldest go.

use std::collections::VecDeque;

use super::entry::Entry;
use super::filter::Filter;

/// A ring of messages. Each has a number, which it keeps.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the oldest.
    first: u64,
    bytes: usize,
    most: usize,
    filter: Filter,
    /// The numbers of those that the filter lets through.
    shown: VecDeque<u64>,
}

/// Beside the number of messages, this is kept of them.
const MOST_BYTES: usize = 64 << 20;

impl Log {
    /// Keeps this many messages.
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            most: most.max(1),
            filter: Filter::default(),
            shown: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let number = self.first + self.entries.len() as u64;
        if self.filter.matches(&entry) {
            self.shown.push_back(number);
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        // The newest stays, however large it is.
        while self.entries.len() > self.most || (self.bytes > MOST_BYTES && self.entries.len() > 1)
        {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            if self.shown.front() == Some(&self.first) {
                self.shown.pop_front();
            }
            self.first += 1;
        }
    }

    pub(super) fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
        let numbers = (self.first..).zip(&self.entries);
        let shown = numbers.filter(|(_, entry)| self.filter.matches(entry));
        self.shown = shown.map(|(number, _)| number).collect();
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many went because there were too many.
    pub(super) fn gone(&self) -> u64 {
        self.first
    }

    /// How many are shown.
    pub(super) fn shown(&self) -> usize {
        self.shown.len()
    }

    /// The number of the message at this place among the shown.
    pub(super) fn number(&self, place: usize) -> Option<u64> {
        self.shown.get(place).copied()
    }

    /// The place among the shown of this message, or of the next that is shown,
    /// or of the last.
    pub(super) fn place(&self, number: u64) -> usize {
        let place = self.shown.partition_point(|it| *it < number);
        place.min(self.shown.len().saturating_sub(1))
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        let place = number.checked_sub(self.first)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The shown messages from this place on.
    pub(super) fn from(&self, place: usize) -> impl Iterator<Item = (u64, &Entry)> {
        let numbers = self.shown.iter().skip(place);
        numbers.filter_map(|number| Some((*number, self.get(*number)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Reader;
    use super::*;

    fn event(name: &str) -> Entry {
        Reader::default().read(0.0, false, format!(r#"{{"event": "{name}"}}"#))
    }

    #[test]
    fn the_oldest_messages_go_and_numbers_stay() {
        let mut log = Log::new(3);
        log.set_filter(Filter::read("B").unwrap());
        for name in ["A", "B", "A", "B", "A"] {
            log.push(event(name));
        }
        assert_eq!((log.len(), log.gone(), log.shown()), (3, 2, 1));
        assert_eq!(log.number(0), Some(3));
        assert_eq!(log.get(3).unwrap().name, "B");
        assert!(log.get(1).is_none() && log.get(5).is_none());
        log.set_filter(Filter::default());
        assert_eq!(
            (log.shown(), log.place(3), log.place(0), log.place(9)),
            (3, 1, 0, 2)
        );
        let names: Vec<_> = log
            .from(1)
            .map(|(number, it)| (number, &*it.name))
            .collect();
        assert_eq!(names, [(3, "B"), (4, "A")]);
    }

    #[test]
    fn large_messages_are_kept_within_bounds() {
        let mut log = Log::new(1000);
        let large = |bytes| Entry {
            line: "x".repeat(bytes),
            ..Entry::note(0.0, "")
        };
        for _ in 0..5 {
            log.push(large(MOST_BYTES / 4));
        }
        assert!(log.bytes <= MOST_BYTES && log.len() >= 1, "{}", log.bytes);
        log.push(large(MOST_BYTES));
        assert_eq!(log.len(), 1);
    }
}
