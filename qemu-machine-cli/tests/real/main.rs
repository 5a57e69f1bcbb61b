//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod console;
mod exec;
mod mount;
mod qom;
mod statuses;
mod tui;
mod verbs;
