//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod completions;
mod console;
mod exec;
mod progress;
mod readme;
mod screen;
mod scripts;
mod shell;
mod starts;
mod status_table;
mod statuses;
mod verbs;
