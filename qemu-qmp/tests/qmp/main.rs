//! The protocol, its clients and their peers: suites that may share a process.
//! A suite that counts or limits its process's resources is a separate file in the
//! folder above.
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
mod migration;
mod qom;
mod reach;
mod reading;
mod replay;
mod schema;
mod supervised;
mod taps;
mod typed;
