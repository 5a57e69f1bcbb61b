//! What happened in the server, told without being asked.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_core::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
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
    // Every event has one: it is read without a copy of anything.
    let Timestamp(seconds, micros) = serde_json::from_str(raw.get()).ok()?;
    let (seconds, micros) = (seconds?, micros.filter(|&micros| micros < 1_000_000)?);
    let since_epoch = Duration::from_secs(seconds) + Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

/// The seconds, and the microseconds of the next; `None` where it is no number
/// of them.
#[derive(Default)]
struct Timestamp(Option<u64>, Option<u64>);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TimestampVisitor)
    }
}

struct TimestampVisitor;

impl<'de> Visitor<'de> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timestamp")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Timestamp, A::Error> {
        let mut timestamp = Timestamp::default();
        // Raw: a value may be anything, and these keys need no escapes.
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            match key.get() {
                r#""seconds""# => timestamp.0 = value.get().parse().ok(),
                r#""microseconds""# => timestamp.1 = value.get().parse().ok(),
                _ => {}
            }
        }
        Ok(timestamp)
    }
}
