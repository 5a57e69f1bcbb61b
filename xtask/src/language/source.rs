//! Finds the passages of a Rust file: doc comments, comments and messages.

use crate::rust::{Token, TokenKind};

use super::{
    Kind,
    inline::CODE,
    markdown::{Passage, passages},
};

/// Every passage of these tokens. In parts that are built `for_tests`, comments
/// count and messages do not.
pub(super) fn passages_of(tokens: &[Token], for_tests: &[bool]) -> Vec<(Kind, Passage)> {
    let mut found = Vec::new();
    let comments = tokens
        .chunk_by(is_next_line)
        .filter(|it| it[0].kind.is_comment());
    for comment in comments {
        let kind = match comment[0].kind {
            TokenKind::Doc(_) => Kind::Documents,
            _ => Kind::Comments,
        };
        let lines = comment.iter().filter_map(|token| match &token.kind {
            TokenKind::Doc(words) | TokenKind::Comment(words) => Some((token.line, words.as_str())),
            _ => None,
        });
        found.extend(passages(lines).into_iter().map(|passage| (kind, passage)));
    }
    for (token, _) in tokens.iter().zip(for_tests).filter(|(_, it)| !**it) {
        if let TokenKind::Text(text) = &token.kind {
            found.extend(message(token.line, text).map(|passage| (Kind::Messages, passage)));
        }
    }
    found
}

/// Whether two comments are of the same kind, and on adjacent lines.
fn is_next_line(first: &Token, second: &Token) -> bool {
    use TokenKind::{Comment, Doc};
    let is_same = matches!(
        (&first.kind, &second.kind),
        (Doc(_), Doc(_)) | (Comment(_), Comment(_))
    );
    is_same && first.line + 1 == second.line
}

/// The passages of a string literal: one for each line. A literal that does not
/// look like prose has none.
fn message(line: usize, text: &str) -> impl Iterator<Item = Passage> {
    let text = with_values(text);
    let lines: Vec<String> = if is_prose(&text) {
        text.lines().map(|it| it.trim().to_owned()).collect()
    } else {
        Vec::new()
    };
    let each = lines.into_iter();
    each.flat_map(move |text| passages([(line, text.as_str())]))
}

/// A format string with a placeholder word for each value.
fn with_values(text: &str) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        written += before;
        rest = match (behind.strip_prefix('{'), behind.split_once('}')) {
            (Some(behind), _) => {
                written.push('{');
                behind
            }
            (None, Some((_, behind))) => {
                written.push(CODE);
                behind
            }
            (None, None) => behind,
        };
    }
    written + rest
}

/// Whether there are at least three words, and more words than other parts.
fn is_prose(text: &str) -> bool {
    let all = text.split_whitespace().count();
    let is_word = |word: &&str| {
        let word = word.trim_matches(|c| ".,:;!?()'\"`".contains(c));
        !word.is_empty() && word.chars().all(|c| c.is_alphabetic() || "-'’".contains(c))
    };
    let words = text.split_whitespace().filter(is_word).count();
    words >= 3 && words * 2 > all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust::{test_parts, tokens};

    fn read(source: &str) -> Vec<String> {
        let tokens = tokens(source);
        let found = passages_of(&tokens, &test_parts(&tokens)).into_iter();
        let found = found.map(|(kind, Passage { words, .. })| {
            let line = words[0].line;
            let words: Vec<_> = words.into_iter().map(|word| word.text).collect();
            let words = words.join(" ").replace(CODE, "@");
            format!("{kind:?} {line}: {words}")
        });
        found.collect()
    }

    #[test]
    fn comments_on_neighbouring_lines_are_one_passage() {
        assert_eq!(
            read("//! a\n//! b\n//!\n//! c\n\n/// d\n// e\nf // g\nh // i"),
            [
                "Documents 1: a b",
                "Documents 4: c",
                "Documents 6: d",
                "Comments 7: e",
                "Comments 8: g",
                "Comments 9: i",
            ]
        );
    }

    #[test]
    fn examples_in_documents_are_left_out() {
        assert_eq!(
            read("/// a\n/// ```\n/// // b\n/// ```\n/// c"),
            ["Documents 1: a", "Documents 5: c"]
        );
    }

    #[test]
    fn messages_are_texts_that_look_like_prose() {
        assert_eq!(
            read(
                r#"f("no QEMU {a:?} here: {{}", "a {b}", "console=ttyS0 a b {} 1", "x y z \n u")"#
            ),
            [
                "Messages 1: no QEMU @ here: {}",
                "Messages 1: x y z",
                "Messages 1: u",
            ]
        );
    }

    #[test]
    fn of_tests_comments_are_read_and_texts_are_not() {
        assert_eq!(
            read("#[cfg(test)] mod tests {\n// a\nfn b() { c(\"d e f\") } }"),
            ["Comments 2: a"]
        );
    }
}
