//! A client of the QEMU Machine Protocol (QMP), by which QEMU is told what to
//! do and tells what happens (QEMU's `docs/interop/qmp-spec`).
//!
//! One API has two faces: every operation is a future that needs no runtime
//! of its own, so `.await` it under tokio, smol or any other, or call
//! [`.wait()`](Wait::wait) from plain code.
//!
//! - [`Client`] connects ([`Client::connect_unix`], [`Client::connect_tcp`],
//!   [`Client::over`] a socket), or a [`Listener`] is connected to.
//! - [`Client::execute`] sends a [`Command`] that is a type,
//!   [`Client::execute_json`] any other.
//! - [`QuerySchema`] asks the server what it can do: its [`Schema`].
//! - [`Client::events`] listens. Listen before the command whose events you
//!   want, and none is missed.
//!
//! Each reply reaches the caller whose command it answers, whatever happens
//! to the others; each wait has a deadline (30 s where nothing else is said)
//! and ends at once when the connection does; a server that floods costs a
//! known amount of memory.
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
//! The protocol itself, without sockets, is [`wire`]. The agent in a guest,
//! which speaks a dialect of it, is [`agent`].

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
    CancelMigration, Client, Completed, Direction, EventError, EventPattern, Events, Execute,
    ExecuteError, ExecuteFailure, ExecuteJson, Incoming, JobError, JobFailure, JobReport, Message,
    Migrate, MigrateIncoming, MigrationError, MigrationReport, NextEvent, NextItem, NextMessage,
    Passed, Progress, RunJob, Subscription, Tap, Transcript,
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
