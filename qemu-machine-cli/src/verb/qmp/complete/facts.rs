//! What a machine has now: names that no schema knows.

use qemu_machine::qmp::schema::{SchemaType, TypeKind};

/// Answers what a machine has. An answer that cannot be had is empty.
pub(crate) trait Facts {
    /// The names of all that are of this kind.
    fn names(&self, kind: Kind) -> Vec<String>;

    /// The properties of an object (`qom-list`).
    fn children(&self, path: &str) -> Vec<Property>;

    /// The properties that a device can be made with (`device-list-properties`).
    fn device_properties(&self, driver: &str) -> Vec<Property>;

    /// What the human monitor says to `help`, or to `help TOPIC`.
    fn human_help(&self, topic: &str) -> String;
}

/// A property of an object or of a kind of device.
#[derive(Debug, Clone)]
pub(crate) struct Property {
    pub(crate) name: String,
    /// Its type, as QEMU has it: `bool`, `child<container>`.
    pub(crate) of: String,
}

impl Property {
    /// Whether it is another object.
    pub(crate) fn is_child(&self) -> bool {
        self.of.starts_with("child<") || self.of.starts_with("link<")
    }
}

/// What a name can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A device that has an id.
    Device,
    /// A kind of device.
    DeviceType,
    /// An object of `object-add`.
    Object,
    /// A kind of object.
    ObjectType,
    /// A node of the block layer.
    Node,
    /// A node, or a device.
    NodeOrDevice,
    Chardev,
    Job,
    BlockJob,
    Export,
    IoThread,
    QomPath,
    /// A property of the object that `path` names.
    QomProperty,
}

/// What the value of an argument names. QEMU's schema does not say; the names of
/// its commands and arguments do.
pub(super) fn kind(command: &str, name: &str, of: Option<SchemaType<'_>>) -> Option<Kind> {
    let by_command = match (command, name) {
        ("device_del", "id") => Kind::Device,
        ("device_add", "driver") | ("device-list-properties", "typename") => Kind::DeviceType,
        ("object-del", "id") => Kind::Object,
        ("qom-list-properties", "typename") | ("qom-list-types", "implements") => Kind::ObjectType,
        ("qom-get" | "qom-set", "property") => Kind::QomProperty,
        ("chardev-remove" | "chardev-change" | "chardev-send-break", "id")
        | ("ringbuf-read" | "ringbuf-write", "device")
        | (_, "chardev") => Kind::Chardev,
        ("block-export-del", "id") => Kind::Export,
        ("blockdev-add", "node-name" | "id") | ("device_add" | "object-add", "id") => return None,
        (command, "id") if command.starts_with("job-") => Kind::Job,
        (command, "device") if command.starts_with("block-job-") => Kind::BlockJob,
        ("eject" | "block_set_io_throttle", "id") => Kind::Device,
        (command, "id") if command.starts_with("blockdev-") => Kind::Device,
        ("qom-get" | "qom-set" | "qom-list", "path") | (_, "qom-path" | "qom_path") => {
            Kind::QomPath
        }
        (_, "iothread" | "iothread-id") => Kind::IoThread,
        ("device_add", "drive") | (_, "device") => Kind::NodeOrDevice,
        (_, "node" | "target" | "base-node" | "top-node" | "overlay") => Kind::Node,
        (_, name) if name.ends_with("node-name") => Kind::Node,
        _ => return is_node(of?).then_some(Kind::Node),
    };
    Some(by_command)
}

/// Whether a value is a node, by its name or described on the spot.
fn is_node(of: SchemaType<'_>) -> bool {
    let mut parts = of.parts();
    of.kind() == TypeKind::Alternate && parts.any(|it| it.tag() == Some("driver"))
}
