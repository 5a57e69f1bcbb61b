//! What happened in the server, told without being asked.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_core::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event of the server (`docs/interop/qmp-spec`, "Asynchronous events").
///
/// A cheap handle: a clone shares what was received.
#[derive(Clone)]
pub struct Event(Arc<Parts>);

struct Parts {
    name: String,
    data: Option<Box<RawValue>>,
    timestamp: Option<SystemTime>,
}

impl Event {
    pub(super) fn parse(
        name: &RawValue,
        data: Option<&RawValue>,
        timestamp: Option<&RawValue>,
    ) -> Result<Self, String> {
        Ok(Self(Arc::new(Parts {
            name: serde_json::from_str(name.get())
                .map_err(|error| format!("an event's name: {error}"))?,
            data: data.map(ToOwned::to_owned),
            timestamp: timestamp.and_then(parse_timestamp),
        })))
    }

    /// The event's name, such as `SHUTDOWN`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// When it happened, by the host's clock; `None` where the server could
    /// not tell, which it writes as -1.
    pub fn timestamp(&self) -> Option<SystemTime> {
        self.0.timestamp
    }

    /// The event's data as it was received; `None` for an event without data.
    pub fn raw_data(&self) -> Option<&RawValue> {
        self.0.data.as_deref()
    }

    /// The event's data as a type of the caller's; an event without data
    /// reads as an empty object.
    ///
    /// # Errors
    /// The data does not have the shape of `T`.
    pub fn data<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.raw_data().map_or("{}", RawValue::get))
    }

    /// How much memory the event takes in a queue, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Parts>() + self.name().len() + self.raw_data().map_or(0, |raw| raw.get().len())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name())
            .field("data", &self.raw_data().map(RawValue::get))
            .field("timestamp", &self.timestamp())
            .finish()
    }
}

impl fmt::Display for Event {
    /// The name, and the data as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.raw_data().map_or(Ok(()), |raw| write!(f, " {raw}"))
    }
}

fn parse_timestamp(raw: &RawValue) -> Option<SystemTime> {
    let timestamp: Value = serde_json::from_str(raw.get()).ok()?;
    let seconds = timestamp["seconds"].as_u64()?;
    let micros = timestamp["microseconds"]
        .as_u64()
        .filter(|&micros| micros < 1_000_000)?;
    let since_epoch = Duration::from_secs(seconds) + Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}
