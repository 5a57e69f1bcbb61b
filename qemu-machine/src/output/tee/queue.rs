//! The queue of a writer: bytes up to a limit, and the number of dropped bytes.

use std::collections::VecDeque;

/// The next item to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Bytes(Vec<u8>),
    /// This number of bytes was dropped here.
    Dropped(u64),
}

/// Keeps the older bytes, and drops what comes while it is full.
#[derive(Debug)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// The bytes of all items, including the item in the writer.
    waiting: usize,
    limit: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            items: VecDeque::new(),
            waiting: 0,
            limit,
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        if let Some(Item::Dropped(count)) = self.items.back_mut() {
            // After a gap, it accepts bytes again when half of the queue is
            // free. Otherwise each free byte would make a new gap.
            if self.waiting > self.limit / 2 {
                *count += bytes.len() as u64;
                return;
            }
        }
        let room = self.limit - self.waiting;
        let fits;
        (fits, bytes) = bytes.split_at(room.min(bytes.len()));
        for piece in fits.chunks(PIECE_BYTES) {
            match self.items.back_mut() {
                Some(Item::Bytes(last)) if last.len() + piece.len() <= PIECE_BYTES => {
                    last.extend_from_slice(piece);
                }
                _ => self.items.push_back(Item::Bytes(piece.to_vec())),
            }
        }
        self.waiting += fits.len();
        if !bytes.is_empty() {
            self.items.push_back(Item::Dropped(bytes.len() as u64));
        }
    }

    /// Takes the next item. Its bytes count until [`written`](Self::written).
    pub(super) fn take(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    pub(super) fn written(&mut self, count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.items = VecDeque::new();
        self.waiting = 0;
    }
}

/// The largest single write.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_it_is_full_is_dropped_and_counted() {
        let mut queue = Queue::new(10);
        queue.push(b"0123");
        queue.push(b"456789ab");
        queue.push(b"c");
        assert_eq!(queue.take(), Some(Item::Bytes(b"0123456789".to_vec())));
        // The item that is being written still takes its space.
        queue.push(b"d");
        assert_eq!(queue.take(), Some(Item::Dropped(4)));
        queue.written(10);
        queue.push(b"next");
        assert_eq!(queue.take(), Some(Item::Bytes(b"next".to_vec())));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_gap_is_one_until_half_of_the_room_is_free() {
        let mut queue = Queue::new(10);
        queue.push(&[b'x'; 12]);
        queue.written(4);
        queue.push(b"y");
        queue.written(1);
        queue.push(b"z");
        assert!(matches!(queue.take(), Some(Item::Bytes(bytes)) if bytes.len() == 10));
        assert_eq!(queue.take(), Some(Item::Dropped(3)));
        assert_eq!(queue.take(), Some(Item::Bytes(b"z".to_vec())));
    }
}
