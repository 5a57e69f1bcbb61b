//! The protocol, its clients and their peers: suites that may share a process.
//! One that counts what its process has, or limits it, is a file of its own in
//! the folder above.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod agent_core;
mod client;
mod connect;
mod core;
mod events;
mod hostile;
mod ids;
mod reading;
mod replay;
mod schema;
mod supervised;
mod taps;
