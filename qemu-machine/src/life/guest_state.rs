//! The state of the guest, from the events of QEMU.
//!
//! ```text
//!            STOP, SUSPEND
//! Running ------------------> Paused --RESUME, WAKEUP--> Running
//!    |   GUEST_PANICKED (pause)  ^
//!    |-------------------> Panicked --RESET--> Paused
//!    |   SHUTDOWN, then STOP     |
//!    `-------------------> ShutDown --RESET--> Paused
//! ```
//!
//! Pure: an event and the time come in. The events are in
//! `qapi/run-state.json`, `qapi/block-core.json` and `qapi/migration.json` of
//! QEMU. `STOP` contains no reason; an event before it may announce the reason.

use std::fmt;
use std::time::{Duration, Instant};

use qemu_qmp::Event;
use serde_json::Value;

use crate::life::Shutdown;

/// Whether the guest runs, from the events of QEMU.
///
/// A machine without a monitor counts as running.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum GuestState {
    /// The guest runs.
    Running,
    /// The guest is paused, and `cont` or a fix of the reason resumes it.
    Paused {
        /// Why it is paused.
        reason: PauseReason,
        /// How long it has been paused.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        elapsed: Duration,
    },
    /// The guest shut down, and QEMU keeps it paused (`-no-shutdown`, or
    /// `-action shutdown=pause`). Only a reset makes it run again.
    ShutDown {
        /// The reason in the `SHUTDOWN` event, such as `guest-shutdown`.
        reason: String,
        /// How long it has been paused.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        elapsed: Duration,
    },
    /// The guest panicked, and QEMU keeps it paused (`-action panic=pause`).
    /// Only a reset makes it run again.
    Panicked {
        /// How long it has been paused.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        elapsed: Duration,
    },
}

/// Why a guest is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum PauseReason {
    /// It was launched paused (`-S`, `-preconfig`), and not started yet.
    NotStarted,
    /// It waits for an incoming migration (`-incoming`).
    Incoming,
    /// A command (`stop`), a debugger, or a cause that QEMU did not report.
    Stopped,
    /// A disk failed, and its `werror` or `rerror` is `stop`.
    IoError {
        /// The disk: the id of its `-drive`, or its node or device.
        disk: String,
        /// What failed, such as `No space left on device`.
        cause: String,
    },
    /// A watchdog expired, and its action is `pause`.
    Watchdog,
    /// The guest suspended itself to memory (ACPI S3).
    Suspended,
    /// It was reset while it was paused.
    Reset,
    /// Its state was migrated or saved as a whole.
    Migrated,
}

/// Why a guest is paused so that only a reset makes it run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PausedForGood {
    Panicked,
    ShutDown { reason: String },
}

/// What QEMU reported about the guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestRecord {
    phase: Phase,
    since: Instant,
    /// The reason of the next `STOP`.
    announced: Option<PauseReason>,
    /// The announced end of QEMU.
    shutdown: Option<Shutdown>,
    has_panicked: bool,
    resets: u64,
    stops: u64,
    /// Whether an event reported the phase.
    is_known: bool,
}

#[derive(Debug, Clone)]
enum Phase {
    Running,
    Paused(PauseReason),
    PausedForGood(PausedForGood),
}

impl GuestRecord {
    /// A guest that will run as soon as QEMU starts it.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Running,
            since: now,
            announced: None,
            shutdown: None,
            has_panicked: false,
            resets: 0,
            stops: 0,
            is_known: false,
        }
    }

    /// Processes an event. Returns `false` if nothing changes yet.
    pub(crate) fn take(&mut self, event: &Event, now: Instant) -> bool {
        let data = || -> Value { event.data().unwrap_or_default() };
        match event.name() {
            "SHUTDOWN" => self.shutdown = Some(Shutdown::parse(event)),
            "STOP" => {
                self.stops += 1;
                self.stopped(now);
            }
            "RESUME" | "WAKEUP" => {
                self.shutdown = None;
                self.announced = None;
                self.enter(Phase::Running, now);
            }
            "RESET" => {
                self.resets += 1;
                self.shutdown = None;
                self.announced = None;
                if !matches!(self.phase, Phase::Running) {
                    self.enter(Phase::Paused(PauseReason::Reset), now);
                }
            }
            "SUSPEND" => self.enter(Phase::Paused(PauseReason::Suspended), now),
            "GUEST_PANICKED" => {
                self.has_panicked = true;
                if data()["action"] == "pause" {
                    self.enter(Phase::PausedForGood(PausedForGood::Panicked), now);
                }
            }
            "BLOCK_IO_ERROR" => {
                let data = data();
                if data["action"] == "stop" {
                    self.announced = Some(io_error(&data));
                }
                return false;
            }
            "WATCHDOG" => {
                if data()["action"] == "pause" {
                    self.announced = Some(PauseReason::Watchdog);
                }
                return false;
            }
            "MIGRATION" if data()["status"] == "completed" => self.migrated(),
            _ => return false,
        }
        true
    }

    /// Records that the guest starts paused. An event is newer, and wins.
    pub(crate) fn begin(&mut self, reason: PauseReason, now: Instant) {
        if !self.is_known {
            self.enter(Phase::Paused(reason), now);
        }
    }

    /// The announced end of QEMU, if it was not withdrawn.
    pub(crate) fn shutdown(&self) -> Option<&Shutdown> {
        self.shutdown.as_ref()
    }

    /// Whether the guest ever panicked.
    pub(crate) fn has_panicked(&self) -> bool {
        self.has_panicked
    }

    /// How often the guest was paused. It may have been replaced by another one
    /// since: by a snapshot.
    pub(crate) fn stops(&self) -> u64 {
        self.stops
    }

    /// How often the guest was reset.
    pub(crate) fn resets(&self) -> u64 {
        self.resets
    }

    /// Why only a reset makes the guest run again, if so.
    pub(crate) fn paused_for_good(&self) -> Option<&PausedForGood> {
        match &self.phase {
            Phase::PausedForGood(reason) => Some(reason),
            _ => None,
        }
    }

    pub(crate) fn state(&self, now: Instant) -> GuestState {
        let elapsed = now.saturating_duration_since(self.since);
        match &self.phase {
            Phase::Running => GuestState::Running,
            Phase::Paused(reason) => GuestState::Paused {
                reason: reason.clone(),
                elapsed,
            },
            Phase::PausedForGood(PausedForGood::ShutDown { reason }) => GuestState::ShutDown {
                reason: reason.clone(),
                elapsed,
            },
            Phase::PausedForGood(PausedForGood::Panicked) => GuestState::Panicked { elapsed },
        }
    }

    fn stopped(&mut self, now: Instant) {
        // The STOP of a panic follows it.
        if let Phase::PausedForGood(PausedForGood::Panicked) = self.phase {
            return;
        }
        let phase = match (self.shutdown.take(), self.announced.take()) {
            // A QEMU that ends sends no STOP, so this one continues.
            (Some(Shutdown { reason, .. }), _) => {
                Phase::PausedForGood(PausedForGood::ShutDown { reason })
            }
            (None, Some(reason)) => Phase::Paused(reason),
            (None, None) => Phase::Paused(PauseReason::Stopped),
        };
        self.enter(phase, now);
    }

    /// A migration is complete. The guest stays paused, and its time keeps
    /// counting.
    fn migrated(&mut self) {
        if let Phase::Paused(reason) = &mut self.phase {
            match reason {
                PauseReason::Incoming => *reason = PauseReason::Stopped,
                PauseReason::Stopped => *reason = PauseReason::Migrated,
                _ => {}
            }
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
        self.is_known = true;
    }
}

impl PauseReason {
    /// Why a guest in this run state is paused (`RunState` in
    /// `qapi/run-state.json` of QEMU); `None` if it runs.
    pub(crate) fn of_run_state(state: &str) -> Option<Self> {
        Some(match state {
            "running" => return None,
            "prelaunch" | "preconfig" => Self::NotStarted,
            "inmigrate" => Self::Incoming,
            "watchdog" => Self::Watchdog,
            "suspended" => Self::Suspended,
            "postmigrate" => Self::Migrated,
            _ => Self::Stopped,
        })
    }
}

/// The reason in `BLOCK_IO_ERROR`. Its names depend on the version and on how
/// the disk was made.
fn io_error(data: &Value) -> PauseReason {
    let text = |key: &str| data[key].as_str().filter(|it| !it.is_empty());
    let names = ["device", "node-name", "qom-path"];
    let disk = names.into_iter().find_map(text).unwrap_or("a disk");
    PauseReason::IoError {
        disk: disk.to_owned(),
        cause: text("reason").unwrap_or("unknown error").to_owned(),
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("it was not started yet (-S)"),
            Self::Incoming => f.write_str("it waits for an incoming migration"),
            Self::Stopped => f.write_str("stopped by a command or a debugger"),
            Self::IoError { disk, cause } => write!(f, "I/O error on {disk}: {cause}"),
            Self::Watchdog => f.write_str("its watchdog expired"),
            Self::Suspended => f.write_str("it suspended itself"),
            Self::Reset => f.write_str("it was reset while paused"),
            Self::Migrated => f.write_str("its state was saved or moved"),
        }
    }
}

impl fmt::Display for GuestState {
    /// A clause: `the guest has been paused for 12.1s: I/O error on drive0: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("the guest runs"),
            Self::Paused { reason, elapsed } => {
                write!(f, "the guest has been paused for {elapsed:.1?}: {reason}")
            }
            Self::ShutDown { reason, elapsed } => write!(
                f,
                "the guest shut down ({reason}) {elapsed:.1?} ago, and QEMU keeps it paused \
                 (-no-shutdown)"
            ),
            Self::Panicked { elapsed } => write!(
                f,
                "the guest panicked {elapsed:.1?} ago, and QEMU keeps it paused"
            ),
        }
    }
}

/// A clause for an error; empty if the guest runs.
pub(crate) struct IfPaused<'a>(pub(crate) &'a GuestState);

impl fmt::Display for IfPaused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            GuestState::Running => Ok(()),
            paused => write!(f, "; {paused}"),
        }
    }
}

impl fmt::Display for PausedForGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked => f.write_str("the guest panicked, and QEMU keeps it paused"),
            Self::ShutDown { reason } => write!(
                f,
                "the guest shut down ({reason}), and QEMU keeps it paused (-no-shutdown)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use qemu_qmp::wire::{Connection, Output, Settings};

    use super::*;

    fn event(name: &str, data: &str) -> Event {
        let line = format!(
            r#"{{"timestamp": {{"seconds": 1, "microseconds": 2}}, "event": "{name}", "data": {data}}}"#
        );
        let mut settings = Settings::default();
        (settings.greeting, settings.negotiate) = (false, false);
        let mut connection = Connection::<()>::new(settings);
        connection
            .receive(format!("{line}\r\n").as_bytes())
            .unwrap();
        loop {
            if let Output::Event(event) = connection.poll_output().unwrap() {
                return event;
            }
        }
    }

    /// The state after these events, one second apart.
    fn after(events: &[(&str, &str)]) -> GuestRecord {
        let start = Instant::now();
        let mut record = GuestRecord::new(start);
        for (second, (name, data)) in events.iter().enumerate() {
            record.take(
                &event(name, data),
                start + Duration::from_secs(second as u64),
            );
        }
        record
    }

    #[test]
    fn a_stop_has_the_reason_that_was_announced() {
        let full = r#"{"device": "drive0", "action": "stop", "reason": "No space left on device"}"#;
        let reports = r#"{"device": "drive0", "action": "report", "reason": "x"}"#;
        for (events, expected) in [
            (&[("STOP", "{}")][..], "stopped by a command or a debugger"),
            (
                &[
                    ("BLOCK_IO_ERROR", full),
                    ("BLOCK_IO_ERROR", full),
                    ("STOP", "{}"),
                ],
                "I/O error on drive0: No space left on device",
            ),
            (
                &[("BLOCK_IO_ERROR", reports), ("STOP", "{}")],
                "stopped by a command or a debugger",
            ),
            (
                &[
                    ("BLOCK_IO_ERROR", full),
                    ("STOP", "{}"),
                    ("RESUME", "{}"),
                    ("STOP", "{}"),
                ],
                "stopped by a command or a debugger",
            ),
            (
                &[("WATCHDOG", r#"{"action": "pause"}"#), ("STOP", "{}")],
                "its watchdog expired",
            ),
            (&[("SUSPEND", "{}")], "it suspended itself"),
            (
                &[("STOP", "{}"), ("MIGRATION", r#"{"status": "completed"}"#)],
                "its state was saved or moved",
            ),
        ] {
            let record = after(events);
            let GuestState::Paused { reason, .. } = record.state(Instant::now()) else {
                panic!("{record:?}");
            };
            assert_eq!(reason.to_string(), expected);
            assert!(record.paused_for_good().is_none());
        }
    }

    #[test]
    fn a_disk_without_an_id_is_called_by_its_node_or_its_device() {
        let data = serde_json::json!({
            "device": "", "node-name": "disk-node", "qom-path": "/machine/x",
        });
        let io_error = io_error(&data).to_string();
        assert_eq!(io_error, "I/O error on disk-node: unknown error");
    }

    #[test]
    fn a_shutdown_pauses_the_guest_only_if_a_stop_follows() {
        let off = r#"{"guest": true, "reason": "guest-shutdown"}"#;
        let ending = after(&[("SHUTDOWN", off)]);
        assert!(ending.paused_for_good().is_none());
        assert!(ending.shutdown().is_some());

        let paused = after(&[("SHUTDOWN", off), ("STOP", "{}")]);
        let reason = "guest-shutdown".to_owned();
        assert_eq!(
            paused.paused_for_good(),
            Some(&PausedForGood::ShutDown { reason })
        );
        // It was not the end of QEMU.
        assert!(paused.shutdown().is_none());

        let again = after(&[("SHUTDOWN", off), ("STOP", "{}"), ("RESET", "{}")]);
        assert!(again.paused_for_good().is_none());
        assert_eq!(again.resets(), 1);
        let text = again
            .state(again.since + Duration::from_millis(1500))
            .to_string();
        let expected = "the guest has been paused for 1.5s: it was reset while paused";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_panic_pauses_until_a_reset_whatever_its_own_stop_says() {
        let paused = after(&[("GUEST_PANICKED", r#"{"action": "pause"}"#), ("STOP", "{}")]);
        assert_eq!(paused.paused_for_good(), Some(&PausedForGood::Panicked));
        let runs = after(&[("GUEST_PANICKED", r#"{"action": "run"}"#)]);
        assert!(runs.has_panicked() && runs.paused_for_good().is_none());
        assert_eq!(runs.state(Instant::now()), GuestState::Running);
    }

    #[test]
    fn a_guest_that_came_in_is_paused_and_not_awaited_any_more() {
        let mut record = GuestRecord::new(Instant::now());
        record.begin(PauseReason::Incoming, Instant::now());
        assert!(!record.take(
            &event("MIGRATION", r#"{"status": "active"}"#),
            Instant::now()
        ));
        assert!(record.take(
            &event("MIGRATION", r#"{"status": "completed"}"#),
            Instant::now()
        ));
        let reason = PauseReason::Stopped;
        assert!(
            matches!(record.state(Instant::now()), GuestState::Paused { reason: it, .. } if it == reason)
        );
    }

    #[test]
    fn a_reset_of_a_running_guest_leaves_it_running() {
        let record = after(&[("RESET", r#"{"guest": true, "reason": "guest-reset"}"#)]);
        assert_eq!(record.state(Instant::now()), GuestState::Running);
        assert_eq!(record.resets(), 1);
    }
}
