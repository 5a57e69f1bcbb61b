//! Pure: the disks of a machine and their snapshots, from the reply to
//! `query-block` (`qapi/block-core.json` of QEMU).

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Snapshot, SnapshotFailure};

/// A writable disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// The name of its node, for commands.
    pub(super) node: String,
    /// The name for messages: of its drive, or of its node.
    name: String,
    /// The driver of its node, such as `qcow2`.
    driver: String,
    snapshots: Vec<InDisk>,
}

/// A snapshot in one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InDisk {
    name: String,
    id: String,
    memory_bytes: u64,
    taken: SystemTime,
    guest_clock: Duration,
}

/// The writable disks of a guest. If `nodes` is not empty, only these, in their
/// order.
pub(super) fn read(blocks: &Value, nodes: &[String]) -> Result<Vec<Disk>, SnapshotFailure> {
    let mut disks: Vec<Disk> = Vec::new();
    for disk in blocks
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Disk::read)
    {
        if disks.iter().all(|other| other.node != disk.node) {
            disks.push(disk);
        }
    }
    if nodes.is_empty() {
        return Ok(disks);
    }
    let mut chosen = Vec::new();
    for node in nodes {
        match disks.iter().find(|disk| disk.node == *node) {
            Some(disk) => chosen.push(disk.clone()),
            None => return Err(SnapshotFailure::NoSuchDisk { node: node.clone() }),
        }
    }
    Ok(chosen)
}

impl Disk {
    fn read(block: &Value) -> Option<Self> {
        // Without a medium there is no disk.
        let medium = &block["inserted"];
        let node = medium["node-name"].as_str()?;
        if medium["ro"] != false {
            return None;
        }
        let device = block["device"].as_str().filter(|name| !name.is_empty());
        let snapshots = medium["image"]["snapshots"].as_array();
        Some(Self {
            node: node.to_owned(),
            name: device.unwrap_or(node).to_owned(),
            driver: medium["drv"].as_str().unwrap_or_default().to_owned(),
            snapshots: snapshots.into_iter().flatten().map(InDisk::read).collect(),
        })
    }

    fn find(&self, name: &str) -> Option<&InDisk> {
        self.snapshots.iter().find(|it| it.name == name)
    }
}

impl InDisk {
    fn read(info: &Value) -> Self {
        let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| info[key].as_u64().unwrap_or_default();
        let time = |seconds: &str, nanos: &str| {
            Duration::from_secs(number(seconds)) + Duration::from_nanos(number(nanos))
        };
        Self {
            name: text("name"),
            id: text("id"),
            memory_bytes: number("vm-state-size"),
            taken: SystemTime::UNIX_EPOCH + time("date-sec", "date-nsec"),
            guest_clock: time("vm-clock-sec", "vm-clock-nsec"),
        }
    }
}

/// The node that will store the memory of a new snapshot.
pub(super) fn to_save<'a>(disks: &'a [Disk], name: &str) -> Result<&'a str, SnapshotFailure> {
    if name.is_empty() || name.len() > NAME_BYTES {
        let reason = "it must have 1 to 255 bytes";
        return Err(SnapshotFailure::Name { reason });
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        let reason = "QEMU reads a number as the id of a snapshot; add a letter";
        return Err(SnapshotFailure::Name { reason });
    }
    let cannot = |disk: &&Disk| !HOLDERS.contains(&disk.driver.as_str());
    let unable: Vec<&Disk> = disks.iter().filter(cannot).collect();
    if !unable.is_empty() {
        let disks = unable.into_iter();
        return Err(SnapshotFailure::Disks {
            disks: disks
                .map(|it| (it.name.clone(), it.driver.clone()))
                .collect(),
        });
    }
    let mut by_itself = disks.iter().filter(|disk| disk.driver == "qcow2");
    let first = by_itself.next().or(disks.first());
    first.map(|disk| &*disk.node).ok_or(SnapshotFailure::NoDisk)
}

/// The node with the memory of a snapshot that all disks have.
pub(super) fn to_load<'a>(disks: &'a [Disk], name: &str) -> Result<&'a str, SnapshotFailure> {
    let without: Vec<String> = disks
        .iter()
        .filter(|disk| disk.find(name).is_none())
        .map(|disk| disk.name.clone())
        .collect();
    if without.len() == disks.len() {
        return Err(not_found(disks));
    }
    if !without.is_empty() {
        return Err(SnapshotFailure::Lacking { disks: without });
    }
    // With qcow2, QEMU prefers the snapshot with this id.
    let is_other = |it: &InDisk| it.id == name && it.name != name;
    if disks.iter().any(|disk| disk.snapshots.iter().any(is_other)) {
        let reason = "it is the id of another snapshot, which QEMU would load instead";
        return Err(SnapshotFailure::Name { reason });
    }
    let has_memory = |disk: &&Disk| disk.find(name).is_some_and(|it| it.memory_bytes > 0);
    let mut with_memory = disks.iter().filter(has_memory);
    let first = with_memory.next();
    first
        .map(|disk| &*disk.node)
        .ok_or(SnapshotFailure::NoMemory)
}

/// The nodes with this snapshot.
pub(super) fn to_delete<'a>(
    disks: &'a [Disk],
    name: &str,
) -> Result<Vec<&'a str>, SnapshotFailure> {
    let with = disks.iter().filter(|disk| disk.find(name).is_some());
    let nodes: Vec<&str> = with.map(|disk| &*disk.node).collect();
    if nodes.is_empty() {
        return Err(not_found(disks));
    }
    Ok(nodes)
}

/// The snapshots of all disks, each once, in the order of their time.
pub(super) fn list(disks: &[Disk]) -> Vec<Snapshot> {
    let mut all: Vec<Snapshot> = Vec::new();
    for disk in disks {
        for found in &disk.snapshots {
            let node = disk.node.clone();
            if let Some(listed) = all.iter_mut().find(|it| it.name == found.name) {
                listed.memory_bytes = listed.memory_bytes.max(found.memory_bytes);
                listed.disks.push(node);
                continue;
            }
            all.push(Snapshot {
                name: found.name.clone(),
                memory_bytes: found.memory_bytes,
                taken: found.taken,
                guest_clock: found.guest_clock,
                disks: vec![node],
            });
        }
    }
    all.sort_by_key(|it| it.taken);
    all
}

fn not_found(disks: &[Disk]) -> SnapshotFailure {
    let existing = list(disks).into_iter().map(|it| it.name);
    SnapshotFailure::NotFound {
        existing: existing.collect(),
    }
}

/// The drivers that can store a snapshot: formats that do, and filters, which
/// pass it to the node below.
const HOLDERS: [&str; 7] = [
    "qcow2",
    "rbd",
    "blkdebug",
    "compress",
    "copy-on-read",
    "preallocate",
    "throttle",
];

/// QEMU truncates a longer name (`name[256]` in its `QEMUSnapshotInfo`).
const NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A disk as in `query-block`, with the id, name and memory of its
    /// snapshots.
    fn block(device: &str, node: &str, driver: &str, snapshots: &[(&str, &str, u64)]) -> Value {
        let snapshots: Vec<Value> = snapshots
            .iter()
            .map(|(id, name, bytes)| {
                json!({
                    "id": id, "name": name, "vm-state-size": bytes, "date-sec": 100,
                    "date-nsec": 5, "vm-clock-sec": 1, "vm-clock-nsec": 500_000_000,
                })
            })
            .collect();
        json!({
            "device": device,
            "inserted": {
                "node-name": node, "drv": driver, "ro": false, "image": {"snapshots": snapshots},
            },
        })
    }

    fn disks(blocks: &[Value]) -> Vec<Disk> {
        read(&json!(blocks), &[]).unwrap()
    }

    #[test]
    fn writable_disks_are_found_each_once_or_as_they_are_named() {
        let mut read_only = block("cd", "r", "raw", &[]);
        read_only["inserted"]["ro"] = true.into();
        let blocks = json!([
            block("", "a", "qcow2", &[]),
            block("", "a", "qcow2", &[]),
            read_only,
            {"device": "floppy0"},
            block("hd", "#block7", "qcow2", &[]),
        ]);
        let nodes = |of: &[String]| -> Vec<String> {
            read(&blocks, of)
                .unwrap()
                .into_iter()
                .map(|it| it.node)
                .collect()
        };
        assert_eq!(nodes(&[]), ["a", "#block7"]);
        let named = ["#block7".to_owned()];
        assert_eq!(nodes(&named), named);
        let error = read(&blocks, &["r".to_owned()]).unwrap_err();
        assert!(matches!(error, SnapshotFailure::NoSuchDisk { .. }));
        assert_eq!(read(&Value::Null, &[]).unwrap(), []);
    }

    #[test]
    fn a_disk_that_cannot_hold_a_snapshot_is_named_and_so_is_a_bad_name() {
        let all = disks(&[
            block("", "t", "throttle", &[]),
            block("", "q", "qcow2", &[]),
        ]);
        assert_eq!(to_save(&all, "s").unwrap(), "q");
        assert!(matches!(to_save(&[], "s"), Err(SnapshotFailure::NoDisk)));
        let all = disks(&[
            block("hd", "#block1", "raw", &[]),
            block("", "q", "qcow2", &[]),
        ]);
        let Err(SnapshotFailure::Disks { disks: named }) = to_save(&all, "s") else {
            panic!();
        };
        assert_eq!(named, [("hd".to_owned(), "raw".to_owned())]);
        for name in ["", "17", &"n".repeat(256)] {
            assert!(matches!(
                to_save(&all, name),
                Err(SnapshotFailure::Name { .. })
            ));
        }
    }

    #[test]
    fn a_snapshot_is_loaded_only_if_each_disk_has_it_and_one_its_memory() {
        let all = disks(&[
            block(
                "",
                "a",
                "qcow2",
                &[("1", "s", 0), ("2", "only-a", 9), ("3", "1", 9)],
            ),
            block(
                "",
                "b",
                "qcow2",
                &[("1", "s", 9), ("2", "1", 0), ("3", "cold", 0)],
            ),
        ]);
        assert_eq!(to_load(&all, "s").unwrap(), "b");
        let Err(SnapshotFailure::Lacking { disks }) = to_load(&all, "only-a") else {
            panic!();
        };
        assert_eq!(disks, ["b"]);
        let Err(SnapshotFailure::NotFound { existing }) = to_load(&all, "none") else {
            panic!();
        };
        assert_eq!(existing, ["s", "only-a", "1", "cold"]);
        assert!(matches!(
            to_load(&all, "1"),
            Err(SnapshotFailure::Name { .. })
        ));
        let cold = to_load(&all[1..], "cold");
        assert!(matches!(cold, Err(SnapshotFailure::NoMemory)));
        assert_eq!(to_delete(&all, "cold").unwrap(), ["b"]);
    }

    #[test]
    fn snapshots_are_listed_once_with_the_disks_that_have_them() {
        let all = disks(&[
            block("", "a", "qcow2", &[("1", "s", 0)]),
            block("", "b", "qcow2", &[("1", "s", 9)]),
        ]);
        let [found] = list(&all).try_into().unwrap();
        assert_eq!((&*found.name, found.memory_bytes), ("s", 9));
        assert_eq!(found.disks, ["a", "b"]);
        assert_eq!(found.guest_clock, Duration::from_millis(1500));
        let taken = found.taken.duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(taken.unwrap(), Duration::new(100, 5));
    }
}
