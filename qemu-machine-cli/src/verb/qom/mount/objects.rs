//! The objects of a QEMU, asked by its monitor for the file system.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qemu_machine::Wait;
use qemu_machine::error::{ErrorKind, ExecuteError};
use qemu_machine::qmp::Client;
use qemu_machine::qmp::error::ErrorClass;
use qemu_machine::qmp::qom::{QomGet, QomSet};
use serde_json::Value;

use super::entries::{Entry, entries};

/// Asks the monitor; keeps the last answers a moment.
pub(super) struct Objects {
    monitor: Client,
    root: String,
    timeout: Duration,
    /// The kernel looks up each entry of a directory by itself.
    lists: Mutex<HashMap<String, Listed>>,
}

/// A directory's entries, and when they were asked for.
type Listed = (Instant, Arc<Vec<Entry>>);

/// How a question failed, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such object.
    Missing,
    /// QEMU refuses it.
    Refused,
    /// QEMU does not answer.
    TimedOut,
    /// QEMU is gone.
    Gone,
}

impl Refusal {
    fn of(error: &ExecuteError) -> Self {
        match (error.reply(), error.kind()) {
            (Some(reply), _) if reply.class == ErrorClass::DeviceNotFound => Self::Missing,
            (Some(_), _) => Self::Refused,
            (None, ErrorKind::Timeout) => Self::TimedOut,
            (None, _) => Self::Gone,
        }
    }
}

impl Objects {
    pub(super) fn new(monitor: Client, root: String, timeout: Duration) -> Self {
        Self {
            monitor,
            root,
            timeout,
            lists: Mutex::default(),
        }
    }

    /// The entries of an object's directory. They are up to [`KEPT_FOR`] old.
    pub(super) fn list(&self, path: &str, now: Instant) -> Result<Arc<Vec<Entry>>, Refusal> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|_, (asked, _)| now.duration_since(*asked) < KEPT_FOR);
        if let Some((_, entries)) = lists.get(path) {
            return Ok(Arc::clone(entries));
        }
        drop(lists);
        let walk = self.monitor.walk_qom(path).depth(0).links(true);
        let objects = walk.timeout(self.timeout).wait();
        let objects = objects.map_err(|error| Refusal::of(&error))?;
        let entries = Arc::new(entries(&objects[0], &self.root));
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(path.to_owned(), (now, Arc::clone(&entries)));
        Ok(entries)
    }

    pub(super) fn get(&self, path: &str, property: &str) -> Result<Value, Refusal> {
        let get = self.monitor.execute(QomGet::new(path, property));
        let value = get.timeout(self.timeout).wait();
        value.map_err(|error| Refusal::of(&error))
    }

    pub(super) fn set(&self, path: &str, property: &str, value: Value) -> Result<(), Refusal> {
        let set = self.monitor.execute(QomSet::new(path, property, value));
        set.timeout(self.timeout)
            .wait()
            .map_err(|error| Refusal::of(&error))?;
        // A link may lead elsewhere now.
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.remove(path);
        Ok(())
    }
}

/// As long as one `ls -l` takes.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(1);
