//! What to launch.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use qemu_machine::{
    Accel, Console as ConsoleKind, Machine as Running, MachineBuilder, guests, spec, spec::Drive,
};

use crate::limit::{Limit, duration};
use crate::machine::Machine;
use crate::network::UserNets;
use crate::operation::Operation;

/// A firmware image for `Machine(firmware=…)`.
#[pyclass(frozen, from_py_object, module = "qemu_machine._native")]
#[derive(Debug, Clone)]
pub(crate) struct Firmware(spec::Firmware);

/// The tiny guest: a firmware with a command line on the first serial port. It
/// needs no disk, and greets within a few tens of milliseconds.
#[pyfunction]
pub(crate) fn tiny_guest() -> Firmware {
    Firmware(guests::tiny())
}

/// The best accelerator that works on this host.
#[pyfunction]
pub(crate) fn best_accel(binary: OsString, timeout: Limit) -> Operation {
    let best = crate::limit::limited!(Accel::best(binary), timeout);
    Operation::new(best, |py, choice| {
        let name = choice.accel().name();
        Ok(PyString::new(py, name).into_any().unbind())
    })
}

/// Launches a machine: a binary, and the options of `Machine`.
#[pyfunction]
pub(crate) fn launch(binary: OsString, options: &Bound<'_, PyDict>) -> PyResult<Operation> {
    launch_with(Running::builder(binary), options)
}

/// Launches a machine that has been described already, with these options.
pub(crate) fn launch_with(
    builder: MachineBuilder,
    options: &Bound<'_, PyDict>,
) -> PyResult<Operation> {
    let (builder, limit) = describe(builder, options)?;
    let launch = crate::limit::limited!(builder.launch(), limit);
    Ok(Operation::new(launch, |py, vm| {
        Ok(Py::new(py, Machine::new(vm))?.into_any())
    }))
}

/// Sets the options. Returns the builder, and the limit of its launch.
pub(crate) fn describe(
    mut builder: MachineBuilder,
    options: &Bound<'_, PyDict>,
) -> PyResult<(MachineBuilder, Limit)> {
    let mut limit = Limit::Default;
    for (name, value) in options {
        let name: String = name.extract()?;
        if name == "launch_timeout" {
            limit = value.extract()?;
        } else if !value.is_none() || name == "timeout" {
            builder = set(builder, &name, &value)?;
        }
    }
    Ok((builder, limit))
}

/// Sets one option.
fn set(builder: MachineBuilder, name: &str, value: &Bound<'_, PyAny>) -> PyResult<MachineBuilder> {
    let path = || value.extract::<PathBuf>();
    let word = || value.extract::<OsString>();
    let words = || value.extract::<Vec<OsString>>();
    let is_set = || value.is_truthy();
    Ok(match name {
        "args" => builder.args(words()?),
        "memory" => builder.memory(word()?),
        "accel" => match word() {
            Ok(one) => builder.accel([one]),
            Err(_) => builder.accel(words()?),
        },
        "machine" => builder.machine(word()?),
        "cpu" => builder.cpu(word()?),
        "smp" => builder.smp(value.extract()?),
        "kernel" => builder.kernel(path()?),
        "initrd" => builder.initrd(path()?),
        "append" => builder.append(word()?),
        "bios" => builder.bios(path()?),
        "firmware" => builder.firmware(value.extract::<Firmware>()?.0),
        "name" => builder.name(value.extract::<String>()?),
        "console" => console(builder, value)?,
        "console_log" => console_log(builder, path()?)?,
        "disks" => {
            let disks = value.extract::<Vec<Disk>>()?.into_iter();
            disks.fold(builder, |builder, disk| builder.drive(disk.drive()))
        }
        "netdev_user" => {
            let networks = value.extract::<UserNets>()?.into_specs();
            networks.fold(builder, MachineBuilder::netdev_user)
        }
        "incoming" if is_set()? => builder.incoming(),
        "agent" if is_set()? => builder.guest_agent(),
        "qtest" if is_set()? => builder.qtest(),
        "freezable" if is_set()? => builder.freezable(),
        "agent" | "qtest" | "freezable" | "incoming" => builder,
        "log_dir" => builder.log_dir(path()?),
        "transcript" => builder.transcript(path()?),
        "cwd" => builder.current_dir(path()?),
        "wrapper" => builder.wrapper(words()?),
        "env" => {
            let variables = value.cast::<PyDict>()?.iter();
            variables
                .into_iter()
                .try_fold(builder, |builder, (key, value)| {
                    let key: OsString = key.extract()?;
                    PyResult::Ok(match value.extract::<Option<OsString>>()? {
                        Some(value) => builder.env(key, value),
                        None => builder.env_remove(key),
                    })
                })?
        }
        "timeout" => match value.extract()? {
            Limit::Default => builder,
            Limit::Of(limit) => builder.default_timeout(limit),
        },
        "quit_timeout" => builder.quit_timeout(duration(value.extract()?)?),
        _ => {
            let message = format!("a machine has no option '{name}'");
            return Err(PyTypeError::new_err(message));
        }
    })
}

/// A disk: the path of its image, or options of `-drive`.
#[derive(FromPyObject)]
enum Disk {
    Path(PathBuf),
    Options(Vec<(String, OsString)>),
}

impl Disk {
    fn drive(self) -> Drive {
        match self {
            Self::Path(path) => Drive::file(path).interface("virtio"),
            Self::Options(options) => {
                let (file, rest): (Vec<_>, Vec<_>) =
                    options.into_iter().partition(|(key, _)| key == "file");
                let path = file.into_iter().next().unwrap_or_default().1;
                let set = |drive: Drive, (key, value): (String, OsString)| drive.set(&key, value);
                rest.into_iter().fold(Drive::file(path), set)
            }
        }
    }
}

/// Gives the first console, which the machine has already, a log.
fn console_log(builder: MachineBuilder, path: PathBuf) -> PyResult<MachineBuilder> {
    let first = builder
        .spec()
        .consoles()
        .find(|(name, _)| name.is_none())
        .map(|(_, console)| console.clone());
    match first {
        Some(console) => Ok(builder.console(console.log(path))),
        None => Err(PyValueError::new_err(
            "console_log is the log of a console, and the machine has none: use console=True, also \
             for the machine of a template",
        )),
    }
}

/// Adds the console: `True` or "serial", or "virtio".
fn console(builder: MachineBuilder, value: &Bound<'_, PyAny>) -> PyResult<MachineBuilder> {
    Ok(match console_kind(value)? {
        Some(console) => builder.console(console),
        None => builder,
    })
}

fn console_kind(value: &Bound<'_, PyAny>) -> PyResult<Option<spec::ConsoleConfig>> {
    let Ok(kind) = value.extract::<String>() else {
        return Ok(value.is_truthy()?.then(ConsoleKind::serial));
    };
    match kind.as_str() {
        "serial" => Ok(Some(ConsoleKind::serial())),
        "virtio" => Ok(Some(ConsoleKind::virtio())),
        _ => Err(PyValueError::new_err(format!(
            "console is True, False, \"serial\" or \"virtio\", not \"{kind}\""
        ))),
    }
}
