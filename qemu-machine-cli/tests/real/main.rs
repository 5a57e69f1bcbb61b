//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod console;
mod detached;
mod exec;
mod statuses;
mod verbs;
