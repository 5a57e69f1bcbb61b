//! Builds arguments from `key.sub=value`. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::value;

/// One part of a key: `a` and `0` of `a.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Name(String),
    /// The place in a list.
    Index(usize),
}

/// Splits a key at its dots. A part in quotes keeps them, and a number after the
/// first part is a place in a list.
pub(crate) fn parts(key: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = key;
    loop {
        let (part, after) = part(rest, parts.is_empty()).map_err(|why| format!("'{key}' {why}"))?;
        parts.push(part);
        match after {
            Some(after) => rest = after,
            None => return Ok(parts),
        }
    }
}

/// The first part, and what follows its dot.
fn part(text: &str, is_first: bool) -> Result<(Part, Option<&str>), &'static str> {
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        let mut is_escaped = false;
        let end = text[1..].char_indices().find(|(_, letter)| {
            let is_end = *letter == quote && !is_escaped;
            is_escaped = *letter == '\\' && !is_escaped;
            is_end
        });
        let (end, _) = end.ok_or("has a quote that is not closed")?;
        let (quoted, after) = text.split_at(end + 2);
        let Ok(Value::String(name)) = value::whole(quoted) else {
            return Err("has an escape that is none");
        };
        return match after.strip_prefix('.') {
            _ if after.is_empty() => Ok((Part::Name(name), None)),
            Some(after) => Ok((Part::Name(name), Some(after))),
            None => Err("has letters after its quotes"),
        };
    }
    let (name, after) = match text.split_once('.') {
        Some((name, after)) => (name, Some(after)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("has an empty key");
    }
    let is_number = !is_first && name.bytes().all(|it| it.is_ascii_digit());
    let part = match name.parse() {
        Ok(index) if is_number => Part::Index(index),
        _ => Part::Name(name.to_owned()),
    };
    Ok((part, after))
}

/// Arguments that are being given.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<Part, Node>);

#[derive(Debug)]
enum Node {
    Value(Value),
    /// All parts are of one kind: names of an object's members, or places in a
    /// list.
    Inner(BTreeMap<Part, Node>),
}

impl Members {
    /// Puts a value where the key says.
    pub(crate) fn put(&mut self, key: &str, value: Value) -> Result<(), String> {
        let mut parts = parts(key)?;
        let last = parts
            .pop()
            .ok_or_else(|| format!("'{key}' has an empty key"))?;
        let mut inner = &mut self.0;
        for part in parts {
            let name = name(&part);
            check_kind(inner, &part, key)?;
            let node = inner
                .entry(part)
                .or_insert_with(|| Node::Inner(BTreeMap::new()));
            node.open();
            inner = match node {
                Node::Inner(inner) => inner,
                Node::Value(_) => {
                    return Err(format!(
                        "'{key}' has no place: {name} is a value already, and has no members"
                    ));
                }
            };
        }
        check_kind(inner, &last, key)?;
        if inner.contains_key(&last) {
            return Err(format!("'{key}' is given twice"));
        }
        inner.insert(last, Node::Value(value));
        Ok(())
    }

    /// All of them.
    pub(crate) fn finish(self) -> Result<Map<String, Value>, String> {
        match close(self.0, "")? {
            Value::Object(members) => Ok(members),
            _ => Ok(Map::new()),
        }
    }
}

impl Node {
    /// Lets members be added to a value that can have some.
    fn open(&mut self) {
        let Node::Value(value) = self else {
            return;
        };
        let inner: BTreeMap<Part, Node> = match value.take() {
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (Part::Name(name), Self::Value(value)))
                .collect(),
            Value::Array(elements) => elements
                .into_iter()
                .enumerate()
                .map(|(index, value)| (Part::Index(index), Self::Value(value)))
                .collect(),
            other => {
                *value = other;
                return;
            }
        };
        *self = Self::Inner(inner);
    }
}

/// Whether a part fits to those beside it.
fn check_kind(inner: &BTreeMap<Part, Node>, part: &Part, key: &str) -> Result<(), String> {
    let is_index = |part: &Part| matches!(part, Part::Index(_));
    match inner.keys().next() {
        Some(other) if is_index(other) != is_index(part) => Err(format!(
            "'{key}' has no place: {} is in a list, and {} is a name",
            name(if is_index(part) { part } else { other }),
            name(if is_index(part) { other } else { part }),
        )),
        _ => Ok(()),
    }
}

fn close(inner: BTreeMap<Part, Node>, path: &str) -> Result<Value, String> {
    let is_list = matches!(inner.keys().next(), Some(Part::Index(_)));
    let (mut members, mut elements) = (Map::new(), Vec::new());
    for (part, node) in inner {
        let name = name(&part);
        if let Part::Index(index) = part
            && index != elements.len()
        {
            let missing = elements.len();
            return Err(format!("'{path}{name}' is given without '{path}{missing}'"));
        }
        let value = match node {
            Node::Value(value) => value,
            Node::Inner(inner) => close(inner, &format!("{path}{name}."))?,
        };
        if is_list {
            elements.push(value);
        } else {
            members.insert(name, value);
        }
    }
    Ok(if is_list {
        Value::Array(elements)
    } else {
        Value::Object(members)
    })
}

fn name(part: &Part) -> String {
    match part {
        Part::Name(name) => name.clone(),
        Part::Index(index) => index.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn built(pairs: &[(&str, Value)]) -> Result<Value, String> {
        let mut members = Members::default();
        for (key, value) in pairs {
            members.put(key, value.clone())?;
        }
        members.finish().map(Value::Object)
    }

    #[test]
    fn dots_nest_and_later_keys_stay() {
        let table = [
            (
                vec![
                    ("a.b", json!(1)),
                    ("a.c.d", json!(2)),
                    ("e", json!(3)),
                    ("a.c.f", json!(4)),
                ],
                json!({"a": {"b": 1, "c": {"d": 2, "f": 4}}, "e": 3}),
            ),
            (
                vec![
                    ("a.1.x", json!(1)),
                    ("a.0.x", json!(0)),
                    ("a.1.y", json!(2)),
                ],
                json!({"a": [{"x": 0}, {"x": 1, "y": 2}]}),
            ),
            (
                vec![("a.0", json!(1)), ("a.1", json!(2))],
                json!({"a": [1, 2]}),
            ),
            (vec![("a.0.0", json!(1))], json!({"a": [[1]]})),
            (
                vec![("a", json!({"b": 1})), ("a.c", json!(2))],
                json!({"a": {"b": 1, "c": 2}}),
            ),
            (
                vec![
                    ("a", json!([{"b": 1}])),
                    ("a.0.c", json!(2)),
                    ("a.1", json!(3)),
                ],
                json!({"a": [{"b": 1, "c": 2}, 3]}),
            ),
            (vec![("'a.b'.c", json!(1))], json!({"a.b": {"c": 1}})),
            (vec![("a.\"0\"", json!(1))], json!({"a": {"0": 1}})),
            (vec![("0", json!(1))], json!({"0": 1})),
        ];
        for (pairs, expected) in table {
            assert_eq!(built(&pairs), Ok(expected), "{pairs:?}");
        }
        let many: Vec<String> = (0..12).map(|it| format!("a.{it}")).collect();
        let many: Vec<_> = many.iter().map(|it| (&**it, json!(it))).collect();
        assert_eq!(built(&many).unwrap()["a"][11], "a.11");
    }

    #[test]
    fn keys_without_a_place_say_why() {
        let one = json!(1);
        let table = [
            (vec!["a", "a"], "given twice"),
            (vec!["a", "a.b"], "a is a value already"),
            (vec!["a.b", "a"], "given twice"),
            (vec!["a.0", "a.b"], "0 is in a list, and b is a name"),
            (vec!["a.b", "a.0.c"], "0 is in a list, and b is a name"),
            (vec!["a.1"], "'a.1' is given without 'a.0'"),
            (vec!["a.b.0", "a.b.2"], "'a.b.2' is given without 'a.b.1'"),
            (vec!["a..b"], "empty key"),
            (vec![".a"], "empty key"),
            (vec!["a."], "empty key"),
            (vec!["'a"], "not closed"),
            (vec!["'a'b"], "letters after its quotes"),
        ];
        for (keys, reason) in table {
            let pairs: Vec<_> = keys.iter().map(|key| (*key, one.clone())).collect();
            let error = built(&pairs).unwrap_err();
            assert!(error.contains(reason), "{keys:?}: {error}");
        }
    }
}
