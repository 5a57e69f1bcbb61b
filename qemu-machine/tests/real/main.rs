//! What real QEMUs do: suites that may share a process. A suite that counts what
//! its process has, or measures it, is a separate file in the folder above.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod real_accel;
mod real_agent;
mod real_agent_stream;
mod real_building;
mod real_connecting;
mod real_console;
mod real_consoles;
mod real_display;
mod real_endings;
mod real_errors;
mod real_examples;
mod real_following;
mod real_guest_devices;
mod real_guest_state;
mod real_keyboard;
mod real_linux;
mod real_log_in;
mod real_machine;
mod real_monitor;
mod real_mouse;
mod real_noise;
mod real_parent;
mod real_qtest;
mod real_registry;
mod real_saving;
mod real_schema;
mod real_screen;
mod real_serial_ports;
mod real_shell;
mod real_snapshots;
mod real_template_disks;
mod real_template_faults;
mod real_template_folders;
mod real_template_hosts;
mod real_template_inputs;
mod real_template_layers;
mod real_template_store;
mod real_templates;
mod shells;
