//! The Rust part of `qemu_machine`: operations on machines, for Python to wait for.
//!
//! Each method that must wait returns an [`operation::Operation`]. The Python part
//! of the package calls its `wait()`, or awaits it. So each operation exists once,
//! and both forms behave alike.
//!
//! Never holds the interpreter's lock while it waits, and never takes it in the
//! engine's thread.

mod agent;
mod at_exit;
mod bridge;
mod console;
mod descriptor;
mod display;
mod events;
mod input;
mod interpreter;
mod json;
mod launch;
mod limit;
mod machine;
mod migration;
mod monitor;
mod network;
mod operation;
mod owned;
mod pool;
mod qtest;
mod raise;
mod report;
mod set_up;
mod shell;
mod snapshot;
mod store;
mod template;
mod template_error;

use pyo3::prelude::*;

/// The module `qemu_machine._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::agent::Agent;
    #[pymodule_export]
    use super::agent::connect_agent;
    #[pymodule_export]
    use super::at_exit::end_all;
    #[pymodule_export]
    use super::bridge::Bridge;
    #[pymodule_export]
    use super::console::Console;
    #[pymodule_export]
    use super::display::{Display, difference, from_png, to_png};
    #[pymodule_export]
    use super::events::Events;
    #[pymodule_export]
    use super::input::Input;
    #[pymodule_export]
    use super::launch::{Firmware, best_accel, launch, tiny_guest};
    #[pymodule_export]
    use super::limit::Default;
    #[pymodule_export]
    use super::machine::Machine;
    #[pymodule_export]
    use super::monitor::{Monitor, connect};
    #[pymodule_export]
    use super::network::UserNet;
    #[pymodule_export]
    use super::operation::Operation;
    #[pymodule_export]
    use super::pool::Pool;
    #[pymodule_export]
    use super::qtest::Qtest;
    #[pymodule_export]
    use super::set_up::Done;
    #[pymodule_export]
    use super::shell::Shell;
    #[pymodule_export]
    use super::store::{Making, TemplateStore};
    #[pymodule_export]
    use super::template::{Identity, Template, open_template};

    use super::{Bound, PyModule, PyResult, interpreter};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        interpreter::claim(module)
    }
}
