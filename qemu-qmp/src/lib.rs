//! A client of the QEMU Machine Protocol (QMP). With it, a program sends commands
//! to QEMU and receives its events (QEMU's `docs/interop/qmp-spec`).
//!
//! Every operation is one future, and needs no runtime. `.await` it under
//! tokio, smol or any other, or call [`.wait()`](Wait::wait) in plain code.
//!
//! - [`Client`] connects to a server ([`Client::connect_unix`],
//!   [`Client::connect_tcp`], [`Client::over`] a socket). With a [`Listener`],
//!   the server connects.
//! - [`Client::execute`] sends a typed [`Command`],
//!   [`Client::execute_json`] any other.
//! - [`QuerySchema`] asks the server for its commands and events: its
//!   [`Schema`].
//! - [`Client::events`] listens. Listen before the command whose events you
//!   want, and you miss none.
//!
//! Each reply reaches only the caller of its command. Each wait has a deadline,
//! 30 s by default, and ends at once when the connection ends. A server that
//! floods the client uses a bounded amount of memory.
//!
//! # Examples
//! ```no_run
//! use qemu_qmp::{Client, QueryStatus, Wait};
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
mod client;
mod command;
mod connect;
mod disconnected;
mod error_debug;
mod error_kind;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod reader;
mod schema;
#[doc(hidden)]
pub mod supervise;
pub mod wire;

pub use client::{
    CancelMigration, Client, Direction, EventError, EventPattern, Events, Execute, ExecuteError,
    ExecuteFailure, ExecuteJson, IncomingMigration, IntoNext, JobError, JobFailure, JobReport,
    Message, Migrate, MigrateIncoming, MigrationError, MigrationReport, NextEvent, NextItem,
    NextMessage, NextTyped, PassedFd, Progress, RunJob, Subscription, Tap, Transcript, TypedEvent,
    WaitForMigration,
};
pub use command::{
    Command, Cont, HumanMonitorCommand, QuerySchema, QueryStatus, Quit, Status, Stop,
    SystemPowerdown, SystemReset,
};
pub use connect::{Connect, ConnectError, ConnectStage, ConnectedSocket, Listener, ServerAddress};
pub use disconnected::Disconnected;
pub use error_kind::ErrorKind;
pub use qemu_qmp_engine::{Deadlines, Wait};
pub use schema::{Features, QuestionError, Schema, SchemaCommand, SchemaEvent, SchemaMember};
pub use wire::{ErrorClass, ErrorReply, Event, Greeting, ProtocolError, Version};
