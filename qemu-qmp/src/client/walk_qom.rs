//! Reads a tree of QEMU's objects (`qom-list`, `qom-get`).
//!
//! QEMU has no command for a whole tree, so this sends a command for each object
//! and for each value: some thousand. Many are in flight at once, so that the
//! walk does not wait for each reply before the next command.
//!
//! ```text
//! asked: list /a | get /a.x | get /a.y | list /a/b      (in flight, in order)
//!           ^ reply: more to ask ------------> unasked
//! ```
//!
//! Never keeps more than [`MOST_BYTES`], whatever the server sends.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_core::de::{DeserializeOwned, Error as _};
use serde_json::value::RawValue;

use super::{Client, ExecuteError, ExecuteFailure};
use crate::command::Command;
use crate::qom::{Object, ObjectProperty, Property, PropertyKind, QomGet, QomList, child_path};
use crate::wire::ErrorReply;
use qemu_qmp_engine::{Elapsed, operation, timeout_option};

/// Reads an object and the objects below it; made by [`Client::walk_qom`].
///
/// The objects are in the order of the tree, and by name: each is before those
/// below it.
///
/// # Errors
/// [`ExecuteError`], if QEMU refuses to list the first object, the connection
/// ends, or the time is up. Any other refusal is kept in the [`Object`], and the
/// walk goes on. A tree of some 10 MB or more fails with
/// [`ExecuteFailure::Shape`].
///
/// # Cancel safety
/// The walk changes nothing in QEMU.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct WalkQom {
    client: Client,
    path: String,
    depth: usize,
    values: bool,
    links: bool,
    timeout: Option<Duration>,
}

impl Client {
    /// Reads the object with this path, absolute or partial, and all objects
    /// below it. `/` is the whole tree.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, Wait};
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// for object in qmp.walk_qom("/machine").depth(2).values(true).wait()? {
    ///     println!("{} has {} properties", object.path, object.properties.len());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn walk_qom(&self, path: impl Into<String>) -> WalkQom {
        WalkQom {
            client: self.clone(),
            path: path.into(),
            depth: usize::MAX,
            values: false,
            links: false,
            timeout: self.deadlines().limit(),
        }
    }
}

impl WalkQom {
    /// Goes this deep below the first object. 0 is the first object alone.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Whether the values of properties are read too.
    pub fn values(mut self, values: bool) -> Self {
        self.values = values;
        self
    }

    /// Whether the values of links are read, even if no others are.
    pub fn links(mut self, links: bool) -> Self {
        self.links = links;
        self
    }
}

timeout_option!(WalkQom, timeout);

operation!(WalkQom => Result<Vec<Object>, ExecuteError>);

impl WalkQom {
    async fn run(self) -> Result<Vec<Object>, ExecuteError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let walked = Walk::new(self).finish();
        match client.deadlines().timeout(timeout, walked).await {
            Ok(objects) => objects,
            Err(Elapsed(limit)) => Err(ExecuteError {
                server: client.server(),
                command: QomList::NAME.to_owned(),
                failure: Box::new(ExecuteFailure::Timeout { limit }),
                seen: client.handle.shared.context.seen(),
            }),
        }
    }
}

/// A walk under way.
struct Walk {
    client: Client,
    depth: usize,
    values: bool,
    links: bool,
    /// In the order in which they were found.
    found: Vec<Found>,
    /// Questions that are not sent.
    unasked: VecDeque<Question>,
    /// Questions that are sent. QEMU answers them in this order.
    asked: VecDeque<(Question, InFlight)>,
    /// What is kept, as estimated.
    bytes: usize,
}

struct Found {
    object: Object,
    /// The places of the objects below it.
    children: Vec<usize>,
}

/// What is asked about the object at this place.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// Its type. Only the first object is asked: the type of any other is in its
    /// parent's list.
    Type,
    List(usize),
    /// The value of the property at this place.
    Value(usize, usize),
}

impl Walk {
    fn new(walk: WalkQom) -> Self {
        Self {
            client: walk.client,
            depth: walk.depth,
            values: walk.values,
            links: walk.links,
            found: vec![Found::new(walk.path, None, 0)],
            unasked: [Question::List(0), Question::Type].into(),
            asked: VecDeque::new(),
            bytes: 0,
        }
    }

    async fn finish(mut self) -> Result<Vec<Object>, ExecuteError> {
        loop {
            while self.asked.len() < IN_FLIGHT
                && let Some(question) = self.unasked.pop_front()
            {
                let reply = InFlight::begin(self.ask(question)).await;
                self.asked.push_back((question, reply));
            }
            let Some((question, reply)) = self.asked.pop_front() else {
                return Ok(in_order(self.found));
            };
            let reply = match reply.finish().await {
                Ok(reply) => Ok(reply),
                Err(error) => match (question, error.reply()) {
                    // The walk has nothing to begin with.
                    (Question::List(0), _) | (_, None) => return Err(error),
                    (_, Some(refusal)) => Err(refusal.clone()),
                },
            };
            self.note(question, reply)?;
        }
    }

    fn ask(&self, question: Question) -> Operation {
        let execute = match question {
            Question::List(place) => {
                let list = QomList::new(&*self.found[place].object.path);
                self.client.execute_json(QomList::NAME, list)
            }
            Question::Type => self.get(0, "type"),
            Question::Value(place, property) => {
                let property = &self.found[place].object.properties[property];
                self.get(place, &property.property.name)
            }
        };
        // The walk has a timeout as a whole.
        execute.returning().timeout(None).into_future()
    }

    fn get(&self, place: usize, property: &str) -> super::ExecuteJson {
        let get = QomGet::new(&*self.found[place].object.path, property);
        self.client.execute_json(QomGet::NAME, get)
    }

    /// Keeps an answer, and asks what follows from it.
    fn note(
        &mut self,
        question: Question,
        reply: Result<Box<RawValue>, ErrorReply>,
    ) -> Result<(), ExecuteError> {
        self.bytes += match &reply {
            Ok(reply) => reply.get().len() * PARSED,
            Err(refusal) => refusal.raw.get().len() * 2,
        };
        self.check_size()?;
        match question {
            Question::Type => {
                // Every object has this one. If QEMU refuses it, it is unknown.
                if let Ok(reply) = reply {
                    let type_name = self.parse(QomGet::NAME, reply)?;
                    self.found[0].object.type_name = Some(type_name);
                }
            }
            Question::List(place) => match reply {
                Ok(reply) => {
                    let mut properties: Vec<Property> = self.parse(QomList::NAME, reply)?;
                    // QEMU's order is that of a hash table.
                    properties.sort_by(|a, b| a.name.cmp(&b.name));
                    self.note_list(place, properties)?;
                }
                Err(refusal) => self.found[place].object.refusal = Some(refusal),
            },
            Question::Value(place, property) => {
                let value = match reply {
                    Ok(reply) => Ok(self.parse(QomGet::NAME, reply)?),
                    Err(refusal) => Err(refusal),
                };
                self.found[place].object.properties[property].value = Some(value);
            }
        }
        Ok(())
    }

    fn note_list(&mut self, place: usize, properties: Vec<Property>) -> Result<(), ExecuteError> {
        for property in properties {
            let object = &self.found[place].object;
            let question = Question::Value(place, object.properties.len());
            match property.kind() {
                PropertyKind::Child(type_name) if object.depth < self.depth => {
                    let path = child_path(&object.path, &property.name);
                    let child = Found::new(path, Some(type_name.to_owned()), object.depth + 1);
                    self.note_child(place, child);
                }
                PropertyKind::Child(_) => {}
                PropertyKind::Link(_) if self.links => self.unasked.push_back(question),
                _ if self.values => self.unasked.push_back(question),
                _ => {}
            }
            self.found[place].object.properties.push(ObjectProperty {
                property,
                value: None,
            });
            self.check_size()?;
        }
        Ok(())
    }

    fn note_child(&mut self, place: usize, child: Found) {
        // The path is in the command in flight too.
        self.bytes += size_of::<Found>() + child.object.path.len() * 2;
        let child_place = self.found.len();
        self.unasked.push_back(Question::List(child_place));
        self.found[place].children.push(child_place);
        self.found.push(child);
    }

    fn check_size(&self) -> Result<(), ExecuteError> {
        if self.bytes <= MOST_BYTES {
            return Ok(());
        }
        let cause = serde_json::Error::custom("the tree is larger than any of QEMU's");
        Err(self.error(QomList::NAME, RawValue::NULL.to_owned(), cause))
    }

    fn parse<T: DeserializeOwned>(
        &self,
        command: &str,
        reply: Box<RawValue>,
    ) -> Result<T, ExecuteError> {
        serde_json::from_str(reply.get()).map_err(|cause| self.error(command, reply, cause))
    }

    fn error(
        &self,
        command: &str,
        received: Box<RawValue>,
        cause: serde_json::Error,
    ) -> ExecuteError {
        ExecuteError {
            server: self.client.server(),
            command: command.to_owned(),
            failure: Box::new(ExecuteFailure::Shape {
                received,
                cause: Arc::new(cause),
            }),
            seen: String::new(),
        }
    }
}

impl Found {
    fn new(path: String, type_name: Option<String>, depth: usize) -> Self {
        Self {
            object: Object {
                path,
                type_name,
                depth,
                properties: Vec::new(),
                refusal: None,
            },
            children: Vec::new(),
        }
    }
}

/// The objects in the order of the tree: each before those below it.
fn in_order(found: Vec<Found>) -> Vec<Object> {
    let mut found: Vec<Option<Found>> = found.into_iter().map(Some).collect();
    let mut objects = Vec::with_capacity(found.len());
    let mut places = vec![0];
    while let Some(place) = places.pop() {
        if let Some(found) = found[place].take() {
            places.extend(found.children.into_iter().rev());
            objects.push(found.object);
        }
    }
    objects
}

type Returned = Result<Box<RawValue>, ExecuteError>;
type Operation = Pin<Box<dyn Future<Output = Returned> + Send>>;

/// A command that was sent.
enum InFlight {
    Waiting(Operation),
    Ended(Returned),
}

impl InFlight {
    /// Sends the command.
    async fn begin(mut operation: Operation) -> Self {
        let first = poll_fn(|context| Poll::Ready(operation.as_mut().poll(context))).await;
        match first {
            Poll::Pending => Self::Waiting(operation),
            Poll::Ready(returned) => Self::Ended(returned),
        }
    }

    async fn finish(self) -> Returned {
        match self {
            Self::Waiting(operation) => operation.await,
            Self::Ended(returned) => returned,
        }
    }
}

/// Some 10 KB of commands: no socket is full of them.
const IN_FLIGHT: usize = 64;

/// The memory of a parsed value for each byte of its text, as estimated for lists
/// of short numbers.
const PARSED: usize = 16;

/// The greatest memory of a walk, as estimated. A machine of 250 objects with all
/// values has some 2 MB.
const MOST_BYTES: usize = 160 << 20;
