//! The command on real QEMUs.

#[path = "../support/mod.rs"]
mod support;

mod advice;
mod completions;
mod console;
mod detached;
mod exec;
mod in_guest;
mod mount;
mod pools;
mod progress;
mod published;
mod qom;
mod readme;
mod screen;
mod scripts;
mod shell;
mod starts;
mod status_table;
mod statuses;
mod templates;
mod tui;
mod verbs;
