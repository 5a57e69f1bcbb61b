//! The words of one passage of Markdown, without its marks.

/// A word and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Stands for inline code, an address or a value in a message: one word.
pub(super) const CODE: char = '\u{fffc}';

/// The words of these lines. A `<br>` ends a piece.
pub(super) fn pieces(lines: &[(usize, String)]) -> Vec<Vec<Word>> {
    let mut reader = Reader {
        text: Vec::new(),
        at: 0,
        pieces: vec![Vec::new()],
        word: None,
    };
    for (line, words) in lines {
        reader.text.extend(words.chars().map(|c| (c, *line)));
        reader.text.push((' ', *line));
    }
    while reader.read_one() {}
    reader.pieces.retain(|piece| !piece.is_empty());
    reader.pieces
}

struct Reader {
    /// Each character, and its line.
    text: Vec<(char, usize)>,
    at: usize,
    pieces: Vec<Vec<Word>>,
    word: Option<Word>,
}

impl Reader {
    fn read_one(&mut self) -> bool {
        let Some(c) = self.peek(0) else {
            return false;
        };
        match c {
            '\\' if self.peek(1).is_some_and(|next| next.is_ascii_punctuation()) => {
                self.at += 1;
                self.push(self.text[self.at].0);
            }
            '`' => {
                self.code();
                return true;
            }
            '<' => {
                self.tag();
                return true;
            }
            ']' => {
                self.at += 1;
                self.link_target();
                return true;
            }
            '*' | '[' => {}
            '!' if self.peek(1) == Some('[') => {}
            c if c.is_whitespace() => self.end_word(),
            c => self.push(c),
        }
        self.at += 1;
        true
    }

    /// Code between two equal runs of backquotes. A single run is ignored.
    fn code(&mut self) {
        let length = self.run(self.at);
        let mut end = self.at + length;
        while end < self.text.len() {
            match self.run(end) {
                0 => end += 1,
                it if it == length => {
                    self.push(CODE);
                    self.at = end + length;
                    return;
                }
                it => end += it,
            }
        }
        self.at += length;
    }

    /// The number of backquotes from here.
    fn run(&self, start: usize) -> usize {
        let rest = self.text[start..].iter();
        rest.take_while(|(c, _)| *c == '`').count()
    }

    /// A tag of HTML, or an address. Any other `<` is a character.
    fn tag(&mut self) {
        let is_tag = self
            .peek(1)
            .is_some_and(|c| c.is_alphabetic() || c == '/' || c == '!');
        let end = self.find('>').filter(|_| is_tag);
        let Some(end) = end else {
            self.push('<');
            self.at += 1;
            return;
        };
        let tag: String = self.text[self.at + 1..end].iter().map(|(c, _)| c).collect();
        if tag.contains("://") || tag.contains('@') {
            self.push(CODE);
        } else if matches!(tag.trim_end_matches([' ', '/']), "br") {
            self.end_word();
            self.pieces.push(Vec::new());
        }
        self.at = end + 1;
    }

    /// Skips the part after a link's text: `(address)`, `[name]`, or nothing.
    fn link_target(&mut self) {
        if self.peek(0) == Some('[') {
            self.at = self.find(']').map_or(self.at, |end| end + 1);
        } else if self.peek(0) == Some('(') {
            let mut depth = 0;
            for (at, (c, _)) in self.text.iter().enumerate().skip(self.at) {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    self.at = at + 1;
                    return;
                }
            }
        }
    }

    fn find(&self, wanted: char) -> Option<usize> {
        let mut rest = self.text.iter().enumerate().skip(self.at);
        rest.find_map(|(at, (c, _))| (*c == wanted).then_some(at))
    }

    fn peek(&self, distance: usize) -> Option<char> {
        self.text.get(self.at + distance).map(|(c, _)| *c)
    }

    fn push(&mut self, c: char) {
        let line = self.text[self.at].1;
        let word = self.word.get_or_insert_with(|| Word {
            line,
            text: String::new(),
        });
        word.text.push(c);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && let Some(piece) = self.pieces.last_mut()
        {
            piece.push(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let lines: Vec<_> = (1..).zip(text.lines().map(str::to_owned)).collect();
        let pieces = pieces(&lines).into_iter().map(|piece| {
            let words: Vec<_> = piece.into_iter().map(|word| word.text).collect();
            words.join(" ").replace(CODE, "@")
        });
        pieces.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn code_is_one_word_also_over_a_line_end() {
        assert_eq!(words("a `b c\nd` e ``f ` g``, h"), "a @ e @, h");
        assert_eq!(words("a `b c"), "a b c");
    }

    #[test]
    fn of_a_link_its_text_is_read() {
        assert_eq!(
            words("[a b](c (d) e) f [`g`](h) [i][j k] [l]"),
            "a b f @ i l"
        );
        assert_eq!(words("![a](b) <https://c d> e"), "a @ e");
    }

    #[test]
    fn marks_are_no_words_and_a_break_ends_a_piece() {
        assert_eq!(
            words("**a** *b* \\* c<br>d <b>e</b> 1 < 2"),
            "a b * c | d e 1 < 2"
        );
    }

    #[test]
    fn a_word_is_on_the_line_where_it_begins() {
        let lines = [(4, "a b".to_owned()), (9, "c".to_owned())];
        let lines: Vec<_> = pieces(&lines).concat().iter().map(|it| it.line).collect();
        assert_eq!(lines, [4, 4, 9]);
    }
}
