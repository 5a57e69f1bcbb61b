//! The devices and media of a machine, as QEMU lists them. A clone is launched
//! with those of the command line, so a freeze compares them with the launch.

use std::collections::BTreeMap;

use qemu_qmp::Client;
use qemu_qmp::error::ExecuteError;
use serde_json::{Value, json};

/// What can be added or changed while QEMU runs.
#[derive(Debug, Default)]
pub(crate) struct Hardware {
    /// The type of each device that was added by an option or a command, by its
    /// name among QEMU's objects.
    devices: BTreeMap<String, String>,
    /// The medium of each drive, by the id of the drive or of its device.
    media: BTreeMap<String, String>,
}

impl Hardware {
    /// Asks QEMU.
    pub(crate) async fn ask(client: &Client) -> Result<Self, ExecuteError> {
        let mut hardware = Self::default();
        for parent in ["peripheral", "peripheral-anon"] {
            let path = format!("/machine/{parent}");
            let list = client.execute_json("qom-list", json!({"path": path}));
            let list: Value = list.timeout(None).await?;
            hardware.devices.extend(devices(&list));
        }
        let blocks = client.execute_json("query-block", ());
        hardware.media = media(&blocks.timeout(None).await?);
        Ok(hardware)
    }

    /// The first difference of a later answer, in words.
    pub(crate) fn change(&self, later: &Self) -> Option<String> {
        let devices = differences(&self.devices, &later.devices).map(|(name, before, now)| {
            let device = now.or(before).unwrap_or_default();
            let done = if now.is_some() { "added" } else { "removed" };
            format!("the device '{name}' ({device}) was {done}")
        });
        let media = differences(&self.media, &later.media).map(|(name, before, now)| {
            let medium = |it: Option<&str>| it.unwrap_or("nothing").to_owned();
            let (before, now) = (medium(before), medium(now));
            format!("the drive '{name}' has {now} instead of {before}")
        });
        devices.chain(media).next()
    }
}

fn devices(list: &Value) -> impl Iterator<Item = (String, String)> {
    let members = list.as_array().into_iter().flatten();
    members.filter_map(|member| {
        let kind = text(&member["type"]).strip_prefix("child<")?;
        let kind = kind.strip_suffix('>')?;
        Some((text(&member["name"]).to_owned(), kind.to_owned()))
    })
}

fn media(blocks: &Value) -> BTreeMap<String, String> {
    let drives = blocks.as_array().into_iter().flatten();
    let drives = drives.map(|drive| {
        // That of `-blockdev` has only the name of its device.
        let names = [&drive["device"], &drive["qdev"]].map(text);
        let name = names.into_iter().find(|name| !name.is_empty());
        let medium = &drive["inserted"];
        let read_only = if medium["ro"] == true {
            ", read-only"
        } else {
            ""
        };
        let described = match medium["file"].as_str() {
            Some(file) => format!("{file} ({}{read_only})", text(&medium["drv"])),
            None => "no medium".to_owned(),
        };
        (name.unwrap_or_default().to_owned(), described)
    });
    drives.collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The names whose values differ, with the values.
fn differences<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, Option<&'a str>, Option<&'a str>)> {
    let gone = before.keys().filter(|&name| !now.contains_key(name));
    let names = now.keys().chain(gone);
    let both = names.map(move |name| {
        let value = |of: &'a BTreeMap<String, String>| of.get(name).map(String::as_str);
        (name.as_str(), value(before), value(now))
    });
    both.filter(|(_, before, now)| before != now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(list: &Value, blocks: &Value) -> Hardware {
        Hardware {
            devices: devices(list).collect(),
            media: media(blocks),
        }
    }

    #[test]
    fn a_change_has_a_name_and_what_does_not_matter_is_no_change() {
        let card = json!({"name": "card", "type": "child<e1000>"});
        let kind = json!({"name": "type", "type": "string"});
        let disk = |file: &str, node: &str| {
            json!({"device": "d", "inserted": {
                "file": file, "drv": "raw", "ro": false, "node-name": node}})
        };
        let tray = json!({"device": "", "qdev": "/machine/x", "tray_open": false});
        let before = hardware(&json!([kind]), &json!([disk("/a", "#1"), tray]));
        let open = json!({"device": "", "qdev": "/machine/x", "tray_open": true});
        let same = hardware(&json!([kind]), &json!([open, disk("/a", "#2")]));
        assert_eq!(before.change(&same), None);
        let more = hardware(&json!([kind, card]), &json!([disk("/a", "#1"), tray]));
        let added = "the device 'card' (e1000) was added";
        assert_eq!(before.change(&more).unwrap(), added);
        let removed = "the device 'card' (e1000) was removed";
        assert_eq!(more.change(&before).unwrap(), removed);
        let other = hardware(&json!([kind]), &json!([disk("/b", "#1"), tray]));
        let changed = "the drive 'd' has /b (raw) instead of /a (raw)";
        assert_eq!(before.change(&other).unwrap(), changed);
        let fewer = hardware(&json!([kind]), &json!([disk("/a", "#1")]));
        let gone = "the drive '/machine/x' has nothing instead of no medium";
        assert_eq!(before.change(&fewer).unwrap(), gone);
    }
}
