//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod console;
mod exec;
mod progress;
mod starts;
mod statuses;
mod verbs;
