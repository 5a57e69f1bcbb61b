//! Reads a group of options back: `first,key=value,…` with doubled commas, or
//! JSON.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde_json::Value;

/// The members of a group, in order. A member without `=` has no value.
pub(super) fn members(group: &OsStr) -> Vec<(String, Option<OsString>)> {
    let mut members = Vec::new();
    let mut member = Vec::new();
    let mut bytes = group.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' if bytes.peek() == Some(&b',') => {
                bytes.next();
                member.push(byte);
            }
            b',' => members.push(std::mem::take(&mut member)),
            byte => member.push(byte),
        }
    }
    members.push(member);
    let split = |member: Vec<u8>| match member.iter().position(|&byte| byte == b'=') {
        Some(at) => (
            String::from_utf8_lossy(&member[..at]).into_owned(),
            Some(OsString::from_vec(member[at + 1..].to_vec())),
        ),
        None => (String::from_utf8_lossy(&member).into_owned(), None),
    };
    let members = members.into_iter().filter(|member| !member.is_empty());
    members.map(split).collect()
}

/// A group that is written as JSON.
pub(super) fn json(group: &OsStr) -> Option<Value> {
    let text = group.as_bytes().trim_ascii_start();
    let is_object = text.starts_with(b"{");
    is_object.then(|| serde_json::from_slice(text).ok())?
}

/// A switch of QEMU; `None` if the text is not one.
pub(super) fn switch(text: &OsStr) -> Option<bool> {
    match text.to_str()? {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

/// A member of `-drive` with its value. There, `readonly` stands for
/// `readonly=on`, and `noreadonly` for `readonly=off`.
pub(super) fn with_value((key, value): (String, Option<OsString>)) -> (String, OsString) {
    match (value, key.strip_prefix("no")) {
        (Some(value), _) => (key, value),
        (None, Some(key)) => (key.to_owned(), "off".into()),
        (None, None) => (key, "on".into()),
    }
}

/// The value of `id`.
pub(crate) fn id_of(group: &OsStr) -> Option<OsString> {
    let id = members(group).into_iter().find(|(key, _)| key == "id");
    id.and_then(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_commas_are_part_of_a_value() {
        let read = |text: &str| {
            let members = members(OsStr::new(text)).into_iter();
            let text = |value: Option<OsString>| value.map(|it| it.into_string().unwrap());
            members
                .map(|(key, value)| (key, text(value)))
                .collect::<Vec<_>>()
        };
        let value = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert_eq!(
            read("file=/a,,b,format=raw"),
            [value("file", "/a,b"), value("format", "raw")]
        );
        assert_eq!(read("256M"), [("256M".to_owned(), None)]);
        assert_eq!(read("a=b=c,,,d=e"), [value("a", "b=c,"), value("d", "e")]);
        assert_eq!(read(""), []);
    }
}
