//! Splits Markdown into passages: paragraphs, headings, and cells of tables. Code
//! blocks and comments are left out.

use super::inline::{Word, pieces};

/// The words of a paragraph, heading, item or cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) words: Vec<Word>,
    /// A heading has no sentences.
    pub(super) is_heading: bool,
}

/// The passages of these lines, each with its number.
///
/// An item of a list is a passage, and so is a cell of a table.
pub(super) fn passages<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<Passage> {
    let mut reader = Reader::default();
    for (line, text) in lines {
        reader.read(line, text);
    }
    reader.end();
    reader.passages
}

#[derive(Default)]
struct Reader {
    passages: Vec<Passage>,
    /// The lines of the current paragraph.
    open: Vec<(usize, String)>,
    /// The mark that ends the current code block.
    fence: Option<String>,
    in_comment: bool,
    in_list: bool,
    after_blank: bool,
}

impl Reader {
    fn read(&mut self, number: usize, line: &str) {
        let is_indented = line.starts_with("    ") || line.starts_with('\t');
        let text = line.trim();
        if let Some(fence) = &self.fence {
            if text.starts_with(fence.as_str()) && text.trim_start_matches(&fence[..1]).is_empty() {
                self.fence = None;
            }
            return;
        }
        if self.in_comment || text.starts_with("<!--") {
            self.end();
            self.in_comment = !text.contains("-->");
            return;
        }
        let text = text.trim_start_matches("> ");
        if let Some(fence) = fence(text) {
            self.end();
            self.fence = Some(fence);
        } else if text.is_empty() || text == ">" {
            self.end();
            self.after_blank = true;
            return;
        } else if is_indented && !self.in_list && self.open.is_empty() {
            // A code block without a fence.
        } else if let Some(heading) = heading(text) {
            self.end();
            self.in_list = false;
            self.add(&[(number, heading.to_owned())], true);
        } else if text.starts_with('|') {
            self.end();
            self.row(number, text);
        } else if is_rule(text) || is_definition(text) {
            self.end();
        } else if let Some(item) = item(text) {
            self.end();
            self.in_list = true;
            self.open.push((number, item.to_owned()));
        } else {
            if self.after_blank && !line.starts_with(' ') {
                self.in_list = false;
            }
            self.open.push((number, text.to_owned()));
        }
        self.after_blank = false;
    }

    fn row(&mut self, number: usize, row: &str) {
        for cell in cells(row) {
            if !cell.chars().all(|c| matches!(c, '-' | ':' | ' ')) {
                self.add(&[(number, cell)], false);
            }
        }
    }

    fn end(&mut self) {
        let lines = std::mem::take(&mut self.open);
        self.add(&lines, false);
    }

    fn add(&mut self, lines: &[(usize, String)], is_heading: bool) {
        let pieces = pieces(lines).into_iter();
        self.passages
            .extend(pieces.map(|words| Passage { words, is_heading }));
    }
}

/// The mark of a code block that begins here.
fn fence(text: &str) -> Option<String> {
    let mark = ["```", "~~~"]
        .iter()
        .find(|mark| text.starts_with(**mark))?;
    let rest = text.trim_start_matches(&mark[..1]);
    // Inline code may also begin with three marks. It ends in the same line.
    let is_block = !rest.contains('`');
    is_block.then(|| text[..text.len() - rest.len()].to_owned())
}

fn heading(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches('#');
    let level = text.len() - rest.len();
    let rest = rest.strip_prefix(' ')?;
    (1..=6).contains(&level).then_some(rest)
}

/// The text after the mark of a list item.
fn item(text: &str) -> Option<&str> {
    let marks = ["- ", "* ", "+ "];
    if let Some(rest) = marks.iter().find_map(|mark| text.strip_prefix(mark)) {
        return Some(rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == text.len() {
        return None;
    }
    rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))
}

/// A horizontal rule, or a line below a title.
fn is_rule(text: &str) -> bool {
    text.len() > 2
        && ["-", "=", "*", "_"]
            .iter()
            .any(|mark| text.replace(mark, "").trim().is_empty())
}

/// `[name]: address`
fn is_definition(text: &str) -> bool {
    let name = text.strip_prefix('[').and_then(|it| it.split_once("]:"));
    name.is_some_and(|(name, rest)| !name.contains(']') && rest.trim().split(' ').count() == 1)
}

/// The cells of a row. A `|` in code or after a backslash does not end a cell.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut in_code = false;
    let mut chars = row.trim_matches('|').chars();
    while let Some(c) = chars.next() {
        if c == '|' && !in_code {
            cells.push(String::new());
            continue;
        }
        in_code ^= c == '`';
        if let Some(cell) = cells.last_mut() {
            cell.push(c);
            if c == '\\' {
                cell.extend(chars.next());
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each passage as its first line's number and its words; `#` for a heading.
    fn read(text: &str) -> Vec<String> {
        let passages = passages((1..).zip(text.lines())).into_iter();
        let passages = passages.map(|Passage { words, is_heading }| {
            let line = words[0].line;
            let mark = if is_heading { "#" } else { "" };
            let words: Vec<_> = words.into_iter().map(|word| word.text).collect();
            format!("{line}{mark} {}", words.join(" "))
        });
        passages.collect()
    }

    #[test]
    fn paragraphs_end_at_blank_lines_headings_and_items() {
        let text = "# a b\nc\nd\n\ne\n- f\n  g\n- h\n1. i\n\n   j\n";
        assert_eq!(
            read(text),
            ["1# a b", "2 c d", "5 e", "6 f g", "8 h", "9 i", "11 j"]
        );
    }

    #[test]
    fn code_blocks_are_left_out() {
        assert_eq!(
            read("a\n```sh\nb\n~~~\n```\nc\n~~~~\nd\n~~~~\ne"),
            ["1 a", "6 c", "10 e"]
        );
        assert_eq!(read("a\n\n    b\n\nc\n    d"), ["1 a", "5 c d"]);
        assert_eq!(read("- a\n\n      b"), ["1 a", "3 b"]);
    }

    #[test]
    fn each_cell_of_a_table_is_a_passage() {
        assert_eq!(
            read("| a | b c |\n|---|:-:|\n| d \\| e | `f|g` h<br>i |"),
            ["1 a", "1 b c", "3 d | e", "3 \u{fffc} h", "3 i"]
        );
    }

    #[test]
    fn comments_rules_and_addresses_are_left_out_and_quotes_are_read() {
        assert_eq!(
            read("<!-- a\nb -->\n---\n[c]: https://d\n> e\n> f"),
            ["5 e f"]
        );
    }
}
