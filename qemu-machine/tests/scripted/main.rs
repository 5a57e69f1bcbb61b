//! What the scripted peer plays, and what needs no QEMU: suites that may share a
//! process. A suite that counts what its process has, or measures it, is a separate
//! file in the folder above.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod log_in;
mod scripted_accel;
mod scripted_building;
mod scripted_consoles;
mod scripted_endings;
mod scripted_launch;
mod scripted_outputs;
mod scripted_panicking_wakers;
mod scripted_qtest;
mod scripted_registry;
mod scripted_running;
mod scripted_schema;
mod tiny_image;
