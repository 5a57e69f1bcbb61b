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
mod launched;
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
///
/// The list of a `mod` would be made first, with classes of a subinterpreter.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::must_be_main(module.py())?;
    module.add_class::<agent::Agent>()?;
    module.add_class::<bridge::Bridge>()?;
    module.add_class::<console::Console>()?;
    module.add_class::<display::Display>()?;
    module.add_class::<events::Events>()?;
    module.add_class::<input::Input>()?;
    module.add_class::<launch::Firmware>()?;
    module.add_class::<limit::Default>()?;
    module.add_class::<machine::Machine>()?;
    module.add_class::<monitor::Monitor>()?;
    module.add_class::<network::UserNet>()?;
    module.add_class::<operation::Operation>()?;
    module.add_class::<pool::Pool>()?;
    module.add_class::<qtest::Qtest>()?;
    module.add_class::<set_up::Done>()?;
    module.add_class::<shell::Shell>()?;
    module.add_class::<store::Making>()?;
    module.add_class::<store::TemplateStore>()?;
    module.add_class::<template::Identity>()?;
    module.add_class::<template::Template>()?;
    module.add_function(wrap_pyfunction!(agent::connect_agent, module)?)?;
    module.add_function(wrap_pyfunction!(at_exit::end_all, module)?)?;
    module.add_function(wrap_pyfunction!(display::difference, module)?)?;
    module.add_function(wrap_pyfunction!(display::from_png, module)?)?;
    module.add_function(wrap_pyfunction!(display::to_png, module)?)?;
    module.add_function(wrap_pyfunction!(launch::best_accel, module)?)?;
    module.add_function(wrap_pyfunction!(launch::launch, module)?)?;
    module.add_function(wrap_pyfunction!(launch::tiny_guest, module)?)?;
    module.add_function(wrap_pyfunction!(monitor::connect, module)?)?;
    module.add_function(wrap_pyfunction!(template::open_template, module)?)?;
    Ok(())
}
