//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod completions;
mod console;
mod exec;
mod scripts;
mod statuses;
mod verbs;
