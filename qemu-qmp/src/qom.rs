//! QEMU's object model (QOM): its commands as types, and what they return.
//!
//! Every part of a machine is an object with a path, such as
//! `/machine/peripheral/disk0`. An object has properties. A property of type
//! `child<T>` is an object below it, and one of type `link<T>` is the path of
//! another object.
//!
//! A path without a slash at its beginning is a partial path: QEMU finds the
//! object whose path ends so, if there is only one. So a device's id is a path.
//!
//! [`Client::walk_qom`](crate::Client::walk_qom) reads a whole tree.

use serde_core::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::command::Command;
use crate::wire::ErrorReply;

/// `qom-list`: the properties of an object, in no order.
///
/// # Examples
/// ```no_run
/// use qemu_qmp::qom::{PropertyKind, QomList};
/// use qemu_qmp::{Client, Wait};
///
/// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
/// for property in qmp.execute(QomList::new("/machine/peripheral")).wait()? {
///     if let PropertyKind::Child(type_name) = property.kind() {
///         println!("{} is a {type_name}", property.name);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QomList {
    path: String,
}

impl QomList {
    /// The object with this path, absolute or partial.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into() }
    }
}

impl Command for QomList {
    const NAME: &'static str = "qom-list";
    type Return = Vec<Property>;
}

impl Serialize for QomList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_map(Some(1))?;
        arguments.serialize_entry("path", &self.path)?;
        arguments.end()
    }
}

/// `qom-get`: the value of a property.
///
/// # Examples
/// ```no_run
/// use qemu_qmp::qom::QomGet;
/// use qemu_qmp::{Client, Wait};
///
/// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
/// println!("{}", qmp.execute(QomGet::new("/machine", "type")).wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QomGet {
    path: String,
    property: String,
}

impl QomGet {
    /// This property of the object with this path, absolute or partial.
    pub fn new(path: impl Into<String>, property: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            property: property.into(),
        }
    }
}

impl Command for QomGet {
    const NAME: &'static str = "qom-get";
    type Return = Value;
}

impl Serialize for QomGet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_map(Some(2))?;
        arguments.serialize_entry("path", &self.path)?;
        arguments.serialize_entry("property", &self.property)?;
        arguments.end()
    }
}

/// `qom-set`: a new value for a property. Many properties can be set only
/// before their device works, or never.
#[derive(Debug, Clone, PartialEq)]
pub struct QomSet {
    path: String,
    property: String,
    value: Value,
}

impl QomSet {
    /// This property of the object with this path, absolute or partial. The
    /// value must have the property's type: QEMU converts nothing.
    pub fn new(
        path: impl Into<String>,
        property: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        Self {
            path: path.into(),
            property: property.into(),
            value: value.into(),
        }
    }
}

impl Command for QomSet {
    const NAME: &'static str = "qom-set";
    type Return = IgnoredAny;
}

impl Serialize for QomSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_map(Some(3))?;
        arguments.serialize_entry("path", &self.path)?;
        arguments.serialize_entry("property", &self.property)?;
        arguments.serialize_entry("value", &self.value)?;
        arguments.end()
    }
}

/// A property of an object, without its value (`ObjectPropertyInfo` in QEMU's
/// schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// Its name.
    pub name: String,
    /// The name of its type, such as `bool`, `uint16`, `child<VGA>` or
    /// `link<irq>`.
    pub type_name: String,
}

/// What a property is, by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyKind<'a> {
    /// An object of this type, below the object that has the property.
    Child(&'a str),
    /// The path of an object of this type, or an empty text for none.
    Link(&'a str),
    /// A value of this type.
    Value(&'a str),
}

impl Property {
    /// What it is.
    pub fn kind(&self) -> PropertyKind<'_> {
        let inner = |prefix| self.type_name.strip_prefix(prefix)?.strip_suffix('>');
        match (inner("child<"), inner("link<")) {
            (Some(child), _) => PropertyKind::Child(child),
            (None, Some(link)) => PropertyKind::Link(link),
            (None, None) => PropertyKind::Value(&self.type_name),
        }
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let (Some(name), Some(type_name)) = (reply["name"].as_str(), reply["type"].as_str()) else {
            return Err(D::Error::custom("a property without `name` or `type`"));
        };
        Ok(Self {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
        })
    }
}

/// An object of a tree that [`Client::walk_qom`](crate::Client::walk_qom) read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Object {
    /// Its path. It begins with the path of the walk.
    pub path: String,
    /// Its type, such as `VGA`. `None` if QEMU refused it for the first object.
    pub type_name: Option<String>,
    /// How far it is below the first object, which has 0.
    pub depth: usize,
    /// Its properties, by name. The objects below it are among them, even if they
    /// are too deep for the walk.
    pub properties: Vec<ObjectProperty>,
    /// Why QEMU did not list its properties, if it refused. For example, the
    /// object was removed during the walk.
    pub refusal: Option<ErrorReply>,
}

/// A property of an [`Object`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObjectProperty {
    /// Its name and type.
    pub property: Property,
    /// Its value, or why QEMU refused it. `None` for a child, and for a walk
    /// without values.
    pub value: Option<Result<Value, ErrorReply>>,
}

/// The path of a child, or of any property's object.
pub fn child_path(path: &str, name: &str) -> String {
    format!("{}/{name}", path.strip_suffix('/').unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_a_child_a_link_or_a_value_by_its_type() {
        let table = [
            ("child<container>", PropertyKind::Child("container")),
            ("link<pci-bus>", PropertyKind::Link("pci-bus")),
            ("uint8", PropertyKind::Value("uint8")),
            ("child<", PropertyKind::Value("child<")),
            ("", PropertyKind::Value("")),
        ];
        for (type_name, kind) in table {
            let property = serde_json::json!({"name": "a", "type": type_name, "description": "x"});
            let property: Property = serde_json::from_value(property).unwrap();
            assert_eq!(property.kind(), kind, "{type_name}");
        }
        assert!(serde_json::from_str::<Property>(r#"{"name": "a"}"#).is_err());
        assert!(serde_json::from_str::<Property>("[]").is_err());
    }

    #[test]
    fn a_childs_path_has_one_slash_more() {
        assert_eq!(child_path("/", "machine"), "/machine");
        assert_eq!(child_path("/machine", "pci.0"), "/machine/pci.0");
        assert_eq!(child_path("disk0", "bus"), "disk0/bus");
    }
}
