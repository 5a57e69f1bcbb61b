//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod completions;
mod console;
mod exec;
mod readme;
mod scripts;
mod status_table;
mod statuses;
mod verbs;
