//! Fuzzes what is read of a published machine: its file, and its clients.
#![allow(clippy::missing_panics_doc)]

use std::time::SystemTime;

use super::entry::Entry;
use super::{report_json, serve};

/// Reads any file `machine.json`, any report, and any client's bytes. An entry
/// that is read is written as what it was read from.
pub fn published(input: &[u8]) {
    if let Ok(value) = serde_json::from_slice(input) {
        if let Some(entry) = Entry::of_json(&value) {
            let again = Entry::of_json(&entry.to_json()).expect("it was written by us");
            // A time may be rounded once more.
            let timeless = |entry| Entry {
                since: SystemTime::UNIX_EPOCH,
                ..entry
            };
            assert_eq!(timeless(entry), timeless(again));
        }
        let _ = report_json::read_report(&value);
    }
    serve::fuzzing::client(input);
}
