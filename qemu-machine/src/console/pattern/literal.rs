//! Searches a stream for exact bytes, by the table of Knuth, Morris and Pratt.
//! So each byte of the stream costs the same.

use std::sync::Arc;

/// The bytes to find.
#[derive(Debug)]
pub(super) struct Literal {
    bytes: Box<[u8]>,
    /// For each byte: how many of the first bytes are also the last ones before
    /// it. They still match if the stream has another byte here.
    borders: Box<[usize]>,
}

/// A search in a stream.
#[derive(Debug)]
pub(in crate::console) struct Search {
    literal: Arc<Literal>,
    /// How many bytes of the literal match the end of the stream so far.
    matched: usize,
}

impl Literal {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut borders = vec![0; bytes.len()];
        let mut border = 0;
        for index in 1..bytes.len() {
            borders[index] = border;
            while border > 0 && bytes[border] != bytes[index] {
                border = borders[border];
            }
            border += usize::from(bytes[border] == bytes[index]);
        }
        Self {
            bytes: bytes.into(),
            borders: borders.into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Search {
    pub(super) fn new(literal: Arc<Literal>) -> Self {
        Self {
            literal,
            matched: 0,
        }
    }

    /// See [`feed`](super::Search::feed).
    pub(super) fn feed(&mut self, piece: &[u8]) -> Option<usize> {
        let Literal { bytes, borders } = &*self.literal;
        let mut index = 0;
        while index < piece.len() {
            if self.matched == bytes.len() {
                return Some(index);
            }
            if bytes[self.matched] == piece[index] {
                self.matched += 1;
                index += 1;
            } else if self.matched == 0 {
                index += memchr::memchr(bytes[0], &piece[index..])?;
            } else {
                self.matched = borders[self.matched];
            }
        }
        None
    }

    /// See [`matches_at_end`](super::Search::matches_at_end).
    pub(super) fn matches_at_end(&self) -> bool {
        self.matched == self.literal.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first match ends in a stream that comes in pieces of `size`.
    fn end(literal: &Arc<Literal>, stream: &[u8], size: usize) -> Option<usize> {
        let mut search = Search::new(Arc::clone(literal));
        let mut before = 0;
        for piece in stream.chunks(size) {
            if let Some(count) = search.feed(piece) {
                return Some(before + count);
            }
            before += piece.len();
        }
        search.matches_at_end().then_some(before)
    }

    #[test]
    fn bytes_that_repeat_themselves_are_found_where_they_first_are() {
        let words = |alphabet: &[u8], length: u32| -> Vec<Vec<u8>> {
            let count = alphabet.len().pow(length);
            let word = |mut number: usize| {
                let mut letter = || {
                    let letter = alphabet[number % alphabet.len()];
                    number /= alphabet.len();
                    letter
                };
                (0..length).map(|_| letter()).collect()
            };
            (0..count).map(word).collect()
        };
        for stream in words(b"ab", 10) {
            for word in (1..=5).flat_map(|length| words(b"ab", length)) {
                let literal = Arc::new(Literal::new(&word));
                let first = stream.windows(word.len()).position(|it| it == word);
                let expected = first.map(|begin| begin + word.len());
                for size in [1, 3, stream.len()] {
                    let found = end(&literal, &stream, size);
                    assert_eq!(found, expected, "{word:?} in {stream:?} by {size}");
                }
            }
        }
    }
}
