//! A client of the QEMU Machine Protocol (QMP). With it, a program sends commands
//! to QEMU and receives its events (QEMU's `docs/interop/qmp-spec`).
//!
//! Every operation is one future, and needs no runtime. `.await` it under
//! tokio, smol or any other, or call [`.wait()`](Wait::wait) in plain code.
//!
//! - [`Client`] connects to a server ([`Client::connect_unix`],
//!   [`Client::connect_tcp`], [`Client::over`] a socket). With a [`Listener`](connect::Listener),
//!   the server connects.
//! - [`Client::execute`] sends a typed [`Command`](command::Command),
//!   [`Client::execute_json`] any other.
//! - [`QuerySchema`](command::QuerySchema) asks the server for its commands and events: its
//!   [`Schema`](schema::Schema).
//! - [`Client::walk_qom`] reads the tree of QEMU's objects ([`qom`]).
//! - [`Client::events`] listens. Listen before the command whose events you
//!   want, and you miss none.
//!
//! Each reply reaches only the caller of its command. Each wait has a deadline,
//! 30 s by default, and ends at once when the connection ends. A server that
//! floods the client uses a bounded amount of memory.
//!
//! # Examples
//! ```no_run
//! use qemu_qmp::{Client, Wait};
//! use qemu_qmp::command::QueryStatus;
//!
//! let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
//! let status = qmp.execute(QueryStatus).wait()?;
//! println!("{} is {}", qmp.greeting().unwrap().version.as_ref().unwrap(), status.status);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`wire`] is the protocol itself, without sockets. [`agent`] is the guest
//! agent, which uses a dialect of the protocol.

#![forbid(unsafe_code)]

pub mod agent;
pub mod client;
pub mod command;
pub mod connect;
mod disconnected;
pub mod error;
mod error_debug;
mod error_kind;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod qom;
mod reader;
pub mod schema;
#[doc(hidden)]
pub mod supervise;
pub mod wire;

pub use client::event_pattern::EventPattern;
pub use client::events::Events;
pub use client::handle::Client;
pub use client::subscription::Subscription;
pub use client::tap::{Tap, Transcript};
pub use disconnected::Disconnected;
pub use qemu_qmp_engine::{Deadlines, Wait};
pub use wire::event::{Event, TypedEvent};
