//! A client's message, read as a request. The errors are QEMU's, word for word
//! where QEMU's words fit.
//!
//! Pure.

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

/// A request with its id.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) command: String,
    /// An object; `None` without arguments.
    pub(super) arguments: Option<Box<RawValue>>,
    pub(super) out_of_band: bool,
}

/// The client's id as it was sent; `None` without one.
pub(super) type RequestId = Option<Box<RawValue>>;

/// An error reply's class and description.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    class: &'static str,
    desc: String,
}

impl Refusal {
    pub(super) fn generic(desc: impl Into<String>) -> Self {
        Self {
            class: "GenericError",
            desc: desc.into(),
        }
    }

    pub(super) fn not_found(desc: impl Into<String>) -> Self {
        Self {
            class: "CommandNotFound",
            desc: desc.into(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        json!({"class": self.class, "desc": self.desc}).to_string()
    }
}

impl Request {
    /// Reads one value. `allows_oob`: whether the client may use `exec-oob`.
    ///
    /// # Errors
    /// What is wrong, and the id if there is one.
    pub(super) fn parse(value: &[u8], allows_oob: bool) -> Result<Self, (RequestId, Refusal)> {
        let not_json = |error: &dyn std::fmt::Display| {
            (None, Refusal::generic(format!("JSON parse error, {error}")))
        };
        let text = std::str::from_utf8(value).map_err(|error| not_json(&error))?;
        let checked: Result<&RawValue, _> = serde_json::from_str(text);
        checked.map_err(|error| not_json(&error))?;
        let members: BTreeMap<String, Box<RawValue>> = match serde_json::from_str(text) {
            Ok(members) => members,
            Err(_) => return Err((None, Refusal::generic("QMP input must be a JSON object"))),
        };
        Self::of_members(members, allows_oob)
    }

    fn of_members(
        mut members: BTreeMap<String, Box<RawValue>>,
        allows_oob: bool,
    ) -> Result<Self, (RequestId, Refusal)> {
        let id = members.remove("id");
        let mut command: Option<(String, bool)> = None;
        let mut arguments = None;
        for (name, value) in members {
            let refused =
                |what: String| Refusal::generic(format!("QMP input member '{name}' {what}"));
            let refusal = match name.as_str() {
                "execute" | "exec-oob" if name == "execute" || allows_oob => {
                    match (serde_json::from_str(value.get()), &command) {
                        (Err(_), _) => refused("must be a string".to_owned()),
                        (Ok(_), Some(_)) => refused("clashes with 'exec-oob'".to_owned()),
                        (Ok(text), None) => {
                            command = Some((text, name == "exec-oob"));
                            continue;
                        }
                    }
                }
                "arguments" if value.get().starts_with('{') => {
                    arguments = Some(value);
                    continue;
                }
                "arguments" => refused("must be an object".to_owned()),
                _ => refused("is unexpected".to_owned()),
            };
            return Err((id, refusal));
        }
        match command {
            Some((command, out_of_band)) => Ok(Self {
                id,
                command,
                arguments,
                out_of_band,
            }),
            None => Err((id, Refusal::generic("QMP input lacks member 'execute'"))),
        }
    }
}

/// A reply's line.
pub(super) fn reply(id: &RequestId, result: Result<&str, &str>) -> Vec<u8> {
    let (member, value) = match result {
        Ok(value) => ("return", value),
        Err(error) => ("error", error),
    };
    let id = id.as_ref().map(|id| format!(r#", "id": {}"#, id.get()));
    format!("{{\"{member}\": {value}{}}}\r\n", id.unwrap_or_default()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Option<String>, String) {
        let (id, refusal) = Request::parse(text.as_bytes(), true).unwrap_err();
        (id.map(|id| id.get().to_owned()), refusal.desc)
    }

    #[test]
    fn what_is_wrong_is_said_as_qemu_says_it() {
        let none = |desc: &str| (None, desc.to_owned());
        let with = |id: &str, desc: &str| (Some(id.to_owned()), desc.to_owned());
        assert!(refused("foo").1.starts_with("JSON parse error, "));
        assert!(refused(r#"{"a": ]"#).1.starts_with("JSON parse error, "));
        assert_eq!(refused("[1]"), none("QMP input must be a JSON object"));
        assert_eq!(
            refused(r#"{"id":3}"#),
            with("3", "QMP input lacks member 'execute'")
        );
        assert_eq!(
            refused(r#"{"execute":1,"id":[4, {}]}"#),
            with("[4, {}]", "QMP input member 'execute' must be a string")
        );
        assert_eq!(
            refused(r#"{"execute":"a","x":1,"id":5}"#),
            with("5", "QMP input member 'x' is unexpected")
        );
        assert_eq!(
            refused(r#"{"execute":"a","exec-oob":"b","id":6}"#),
            with("6", "QMP input member 'execute' clashes with 'exec-oob'")
        );
        assert_eq!(
            refused(r#"{"execute":"a","arguments":3,"id":7}"#),
            with("7", "QMP input member 'arguments' must be an object")
        );
        let (_, refusal) = Request::parse(br#"{"exec-oob":"a","id":8}"#, false).unwrap_err();
        assert_eq!(refusal.desc, "QMP input member 'exec-oob' is unexpected");
        assert!(Request::parse(b"{\"execute\":\"\xc3\"}", true).is_err());
    }

    #[test]
    fn a_request_is_kept_as_it_was_sent() {
        let text = r#"{"arguments": {"n": 1.00000000000000000001, "n": 2},"exec-oob":"a\u0062","id":"\u00e4"}"#;
        let request = Request::parse(text.as_bytes(), true).unwrap();
        assert_eq!(request.command, "ab");
        assert!(request.out_of_band);
        let arguments = request.arguments.unwrap();
        assert_eq!(arguments.get(), r#"{"n": 1.00000000000000000001, "n": 2}"#);
        let line = reply(&request.id, Ok("{}"));
        assert_eq!(line, b"{\"return\": {}, \"id\": \"\\u00e4\"}\r\n");
    }
}
