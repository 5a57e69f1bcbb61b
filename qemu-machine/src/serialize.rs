//! Reports and specs for `serde`, with the feature of that name.
//!
//! Durations are seconds. Bytes, paths and words are text, with U+FFFD in place
//! of what is no UTF-8. Names of variants are in `snake_case`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::accel::AccelFinding;
use crate::spec::{CommandLine, Monitor};
use crate::{Accel, MachineSpec};

pub(crate) fn seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

pub(crate) fn text<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(bytes))
}

pub(crate) fn named_texts<S: Serializer>(
    all: &[(String, Vec<u8>)],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(
        all.iter()
            .map(|(name, bytes)| (name, String::from_utf8_lossy(bytes))),
    )
}

#[expect(clippy::ref_option, reason = "the form that serde calls")]
pub(crate) fn path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}

pub(crate) fn word<S: Serializer>(word: &OsStr, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&word.to_string_lossy())
}

pub(crate) fn findings<S: Serializer>(
    all: &Arc<[(Accel, AccelFinding)]>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(all.iter().map(|(accel, finding)| (accel.name(), finding)))
}

fn words(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| lossy(word)).collect()
}

fn lossy(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        words(self.words()).serialize(to)
    }
}

impl Serialize for MachineSpec {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut spec = to.serialize_struct("MachineSpec", 14)?;
        spec.serialize_field("binary", &lossy(self.binary()))?;
        spec.serialize_field("wrapper", &words(self.wrapper()))?;
        spec.serialize_field("name", &self.name())?;
        spec.serialize_field("machine_type", &self.machine_type().map(lossy))?;
        spec.serialize_field("arguments", &words(self.arguments()))?;
        let environment = self.environment().iter();
        let environment: Vec<_> = environment
            .map(|(name, value)| (lossy(name), value.as_deref().map(lossy)))
            .collect();
        spec.serialize_field("environment", &environment)?;
        let working_dir = self.working_dir().map(|it| lossy(it.as_os_str()));
        spec.serialize_field("working_dir", &working_dir)?;
        let log_dir = self.log_dir().map(|it| lossy(it.as_os_str()));
        spec.serialize_field("log_dir", &log_dir)?;
        spec.serialize_field("has_monitor", &!matches!(self.monitor(), Monitor::Off))?;
        spec.serialize_field("monitors", &self.monitor_names().collect::<Vec<_>>())?;
        let consoles: Vec<_> = self.consoles().map(|(name, _)| name).collect();
        spec.serialize_field("consoles", &consoles)?;
        spec.serialize_field("has_qtest", &self.has_qtest())?;
        spec.serialize_field("has_guest_agent", &self.has_guest_agent())?;
        let firmware = self.firmware().map(crate::spec::Firmware::file_name);
        spec.serialize_field("firmware", &firmware)?;
        spec.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::life::{ExitCause, ExitStatus, GuestState, Rung};
    use crate::{Console, Machine};

    #[test]
    fn what_a_report_says_is_readable_json() {
        assert_eq!(
            serde_json::to_value(ExitStatus::Code(3)).unwrap(),
            json!({"code": 3})
        );
        assert_eq!(
            serde_json::to_value(ExitCause::Requested(Rung::Kill)).unwrap(),
            json!({"requested": "kill"})
        );
        assert_eq!(
            serde_json::to_value(GuestState::Running).unwrap(),
            json!("running")
        );
    }

    #[test]
    fn a_spec_is_its_words() {
        let builder = Machine::builder("qemu")
            .memory("1G")
            .console(Console::serial());
        let spec = serde_json::to_value(builder.spec()).unwrap();
        assert_eq!(spec["binary"], "qemu");
        assert_eq!(spec["arguments"], json!(["-m", "1G"]));
        assert_eq!(spec["consoles"], json!([null]));
        let line = serde_json::to_value(&builder.dry_run().command_line).unwrap();
        assert_eq!(line[0], "qemu");
    }
}
