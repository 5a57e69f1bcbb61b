//! Reads the value of an argument. Pure.
//!
//! JSON, with what people also write: quotes of both kinds, `True`, `False` and
//! `None`, and a comma after the last member.

use serde_json::{Map, Value};

/// Reads a value as it was typed in a line: JSON, a quoted text, or a text.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    match text.chars().next() {
        Some('{' | '[' | '"' | '\'') => whole(text),
        _ => Ok(plain(text)),
    }
}

/// Reads a value from a word of a command line, whose quotes are the shell's: it
/// is quoted only if both ends are.
pub(crate) fn read_word(text: &str) -> Result<Value, String> {
    match text.chars().next() {
        Some('{' | '[') => whole(text),
        Some('"' | '\'') => Ok(whole(text).unwrap_or_else(|_| text.into())),
        _ => Ok(plain(text)),
    }
}

/// Reads a JSON value that is the whole text.
pub(crate) fn whole(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let read = reader.value(0).and_then(|value| {
        reader.skip_spaces();
        match reader.rest() {
            "" => Ok(value),
            _ => Err("nothing may follow the value".to_owned()),
        }
    });
    read.map_err(|reason| {
        let before = &text[..reader.at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let place = match line {
            1 => format!("column {column}"),
            _ => format!("line {line}, column {column}"),
        };
        format!("{text} is no JSON: {reason} at {place}")
    })
}

/// A value without quotes and brackets: a number, a word of JSON, or a text.
fn plain(text: &str) -> Value {
    word(text).unwrap_or_else(|| text.into())
}

fn word(text: &str) -> Option<Value> {
    match text {
        "true" | "True" => Some(Value::Bool(true)),
        "false" | "False" => Some(Value::Bool(false)),
        "null" | "None" => Some(Value::Null),
        _ => {
            let is_number = text.starts_with(|it: char| it.is_ascii_digit() || it == '-');
            is_number.then(|| serde_json::from_str(text).ok()).flatten()
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Skips this letter, if it is the next one.
    fn take(&mut self, letter: char) -> bool {
        self.skip_spaces();
        let is_next = self.next() == Some(letter);
        if is_next {
            self.at += letter.len_utf8();
        }
        is_next
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_LIMIT {
            return Err(format!("it is more than {DEPTH_LIMIT} levels deep"));
        }
        self.skip_spaces();
        match self.next() {
            Some('{') => self.object(depth),
            Some('[') => self.list(depth),
            Some('"' | '\'') => self.string().map(Value::String),
            Some(_) => {
                let rest = self.rest();
                let is_end = |it: char| it.is_whitespace() || ",]}:\"'{[".contains(it);
                let text = &rest[..rest.find(is_end).unwrap_or(rest.len())];
                let value = word(text).ok_or_else(|| match text {
                    "" => "a value is missing".to_owned(),
                    _ => format!("'{text}' is no value; a text needs quotes"),
                })?;
                self.at += text.len();
                Ok(value)
            }
            None => Err("it ends too early".to_owned()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.take('{');
        let mut members = Map::new();
        while !self.take('}') {
            if !matches!(self.next(), Some('"' | '\'')) {
                return Err(self.missing("a key in quotes or }"));
            }
            let place = self.at;
            let key = self.string()?;
            if members.contains_key(&key) {
                self.at = place;
                return Err(format!("'{key}' is given twice"));
            }
            if !self.take(':') {
                return Err(self.missing(":"));
            }
            let value = self.value(depth + 1)?;
            members.insert(key, value);
            if !self.take(',') && self.next() != Some('}') {
                return Err(self.missing(", or }"));
            }
        }
        Ok(Value::Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        self.take('[');
        let mut elements = Vec::new();
        while !self.take(']') {
            elements.push(self.value(depth + 1)?);
            if !self.take(',') && self.next() != Some(']') {
                return Err(self.missing(", or ]"));
            }
        }
        Ok(Value::Array(elements))
    }

    fn missing(&self, wanted: &str) -> String {
        match self.next() {
            Some(_) => format!("{wanted} is needed"),
            None => format!("it ends too early: {wanted} is needed"),
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let mut letters = self.rest().char_indices();
        let Some((_, quote)) = letters.next() else {
            return Err("it ends too early".to_owned());
        };
        let begin = self.at;
        let mut string = String::new();
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                self.at = begin + at + letter.len_utf8();
                return Ok(string);
            }
            if letter != '\\' {
                string.push(letter);
                continue;
            }
            let Some((_, letter)) = letters.next() else {
                break;
            };
            let escaped = match letter {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '"' | '\'' | '\\' | '/' => letter,
                'x' => hexadecimal(&mut letters, 2)
                    .and_then(char::from_u32)
                    .ok_or_else(bad_code)?,
                'u' => unicode(&mut letters).ok_or_else(bad_code)?,
                other => {
                    self.at = begin + at;
                    return Err(format!("\\{other} is no escape; \\\\ is one backslash"));
                }
            };
            string.push(escaped);
        }
        Err(format!("the closing {quote} is missing"))
    }
}

fn bad_code() -> String {
    "\\x needs two hexadecimal digits, and \\u four that are a letter".to_owned()
}

fn hexadecimal(letters: &mut std::str::CharIndices<'_>, count: usize) -> Option<u32> {
    let mut number = 0;
    for _ in 0..count {
        number = number * 16 + letters.next()?.1.to_digit(16)?;
    }
    Some(number)
}

/// A letter by its code, or by the two halves of it that JSON has for some.
fn unicode(letters: &mut std::str::CharIndices<'_>) -> Option<char> {
    let high = hexadecimal(letters, 4)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high);
    }
    let is_pair = letters.next()?.1 == '\\' && letters.next()?.1 == 'u';
    let low = hexadecimal(letters, 4)?.checked_sub(0xdc00)?;
    let is_low = is_pair && low < 0x400;
    is_low.then(|| char::from_u32(0x10000 + ((high - 0xd800) << 10) + low))?
}

/// As deep as serde's own.
const DEPTH_LIMIT: usize = 127;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_what_it_looks_like() {
        let table = [
            ("1", json!(1)),
            ("-1.5e3", json!(-1500.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1G", json!("1G")),
            ("0x10", json!("0x10")),
            ("007", json!("007")),
            ("-", json!("-")),
            ("on", json!("on")),
            ("true", json!(true)),
            ("False", json!(false)),
            ("None", json!(null)),
            ("nan", json!("nan")),
            ("", json!("")),
            ("it's", json!("it's")),
            ("\"1\"", json!("1")),
            ("'a b'", json!("a b")),
            (r"'it\'s \x41\n'", json!("it's A\n")),
            (r#""\ud83d\ude00 \u00e9""#, json!("😀 é")),
            ("{}", json!({})),
            (
                "{'a': True, \"b\": [1, None, 'x y',], }",
                json!({"a": true, "b": [1, null, "x y"]}),
            ),
            ("[ ]", json!([])),
            ("[[1],{'a':{}}]", json!([[1], {"a": {}}])),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_says_where_and_why() {
        let table = [
            ("{", "ends too early", "column 2"),
            ("{'a'}", ": is needed", "column 5"),
            ("{a: 1}", "a key in quotes or }", "column 2"),
            (
                "{'a': b}",
                "'b' is no value; a text needs quotes",
                "column 7",
            ),
            ("{'a': 1 'b': 2}", ", or } is needed", "column 9"),
            ("{'a': 1, 'a': 2}", "'a' is given twice", "column 10"),
            ("[1 2]", ", or ] is needed", "column 4"),
            ("[1]x", "nothing may follow", "column 4"),
            ("[,]", "a value is missing", "column 2"),
            ("'a", "the closing ' is missing", "column 1"),
            ("'a'b", "nothing may follow", "column 4"),
            (r"'\d'", r"\d is no escape", "column 2"),
            (r"'\ud800x'", "hexadecimal", "column 1"),
            ("[\n1,\n  x]", "'x' is no value", "line 3, column 3"),
        ];
        for (text, reason, place) in table {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(reason) && error.ends_with(place),
                "{text}: {error}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep).unwrap_err().contains("levels deep"));
    }

    #[test]
    fn a_word_of_a_shell_keeps_quotes_that_do_not_match() {
        assert_eq!(read_word("\"1\""), Ok(json!("1")));
        assert_eq!(read_word("'tis"), Ok(json!("'tis")));
        assert_eq!(read_word("a b"), Ok(json!("a b")));
        assert!(read_word("{x").is_err());
    }

    #[test]
    fn all_json_is_read_as_serde_reads_it() {
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../qemu-qmp/tests/wire/qemu-10.0/query-qmp-schema.json"
        ));
        let expected: Value = serde_json::from_str(text).unwrap();
        assert!(read(text.trim()).unwrap() == expected);
        assert!(read(&expected.to_string()).unwrap() == expected);
    }
}
