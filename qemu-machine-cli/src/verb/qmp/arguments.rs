//! From words to a command and its arguments. Pure.

use serde_json::{Map, Value};

/// Reads a command and its arguments. [`Value::Null`] is no arguments.
pub(crate) fn read(command: &str, words: &[String]) -> Result<(String, Value), String> {
    if command.starts_with('{') {
        return match words {
            [] => message(command),
            [word, ..] => Err(format!(
                "a whole message has its arguments in it; '{word}' is too much"
            )),
        };
    }
    let arguments = match words {
        [] => Value::Null,
        [object] if object.starts_with('{') => json(object)?,
        words => Value::Object(members(words)?),
    };
    Ok((command.to_owned(), arguments))
}

/// Reads `{"execute": NAME, "arguments": {…}}`.
fn message(text: &str) -> Result<(String, Value), String> {
    let mut message = json(text)?;
    let Some(Value::String(name)) = message.get_mut("execute").map(Value::take) else {
        return Err(format!("{text} has no command: \"execute\" is missing"));
    };
    let arguments = message.get_mut("arguments").map(Value::take);
    Ok((name, arguments.unwrap_or_default()))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{text} is no JSON: {error}"))
}

/// Reads `key=value` and `key.sub=value`.
fn members(words: &[String]) -> Result<Map<String, Value>, String> {
    let mut members = Map::new();
    for word in words {
        let (path, value) = word.split_once('=').ok_or_else(|| {
            format!("'{word}' is no argument: KEY=VALUE or a JSON object is needed")
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let mut keys: Vec<&str> = path.split('.').collect();
        let last = keys.pop().unwrap_or_default();
        if last.is_empty() || keys.iter().any(|key| key.is_empty()) {
            return Err(format!("'{word}' has an empty key"));
        }
        let mut object = &mut members;
        for key in keys {
            let member = object
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()));
            object = member
                .as_object_mut()
                .ok_or_else(|| format!("'{word}': {key} is a value already, and has no members"))?;
        }
        if object.insert(last.to_owned(), value).is_some() {
            return Err(format!("{path} is given twice"));
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
        read("x", &words).map(|(_, arguments)| arguments)
    }

    #[test]
    fn values_are_json_where_they_parse_and_text_elsewhere() {
        let table = [
            (&[][..], json!(null)),
            (
                &["a=1", "b=on", "c=true", "d=null"],
                json!({"a": 1, "b": "on", "c": true, "d": null}),
            ),
            (
                &["a=\"1\"", "b=", "c=1G"],
                json!({"a": "1", "b": "", "c": "1G"}),
            ),
            (
                &["a=[1, 2]", "b={\"c\": 3}"],
                json!({"a": [1, 2], "b": {"c": 3}}),
            ),
            (
                &["a.b=1", "a.c.d=x=y"],
                json!({"a": {"b": 1, "c": {"d": "x=y"}}}),
            ),
            (&["a={\"b\": 1}", "a.c=2"], json!({"a": {"b": 1, "c": 2}})),
            (&["{\"a\": 1}"], json!({"a": 1})),
        ];
        for (words, expected) in table {
            assert_eq!(arguments(words), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for words in [
            &["a"][..],
            &["=1"],
            &["a..b=1"],
            &["a=1", "a.b=2"],
            &["a=1", "a=2"],
            &["{a"],
        ] {
            assert!(arguments(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_whole_message_is_a_command() {
        let (name, arguments) = read(r#"{"execute": "stop", "id": 1}"#, &[]).unwrap();
        assert_eq!((&*name, arguments), ("stop", Value::Null));
        let (_, arguments) = read(r#"{"execute": "x", "arguments": {"a": 1}}"#, &[]).unwrap();
        assert_eq!(arguments, json!({"a": 1}));
        assert!(read(r#"{"run": "x"}"#, &[]).is_err());
        assert!(read(r#"{"execute": "x"}"#, &["a=1".to_owned()]).is_err());
    }
}
