//! Cuts Rust source into tokens. Each line of a comment is a token.

/// A token and its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) kind: TokenKind,
}

/// The kind of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// One line of documentation, without its marks.
    Doc(String),
    /// One line of any other comment, without its marks.
    Comment(String),
    /// A string literal, with its escapes resolved.
    Text(String),
    /// An identifier, a keyword or a number.
    Word(String),
    /// Any other character except blanks.
    Mark(char),
}

impl TokenKind {
    /// Whether this is the identifier or keyword `word`.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(it) if it == word)
    }

    /// Whether this is the character `mark`.
    pub(crate) fn is_mark(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }

    /// Whether the compiler ignores it, or converts it to an attribute.
    pub(crate) fn is_comment(&self) -> bool {
        matches!(self, Self::Doc(_) | Self::Comment(_))
    }
}

/// All tokens of a source. An invalid source also gives some tokens.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut scanner = Scanner {
        rest: source,
        line: 1,
        tokens: Vec::new(),
    };
    while scanner.take_one() {}
    scanner.tokens
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Scanner<'a> {
    fn take_one(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if first.is_whitespace() {
            self.take(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some((prefix, hashes)) = raw_text(self.rest) {
            self.raw_text(prefix, hashes);
        } else if let Some(prefix) = text(self.rest) {
            self.text(prefix);
        } else if first == '\'' || self.rest.starts_with("b'") {
            self.quote();
        } else if is_word(first) {
            let length = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            let line = self.line;
            let word = self.take(length).to_owned();
            self.push(line, TokenKind::Word(word));
        } else {
            self.push(self.line, TokenKind::Mark(first));
            self.take(first.len_utf8());
        }
        true
    }

    fn line_comment(&mut self) {
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = self.line;
        let comment = self.take(length);
        self.push(line, comment_line(comment));
    }

    fn block_comment(&mut self) {
        let length = block_length(self.rest);
        let first = self.line;
        let comment = self.take(length);
        // `/**/` is empty, and `/***` is not documentation.
        let is_doc = comment.len() > 4
            && (comment.starts_with("/**") || comment.starts_with("/*!"))
            && !comment.starts_with("/***");
        let comment = comment.strip_suffix("*/").unwrap_or(comment);
        let words = if is_doc { &comment[3..] } else { &comment[2..] };
        for (line, words) in (first..).zip(words.lines()) {
            let words = words.trim_start();
            let words = words.strip_prefix('*').unwrap_or(words);
            let words = words.strip_prefix(' ').unwrap_or(words).to_owned();
            let kind = if is_doc {
                TokenKind::Doc(words)
            } else {
                TokenKind::Comment(words)
            };
            self.push(line, kind);
        }
    }

    fn raw_text(&mut self, prefix: usize, hashes: usize) {
        let line = self.line;
        self.take(prefix);
        let end = format!("\"{}", "#".repeat(hashes));
        let length = self.rest.find(&end).unwrap_or(self.rest.len());
        let text = self.take(length).to_owned();
        self.take(end.len().min(self.rest.len()));
        self.push(line, TokenKind::Text(text));
    }

    fn text(&mut self, prefix: usize) {
        let line = self.line;
        self.take(prefix);
        let mut text = String::new();
        let mut rest = self.rest;
        loop {
            let mut chars = rest.chars();
            match chars.next() {
                None | Some('"') => {
                    rest = chars.as_str();
                    break;
                }
                Some('\\') => match chars.next() {
                    // The line continues at the first word of the next one.
                    Some('\n') => rest = chars.as_str().trim_start(),
                    escaped => {
                        text.extend(escaped.map(resolved));
                        rest = chars.as_str();
                    }
                },
                Some(c) => {
                    text.push(c);
                    rest = chars.as_str();
                }
            }
        }
        self.take(self.rest.len() - rest.len());
        self.push(line, TokenKind::Text(text));
    }

    /// A character, which is skipped, or a lifetime, which is a mark and a word.
    fn quote(&mut self) {
        if let Some(length) = character(self.rest) {
            self.take(length);
            return;
        }
        let length = self.rest.find('\'').map_or(0, |at| at + 1);
        self.push(self.line, TokenKind::Mark('\''));
        self.take(length);
    }

    /// Takes this many bytes, and counts their lines.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn push(&mut self, line: usize, kind: TokenKind) {
        self.tokens.push(Token { line, kind });
    }
}

/// A comment from `//` to the end of the line.
fn comment_line(comment: &str) -> TokenKind {
    let is_doc =
        comment.starts_with("//!") || (comment.starts_with("///") && !comment.starts_with("////"));
    let words = if is_doc {
        &comment[3..]
    } else {
        comment.trim_start_matches('/')
    };
    let words = words.strip_prefix(' ').unwrap_or(words).to_owned();
    if is_doc {
        TokenKind::Doc(words)
    } else {
        TokenKind::Comment(words)
    }
}

/// The length of the comment that begins here, including nested comments.
fn block_length(source: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < source.len() {
        let rest = &source.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    source.len()
}

/// The number of bytes before a raw string, and its number of `#`.
fn raw_text(source: &str) -> Option<(usize, usize)> {
    let marks = ["r", "br", "cr"];
    let rest = marks.iter().find_map(|mark| source.strip_prefix(mark))?;
    let words = rest.trim_start_matches('#');
    let hashes = rest.len() - words.len();
    let words = words.strip_prefix('"')?;
    Some((source.len() - words.len(), hashes))
}

/// The number of bytes before a string.
fn text(source: &str) -> Option<usize> {
    let starts = ["\"", "b\"", "c\""];
    let start = starts.iter().find(|start| source.starts_with(**start))?;
    Some(start.len())
}

/// The character of an escape, as text. A number stays as it is.
fn resolved(escape: char) -> char {
    match escape {
        'n' => '\n',
        'r' | 't' | '0' | 'u' | 'x' => ' ',
        other => other,
    }
}

/// The length of a character literal.
fn character(source: &str) -> Option<usize> {
    let start = if source.starts_with('b') { 2 } else { 1 };
    let mut chars = source[start..].char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        let (at, _) = chars.find(|&(_, c)| c == '\'')?;
        return Some(start + at + 1);
    }
    let (at, end) = chars.next()?;
    (end == '\'').then_some(start + at + 1)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each token as its line, a letter and its text.
    fn told(source: &str) -> Vec<String> {
        let tokens = tokens(source).into_iter();
        let tokens = tokens.map(|Token { line, kind }| match kind {
            TokenKind::Doc(words) => format!("{line}d{words}"),
            TokenKind::Comment(words) => format!("{line}c{words}"),
            TokenKind::Text(words) => format!("{line}t{words}"),
            TokenKind::Word(word) => format!("{line}w{word}"),
            TokenKind::Mark(mark) => format!("{line}m{mark}"),
        });
        tokens.collect()
    }

    #[test]
    fn comments_are_told_from_documents() {
        let source = "//! a\n/// b\n//// c\n// d\n/** e\n * f */ /* g /* h */ i */ /**/";
        assert_eq!(
            told(source),
            ["1da", "2db", "3cc", "4cd", "5de", "6df ", "6cg /* h */ i "]
        );
    }

    #[test]
    fn texts_have_their_escapes_resolved_and_their_lines_joined() {
        let source = "\"a \\\"b\\\" \\\n   c\\n\" r#\"d \"e\" // f\"# b\"g\"\nh";
        assert_eq!(
            told(source),
            ["1ta \"b\" c\n", "2td \"e\" // f", "2tg", "3wh"]
        );
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        assert_eq!(
            told(r#"'"' '\'' b'"' '\u{7f}' &'a str "x""#),
            ["1m&", "1m'", "1wa", "1wstr", "1tx"]
        );
    }

    #[test]
    fn an_identifier_may_look_like_a_text() {
        assert_eq!(told("br r#type b"), ["1wbr", "1wr", "1m#", "1wtype", "1wb"]);
    }

    #[test]
    fn a_source_that_breaks_off_is_read_to_its_end() {
        for source in ["\"a", "r#\"a", "/* a", "'", "b'", "\"\\", "'\\", "/**"] {
            tokens(source);
        }
    }
}
