//! Splits text into words, and words into commands. Pure.

/// A word, and where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) start: usize,
    /// The place of the `=` in it that ends its key.
    pub(crate) equals: Option<usize>,
    /// What is open at its end, which is then the end of the text.
    pub(crate) open: Option<char>,
}

impl<'a> Word<'a> {
    /// The key and the value of `key=value`.
    pub(crate) fn pair(&self) -> Option<(&'a str, &'a str)> {
        let at = self.equals?;
        Some((&self.text[..at], &self.text[at + 1..]))
    }
}

/// The words of a command, or of a step in a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    pub(crate) words: Vec<Word<'a>>,
    /// The number of its line, from 1.
    pub(crate) line: usize,
}

/// A command of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Command(Statement<'a>),
    /// `transaction(` … `)`.
    Transaction {
        steps: Vec<Statement<'a>>,
        line: usize,
        /// Whether its `)` is there.
        is_closed: bool,
        /// What stands after its `)`, which nothing may.
        rest: Option<Word<'a>>,
    },
}

/// Splits text into its commands. Comments and empty lines are none.
pub(crate) fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    // The steps of the transaction that is open.
    let mut open: Option<(Vec<Statement<'_>>, usize)> = None;
    for statement in statements(text) {
        let line = statement.line;
        let mut words = statement.words;
        if open.is_none() {
            let Some(count) = opening(&words) else {
                entries.push(Entry::Command(Statement { words, line }));
                continue;
            };
            words.drain(..count);
            open = Some((Vec::new(), line));
        }
        let Some((steps, begin)) = &mut open else {
            continue;
        };
        let end = words.iter().position(|it| it.text == ")");
        let rest = end.and_then(|at| words.get(at + 1).copied());
        words.truncate(end.unwrap_or(words.len()));
        let parts = words.split(|it| it.text == ";");
        let parts = parts.filter(|it| !it.is_empty()).map(|it| Statement {
            words: it.to_vec(),
            line,
        });
        steps.extend(parts);
        if end.is_some() {
            entries.push(Entry::Transaction {
                steps: std::mem::take(steps),
                line: *begin,
                is_closed: true,
                rest,
            });
            open = None;
        }
    }
    if let Some((steps, line)) = open {
        entries.push(Entry::Transaction {
            steps,
            line,
            is_closed: false,
            rest: None,
        });
    }
    entries
}

/// Whether nothing is open at the end of the text: no bracket, quote or
/// transaction.
pub(crate) fn is_complete(text: &str) -> bool {
    match entries(text).last() {
        Some(Entry::Command(statement)) => {
            statement.words.last().is_none_or(|it| it.open.is_none())
        }
        Some(Entry::Transaction { is_closed, .. }) => *is_closed,
        None => true,
    }
}

/// How many words at the begin open a transaction: `transaction(`, or the same
/// with a space.
fn opening(words: &[Word<'_>]) -> Option<usize> {
    match words {
        [word, ..] if word.text == "transaction(" => Some(1),
        [word, bracket, ..] if word.text == "transaction" && bracket.text == "(" => Some(2),
        _ => None,
    }
}

/// The words of each line that has some. A line goes on while a bracket or a
/// quote is open.
pub(crate) fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let mut statement = Statement::default();
    let (mut at, mut line) = (0, 1);
    while let Some(next) = text[at..].chars().next() {
        if next == '\n' {
            at += 1;
            line += 1;
            if !statement.words.is_empty() {
                statements.push(std::mem::take(&mut statement));
            }
        } else if next.is_whitespace() {
            at += next.len_utf8();
        } else if next == '#' && statement.words.is_empty() {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else {
            if statement.words.is_empty() {
                statement.line = line;
            }
            let word = word(text, at);
            at += word.text.len();
            line += word.text.matches('\n').count();
            statement.words.push(word);
        }
    }
    if !statement.words.is_empty() {
        statements.push(statement);
    }
    statements
}

/// The word that begins here.
fn word(text: &str, start: usize) -> Word<'_> {
    let mut equals = None;
    let mut closers: Vec<char> = Vec::new();
    let mut quote = None;
    // Whether a quote or a bracket would open here.
    let mut is_begin = true;
    let mut is_escaped = false;
    let mut end = text.len();
    for (at, letter) in text[start..].char_indices() {
        let was_begin = std::mem::take(&mut is_begin);
        if let Some(closing) = quote {
            match letter {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                it if it == closing => quote = None,
                _ => {}
            }
            continue;
        }
        match letter {
            '\'' | '"' if was_begin || !closers.is_empty() => quote = Some(letter),
            '{' | '[' if was_begin || !closers.is_empty() => {
                closers.push(if letter == '{' { '}' } else { ']' });
            }
            '}' | ']' if closers.last() == Some(&letter) => {
                closers.pop();
            }
            _ if !closers.is_empty() => {}
            it if it.is_whitespace() => {
                end = start + at;
                break;
            }
            '=' if equals.is_none() && at > 0 => {
                equals = Some(at);
                is_begin = true;
            }
            // A part of a key.
            '.' if equals.is_none() => is_begin = true,
            _ => {}
        }
    }
    Word {
        text: &text[start..end],
        start,
        equals,
        open: quote.or(closers.last().copied()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Vec<&str>> {
        let texts = |it: Statement<'_>| {
            let ranges = it.words.iter().map(|it| it.start..it.start + it.text.len());
            ranges.map(|it| &text[it]).collect()
        };
        statements(text).into_iter().map(texts).collect()
    }

    #[test]
    fn quotes_and_brackets_keep_spaces_where_a_value_begins() {
        let table: &[(&str, &[&str])] = &[
            ("a b=1  c=2", &["a", "b=1", "c=2"]),
            ("a b=\"1 2\" c='3 4'", &["a", "b=\"1 2\"", "c='3 4'"]),
            ("a b={'c': [1, 2]} d", &["a", "b={'c': [1, 2]}", "d"]),
            (r#"a b="x\" y" c"#, &["a", r#"b="x\" y""#, "c"]),
            (r#"a {"b": "} c"} d"#, &["a", r#"{"b": "} c"}"#, "d"]),
            // Within a word, they are letters.
            ("a b=it's c=x[1 d", &["a", "b=it's", "c=x[1", "d"]),
            ("a 'b c'=1 d.'e f'=2", &["a", "'b c'=1", "d.'e f'=2"]),
            ("a b=c=\"d e\"", &["a", "b=c=\"d", "e\""]),
            ("a b=é ü=1", &["a", "b=é", "ü=1"]),
        ];
        for (text, words) in table {
            assert_eq!(split(text), [words.to_vec()], "{text}");
        }
    }

    #[test]
    fn lines_end_commands_and_comments_are_none() {
        assert_eq!(
            split("a\n\n # b\n  c d\r\n#e\nf g={\n1}\n"),
            [vec!["a"], vec!["c", "d"], vec!["f", "g={\n1}"]]
        );
        assert_eq!(statements("\n\na\nb={\n\n} \nc")[2].line, 7);
        assert!(statements(" \n# only\n").is_empty());
        assert_eq!(split("a b=#1 #c"), [["a", "b=#1", "#c"]]);
    }

    #[test]
    fn what_is_open_is_not_complete() {
        for text in [
            "a b={",
            "a b={[}",
            "a b='x",
            "a b=\"x\\\"",
            "transaction(",
            "transaction( a b=1",
            "transaction (\na\nb",
            "transaction( a b={\n} ",
        ] {
            assert!(!is_complete(text), "{text}");
        }
        for text in [
            "",
            "a",
            "a b={}",
            "a b=x'",
            "a b=}",
            "transaction( a )",
            "transaction(\n)",
            "a )",
        ] {
            assert!(is_complete(text), "{text}");
        }
    }

    #[test]
    fn a_transaction_has_its_steps_in_lines_or_after_semicolons() {
        let texts = [
            "transaction(\na x=1\n# no\nb y=2\n)",
            "transaction( a x=1 ; b y=2 )",
            "transaction( a x=1 ;\n b y=2 ; )",
            "transaction ( a x=1\nb y=2 )",
        ];
        for text in texts {
            let entries = entries(text);
            let [
                Entry::Transaction {
                    steps,
                    is_closed,
                    rest,
                    ..
                },
            ] = &entries[..]
            else {
                panic!("{entries:?}");
            };
            let steps: Vec<Vec<&str>> = steps
                .iter()
                .map(|it| it.words.iter().map(|it| it.text).collect())
                .collect();
            assert_eq!(steps, [["a", "x=1"], ["b", "y=2"]], "{text}");
            assert!(*is_closed && rest.is_none());
        }
        let entries = entries("transaction( a ) b\nc");
        assert!(
            matches!(&entries[0], Entry::Transaction { rest: Some(rest), .. } if rest.text == "b")
        );
        assert!(matches!(&entries[1], Entry::Command(it) if it.words[0].text == "c"));
    }
}
