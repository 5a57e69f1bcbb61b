//! What a published machine says about itself.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::console::Console;
use crate::machine::{Handles, Inner};
use crate::process::place::absolute;
use crate::registry::{Announcement, ConsoleEntry, Entry};
use crate::spec::{ChannelConfig, MachineSpec, Monitor};

/// The announcement of a machine whose process was started just now; `None` if
/// the machine is not published.
pub(super) fn announcement(
    spec: &MachineSpec,
    inner: &Inner,
    console: &Console,
    handles: &Handles,
) -> Option<Announcement> {
    if !spec.is_published {
        return None;
    }
    let words = inner.command_line.words().iter();
    let entry = Entry {
        name: inner.name.clone(),
        owner_pid: std::process::id(),
        ends_owner: spec.ends_owner,
        pid: inner.pid,
        since: SystemTime::now(),
        binary: PathBuf::from(&spec.binary),
        command_line: words
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        log: absolute(&inner.log),
        transcript: inner.transcript.as_deref().map(absolute),
        has_monitor: !matches!(spec.monitor, Monitor::Off),
        has_guest_agent: spec.has_guest_agent(),
        consoles: consoles(spec, console, handles),
    };
    Some(Announcement {
        agent: entry.has_guest_agent.then(|| handles.agent.clone()),
        quit_timeout: inner.quit_timeout,
        terminate_timeout: inner.terminate_timeout,
        entry,
    })
}

/// The consoles that can be served: not those whose socket the caller has.
fn consoles(spec: &MachineSpec, first: &Console, handles: &Handles) -> Vec<ConsoleEntry> {
    let served = |channel: &ChannelConfig| match channel {
        ChannelConfig::Console(name, config) if config.is_drained() => {
            let console = match name {
                None => Some(first),
                Some(name) => handles
                    .consoles
                    .iter()
                    .find(|it| it.0 == *name)
                    .map(|it| &it.1),
            };
            let log = console.and_then(Console::log_path);
            Some(ConsoleEntry::new(name.clone(), log))
        }
        _ => None,
    };
    spec.channels.iter().filter_map(served).collect()
}
