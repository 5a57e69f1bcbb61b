//! What is in a directory: an object's properties as entries. Pure.

use qemu_machine::qmp::qom::{Object, PropertyKind};
use serde_json::Value;

use crate::verb::qom::list::target;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) type_name: String,
    pub(super) form: Form,
}

/// What the entry is for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A child.
    Directory,
    /// A link, by the text that leads to its object.
    Symlink(String),
    /// A value, and a link that has no object.
    File,
}

/// The entries of an object whose values were read. `root` is the path of the
/// object that is mounted.
pub(super) fn entries(object: &Object, root: &str) -> Vec<Entry> {
    let properties = object.properties.iter();
    let properties = properties.filter(|it| is_name_of_a_file(&it.property.name));
    properties
        .map(|it| Entry {
            name: it.property.name.clone(),
            type_name: it.property.type_name.clone(),
            form: match (it.property.kind(), target(it)) {
                (PropertyKind::Child(_), _) => Form::Directory,
                (_, Some(target)) => match symlink(&object.path, target, root) {
                    Some(symlink) => Form::Symlink(symlink),
                    None => Form::File,
                },
                _ => Form::File,
            },
        })
        .collect()
}

/// QEMU may send anything as a name.
fn is_name_of_a_file(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0'])
}

/// The way from an object's directory to another object. `None` if that is not
/// below the object that is mounted.
fn symlink(from: &str, to: &str, root: &str) -> Option<String> {
    let parts = |path: &str| -> Vec<String> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let (from, to, root) = (parts(from), parts(to), parts(root));
    if !to.starts_with(&root) || to.iter().any(|part| part == "." || part == "..") {
        return None;
    }
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let ups = vec!["..".to_owned(); from.len() - shared];
    let way = [&ups, &to[shared..]].concat();
    Some(if way.is_empty() {
        ".".to_owned()
    } else {
        way.join("/")
    })
}

/// What a file has in it: the value, as `qom get` prints it.
pub(super) fn content(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => format!("{text}\n"),
        value => format!("{value:#}\n"),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_symlink_leads_from_its_directory_to_its_object() {
        let table = [
            ("/", "/machine", "/", Some("machine")),
            ("/machine/a/b", "/machine/c", "/", Some("../../c")),
            ("/machine", "/machine", "/machine", Some(".")),
            ("/machine/a", "/machine", "/machine", Some("..")),
            ("/machine/a", "/objects/b", "/machine", None),
            ("/a", "/../etc/passwd", "/", None),
        ];
        for (from, to, root, expected) in table {
            assert_eq!(symlink(from, to, root).as_deref(), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_name_that_is_no_files_name_is_left_out() {
        for name in ["", ".", "..", "a/b", "a\0", &"x".repeat(256)] {
            assert!(!is_name_of_a_file(name), "{name}");
        }
        assert!(is_name_of_a_file("pci.0") && is_name_of_a_file("device[3]"));
    }

    #[test]
    fn a_file_has_the_value_as_it_is_printed() {
        assert_eq!(content(&json!("pc")), b"pc\n");
        assert_eq!(content(&json!(true)), b"true\n");
        assert_eq!(content(&json!({"a": 1})), b"{\n  \"a\": 1\n}\n");
    }
}
