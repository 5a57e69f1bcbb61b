//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod console;
mod exec;
mod shell;
mod statuses;
mod verbs;
