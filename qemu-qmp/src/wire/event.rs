//! Events: what the server reports without a command.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_core::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An event of the server (`docs/interop/qmp-spec`, "Asynchronous events").
///
/// A cheap handle: a clone shares what was received.
#[derive(Clone)]
pub struct Event {
    /// The name, the data and the time, as they were received. They are in one
    /// allocation: in a flood, one thread allocates and another frees them, and
    /// that is most of the cost.
    text: Arc<str>,
    name_end: usize,
    data_end: usize,
}

impl Event {
    pub(super) fn from_members(
        name: &RawValue,
        data: Option<&RawValue>,
        timestamp: Option<&RawValue>,
    ) -> Result<Self, String> {
        let name: Cow<'_, str> = match serde_json::from_str(name.get()) {
            Ok(name) => Cow::Borrowed(name),
            // It is not a string, or has escapes.
            Err(_) => serde_json::from_str::<String>(name.get())
                .map_err(|error| format!("an event's name: {error}"))?
                .into(),
        };
        let data = data.map_or("", RawValue::get);
        let timestamp = timestamp.map_or("", RawValue::get);
        Ok(Self {
            name_end: name.len(),
            data_end: name.len() + data.len(),
            text: [&*name, data, timestamp].concat().into(),
        })
    }

    /// The event's name, such as `SHUTDOWN`.
    pub fn name(&self) -> &str {
        &self.text[..self.name_end]
    }

    /// When it happened, by the host's clock. `None` if the server did not know
    /// and sent -1.
    pub fn timestamp(&self) -> Option<SystemTime> {
        parse_timestamp(&self.text[self.data_end..])
    }

    /// The event's data as it was received; `None` for an event without data.
    pub fn raw_data(&self) -> Option<&RawValue> {
        // It was valid JSON when it was received.
        serde_json::from_str(self.data_text()?).ok()
    }

    /// The event's data as a type of the caller's. For an event without data,
    /// it reads an empty object.
    ///
    /// # Errors
    /// The data does not fit `T`.
    pub fn data<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.data_text().unwrap_or("{}"))
    }

    /// The event as this type; `None` if it has another name.
    ///
    /// # Errors
    /// The name is the same, but the data does not fit `E`.
    pub fn parse<E: TypedEvent>(&self) -> Option<serde_json::Result<E>> {
        (self.name() == E::NAME).then(|| self.data())
    }

    fn data_text(&self) -> Option<&str> {
        let text = &self.text[self.name_end..self.data_end];
        (!text.is_empty()).then_some(text)
    }

    /// About how much memory the event uses in a queue.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name())
            .field("data", &self.data_text())
            .field("timestamp", &self.timestamp())
            .finish()
    }
}

impl fmt::Display for Event {
    /// The name, and the data as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.data_text().map_or(Ok(()), |data| write!(f, " {data}"))
    }
}

fn parse_timestamp(text: &str) -> Option<SystemTime> {
    let Timestamp(seconds, micros) = serde_json::from_str(text).ok()?;
    let (seconds, micros) = (seconds?, micros.filter(|&micros| micros < 1_000_000)?);
    let since_epoch = Duration::from_secs(seconds) + Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

/// The seconds since 1970, and the microseconds after them. `None` where it is
/// not a natural number.
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
        // Raw: a value may be anything, and these keys have no escapes.
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

/// An event as a type: its fields are the event's data.
///
/// # Examples
/// ```
/// use qemu_qmp::{Events, TypedEvent, Wait};
/// use qemu_qmp::error::EventError;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Shutdown {
///     guest: bool,
///     reason: String,
/// }
///
/// impl TypedEvent for Shutdown {
///     const NAME: &'static str = "SHUTDOWN";
/// }
///
/// fn wait_for_shutdown(events: &mut Events) -> Result<bool, EventError> {
///     let shutdown = events.next_typed::<Shutdown>().wait()?;
///     println!("shut down: {}", shutdown.reason);
///     Ok(shutdown.guest)
/// }
/// ```
pub trait TypedEvent: DeserializeOwned {
    /// The event's name on the wire.
    const NAME: &'static str;
}
