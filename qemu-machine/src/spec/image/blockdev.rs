//! The disks that `-blockdev` adds, in the plain forms:
//!
//! ```text
//! driver=qcow2,node-name=D,file.driver=file,file.filename=IMAGE
//! driver=file,filename=IMAGE,node-name=F   and   driver=qcow2,node-name=D,file=F
//! ```
//!
//! `raw` may stand for `qcow2`. The same may be JSON. What is read-only stays as
//! it is.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde_json::Value;

use super::group::{json, members, switch};
use super::options::given;
use crate::spec::OptionGroup;

/// A writable disk.
#[derive(Debug)]
pub(super) struct BlockDisk {
    /// The index of its value among the arguments.
    pub(super) argument: usize,
    pub(super) base: PathBuf,
    pub(super) format: String,
    /// The options but those of the image.
    pub(super) options: OptionGroup,
    /// The node of its file, if another value adds that: the index, and a value
    /// that does not write.
    pub(super) file: Option<(usize, OptionGroup)>,
}

/// A value of `-blockdev`.
struct Node<'a> {
    argument: usize,
    value: &'a OsStr,
    members: Vec<(String, Option<OsString>)>,
}

impl Node<'_> {
    fn get(&self, key: &str) -> Option<&OsStr> {
        // QEMU takes the last one.
        let member = self.members.iter().rfind(|(name, _)| name == key);
        member.and_then(|(_, value)| value.as_deref())
    }

    fn is_read_only(&self) -> bool {
        self.get("read-only").and_then(switch) == Some(true)
    }

    fn driver(&self) -> Option<&str> {
        self.get("driver")?.to_str()
    }

    /// The disk of this node; `None` if it has another form.
    fn disk(&self, nodes: &[Node<'_>]) -> Option<BlockDisk> {
        let format = self.driver().filter(|it| ["raw", "qcow2"].contains(it))?;
        let (base, file) = match self.get("file") {
            Some(name) => {
                let file = nodes
                    .iter()
                    .find(|node| node.get("node-name") == Some(name))?;
                let only = nodes.iter().filter(|node| node.get("file") == Some(name));
                if file.driver() != Some("file") || only.count() != 1 {
                    return None;
                }
                (file.get("filename")?, Some((file.argument, file.fixed())))
            }
            None if self.get("file.driver")? == "file" => (self.get("file.filename")?, None),
            None => return None,
        };
        let mut options = OptionGroup::default();
        for (key, value) in &self.members {
            let value = value.as_deref()?;
            match key.as_str() {
                "driver" | "file" | "file.driver" | "file.filename" => {}
                // The image would begin elsewhere, or have another base.
                "offset" | "size" => return None,
                key if key.starts_with("backing") || key.starts_with("file.") => return None,
                key => options = options.set(key, value),
            }
        }
        Some(BlockDisk {
            argument: self.argument,
            base: base.into(),
            format: format.to_owned(),
            options,
            file,
        })
    }

    /// The same node, which does not write.
    fn fixed(&self) -> OptionGroup {
        let others = self.members.iter().filter(|(key, _)| key != "read-only");
        let group = others.fold(OptionGroup::default(), |group, (key, value)| {
            group.set(key.as_str(), value.as_deref().unwrap_or_default())
        });
        group.set("read-only", "on")
    }
}

/// The members of a value: those of JSON get names with dots.
fn node_members(value: &OsStr) -> Vec<(String, Option<OsString>)> {
    let mut flat = Vec::new();
    if let Some(Value::Object(members)) = json(value) {
        for (key, value) in members {
            flatten(key, value, &mut flat);
        }
        return flat;
    }
    flat = members(value);
    // The first word may be the driver alone.
    if let Some((key, value @ None)) = flat.first_mut() {
        *value = Some(std::mem::replace(key, "driver".to_owned()).into());
    }
    flat
}

fn flatten(key: String, value: Value, flat: &mut Vec<(String, Option<OsString>)>) {
    let text = match value {
        Value::Object(members) => {
            for (member, value) in members {
                flatten(format!("{key}.{member}"), value, flat);
            }
            return;
        }
        Value::Array(values) => {
            for (index, value) in values.into_iter().enumerate() {
                flatten(format!("{key}.{index}"), value, flat);
            }
            return;
        }
        // It cannot be written as `key=value`.
        Value::Null => None,
        Value::Bool(on) => Some(if on { "on" } else { "off" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text),
    };
    flat.push((key, text.map(OsString::from)));
}

/// The writable disks. Fails with the value that has another form.
pub(super) fn disks(arguments: &[OsString]) -> Result<Vec<BlockDisk>, &OsStr> {
    let added = given(arguments).filter(|it| it.name == Some("blockdev"));
    let nodes: Vec<Node<'_>> = added
        .filter_map(|option| {
            let value = option.value?;
            Some(Node {
                argument: option.index + 1,
                value,
                members: node_members(value),
            })
        })
        .collect();
    let (mut disks, mut files, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for node in nodes.iter().filter(|node| !node.is_read_only()) {
        match node.disk(&nodes) {
            Some(disk) => {
                files.extend(disk.file.as_ref().map(|(argument, _)| *argument));
                disks.push(disk);
            }
            None => left.push(node),
        }
    }
    match left.iter().find(|node| !files.contains(&node.argument)) {
        Some(node) => Err(node.value),
        None => Ok(disks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(Into::into).collect()
    }

    #[test]
    fn plain_forms_are_read_and_others_are_refused_by_their_value() {
        let given = words(
            "-blockdev driver=file,filename=/a,node-name=f -m 1G -blockdev \
             node-name=d,file=f,driver=qcow2,discard=unmap -blockdev \
             driver=raw,node-name=e,file.driver=file,file.filename=/b -blockdev \
             driver=raw,read-only=on,file=x",
        );
        let disks = disks(&given).unwrap();
        let seen: Vec<_> = disks
            .iter()
            .map(|it| (it.argument, it.base.to_str().unwrap(), &*it.format))
            .collect();
        assert_eq!(seen, [(5, "/a", "qcow2"), (7, "/b", "raw")]);
        assert_eq!(disks[0].options.as_os_str(), "node-name=d,discard=unmap");
        let (argument, fixed) = disks[0].file.as_ref().unwrap();
        assert_eq!(*argument, 1);
        assert_eq!(
            fixed.as_os_str(),
            "driver=file,filename=/a,node-name=f,read-only=on"
        );
        for value in [
            "driver=file,filename=x",
            "driver=nbd,server.type=unix",
            "driver=qcow2,file.driver=nbd,file.filename=x",
            "driver=qcow2,file.driver=file,file.filename=x,backing=y",
            "driver=raw,file.driver=file,file.filename=x,offset=512",
            "driver=raw,file=missing",
            "{\"driver\": \"file\", \"filename\": \"x\"}",
            r#"{"driver":"qcow2","file":"f","backing":{"driver":"file","read-only": true}}"#,
            r#"{"driver":"qcow2","file":{"driver":"file","filename":"x"},"backing":null}"#,
            r#"{"driver":"nbd","export":"\"read-only\": true"}"#,
            "{",
        ] {
            let given = [OsString::from("-blockdev"), value.into()];
            assert_eq!(super::disks(&given).unwrap_err(), value);
        }
        let shared = words(
            "-blockdev driver=file,filename=x,node-name=f -blockdev driver=raw,file=f,node-name=a -blockdev driver=raw,file=f,node-name=b",
        );
        assert!(super::disks(&shared).is_err());
    }

    #[test]
    fn json_is_read_as_the_same_options() {
        let given = [
            "-blockdev",
            r#"{"driver": "qcow2", "node-name": "d", "discard": "unmap", "read-only": false,
                "file": {"driver": "file", "filename": "/a,b", "read-only": true}}"#,
        ];
        let refused = given.map(OsString::from);
        assert_eq!(super::disks(&refused).unwrap_err(), given[1]);
        let given = given.map(|it| it.replace(", \"read-only\": true", "").into());
        let disks = disks(&given).unwrap();
        assert_eq!(disks[0].base.to_str(), Some("/a,b"));
        let mut options: Vec<_> = members(disks[0].options.as_os_str());
        options.sort();
        let options: Vec<_> = options.iter().map(|(key, _)| &**key).collect();
        assert_eq!(options, ["discard", "node-name", "read-only"]);
    }

    #[test]
    fn what_is_read_only_at_the_top_stays() {
        for value in [
            r#"{"driver":"nbd","read-only":true}"#,
            r#"{"driver": "qcow2", "read-only" : true, "backing": null}"#,
            "nbd,read-only=y",
            "driver=nbd,read-only=off,read-only=true",
        ] {
            let given = [OsString::from("-blockdev"), value.into()];
            assert_eq!(super::disks(&given).unwrap().len(), 0, "{value}");
        }
        for off in ["no", "off"] {
            let value = format!("qcow2,file.driver=file,file.filename=/a,read-only={off}");
            let given = [OsString::from("-blockdev"), value.into()];
            assert_eq!(super::disks(&given).unwrap().len(), 1, "{off}");
        }
    }
}
