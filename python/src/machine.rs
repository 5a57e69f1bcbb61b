//! A running machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use qemu_machine::machine::RunSnapshot;
use qemu_machine::{ExitReport, Machine as Running, template};

use crate::agent::Agent;
use crate::console::Console;
use crate::display::Display;
use crate::input::Input;
use crate::launched::Launched;
use crate::limit::{Limit, limited};
use crate::monitor::Monitor;
use crate::operation::Operation;
use crate::owned::Owned;
use crate::qtest::Qtest;
use crate::template::{Identity, Template};
use crate::{migration, report, snapshot};

/// A machine that was launched. It ends when Python collects this object.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Machine(Owned<Arc<Launched>>);

impl Machine {
    pub(crate) fn new(vm: Running) -> Self {
        Self(Owned::new(Launched::remember(vm)))
    }

    fn vm(&self, py: Python<'_>) -> PyResult<&Running> {
        self.0.get(py).map(|launched| &launched.vm)
    }
}

#[pymethods]
impl Machine {
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.vm(py)?.name().to_owned())
    }

    #[getter]
    fn pid(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        Ok(self.vm(py)?.pid())
    }

    #[getter]
    fn argv(&self, py: Python<'_>) -> PyResult<Vec<std::ffi::OsString>> {
        Ok(self.vm(py)?.command_line().words().to_vec())
    }

    #[getter]
    fn log(&self, py: Python<'_>) -> PyResult<String> {
        let vm = self.vm(py)?;
        Ok(vm.log_path().to_string_lossy().into_owned())
    }

    #[getter]
    fn output(&self, py: Python<'_>) -> PyResult<String> {
        let output = self.vm(py)?.output_tail();
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    #[getter]
    fn is_running(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.vm(py)?.is_running())
    }

    #[getter]
    fn report(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let report = self.vm(py)?.report();
        report.map(|it| report::to_python(py, &it)).transpose()
    }

    /// Whether an operation has raised an exception with the report.
    #[getter]
    fn is_told(&self) -> bool {
        self.0.peek().is_some_and(|launched| launched.is_told())
    }

    #[getter]
    fn monitor(&self, py: Python<'_>) -> PyResult<Monitor> {
        Ok(Monitor::new(self.vm(py)?.monitor().clone()))
    }

    #[getter]
    fn console(&self, py: Python<'_>) -> PyResult<Console> {
        Ok(Console::new(self.vm(py)?.console().clone()))
    }

    #[getter]
    fn agent(&self, py: Python<'_>) -> PyResult<Agent> {
        Ok(Agent::new(self.vm(py)?.guest_agent().clone()))
    }

    #[getter]
    fn qtest(&self, py: Python<'_>) -> PyResult<Qtest> {
        Ok(Qtest::new(self.vm(py)?.qtest().clone()))
    }

    #[getter]
    fn input(&self, py: Python<'_>) -> PyResult<Input> {
        let vm = self.vm(py)?;
        Ok(Input::new(vm.keyboard(), vm.mouse()))
    }

    #[getter]
    fn display(&self, py: Python<'_>) -> PyResult<Display> {
        Ok(Display::new(self.vm(py)?.display()))
    }

    /// Waits until the machine ends by itself.
    fn wait(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let wait = self.vm(py)?.wait_for_exit();
        Ok(Operation::new(limited!(wait, timeout), |py, ended| {
            report::to_python(py, &ended)
        }))
    }

    /// Ends the machine. With `powerdown`, asks the guest first.
    fn shutdown(
        &self,
        py: Python<'_>,
        powerdown: Option<f64>,
        after_guest: Option<f64>,
    ) -> PyResult<Operation> {
        let mut shutdown = self.vm(py)?.shutdown();
        if let Some(seconds) = powerdown {
            shutdown = shutdown.powerdown(finite(seconds)?);
        }
        if let Some(seconds) = after_guest {
            shutdown = shutdown.after_guest(finite(seconds)?);
        }
        Ok(Operation::new(shutdown, give_report))
    }

    fn kill(&self, py: Python<'_>) -> PyResult<Operation> {
        Ok(Operation::new(self.vm(py)?.kill(), give_report))
    }

    /// The port of the host that is forwarded to a port of the guest.
    fn forwarded_port(
        &self,
        py: Python<'_>,
        network: &str,
        guest_port: u16,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let ask = self.vm(py)?.forwarded_port(network, guest_port);
        Ok(Operation::new(limited!(ask, timeout), |py, port| {
            Ok(port.into_pyobject(py)?.into_any().unbind())
        }))
    }

    /// Moves the guest to another machine.
    fn migrate_to(
        &self,
        py: Python<'_>,
        other: &Self,
        live: bool,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let migrate = self.vm(py)?.migrate_to(other.vm(py)?);
        let migrate = if live { migrate.live() } else { migrate };
        let migrate = limited!(migrate, timeout);
        Ok(Operation::new(migrate, migration::to_python))
    }

    /// Saves the guest to a file.
    fn save_to(
        &self,
        py: Python<'_>,
        path: PathBuf,
        live: bool,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let save = self.vm(py)?.save_to(path);
        let save = if live { save.live() } else { save };
        let save = limited!(save, timeout);
        Ok(Operation::new(save, migration::to_python))
    }

    /// Loads a guest from a file.
    fn load_from(
        &self,
        py: Python<'_>,
        path: PathBuf,
        paused: bool,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let load = self.vm(py)?.load_from(path);
        let load = if paused { load.paused() } else { load };
        let load = limited!(load, timeout);
        Ok(Operation::new(load, migration::to_python))
    }

    fn save_snapshot(
        &self,
        py: Python<'_>,
        name: &str,
        disks: Option<Vec<String>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        Ok(run(self.vm(py)?.save_snapshot(name), disks, timeout))
    }

    fn load_snapshot(
        &self,
        py: Python<'_>,
        name: &str,
        disks: Option<Vec<String>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        Ok(run(self.vm(py)?.load_snapshot(name), disks, timeout))
    }

    fn delete_snapshot(
        &self,
        py: Python<'_>,
        name: &str,
        disks: Option<Vec<String>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        Ok(run(self.vm(py)?.delete_snapshot(name), disks, timeout))
    }

    /// The snapshots in the disks.
    fn snapshots(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let list = self.vm(py)?.snapshots();
        Ok(Operation::new(limited!(list, timeout), |py, found| {
            let found = found.into_iter().map(|it| snapshot::to_python(py, it));
            let found = found.collect::<PyResult<Vec<_>>>()?;
            Ok(found.into_pyobject(py)?.into_any().unbind())
        }))
    }

    /// Ends the machine, and makes a template of its guest.
    fn freeze(
        &self,
        py: Python<'_>,
        keep_at: Option<PathBuf>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let mut freeze = self.vm(py)?.freeze();
        if let Some(path) = keep_at {
            freeze = freeze.keep_at(path);
        }
        Ok(Operation::new(limited!(freeze, timeout), |py, frozen| {
            Ok(Py::new(py, Template::new(frozen))?.into_any())
        }))
    }

    /// Prepares the guest for the wake of its clones.
    fn prepare_wake(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let prepare = self.vm(py)?.prepare_wake();
        Ok(Operation::new(limited!(prepare, timeout), |py, ()| {
            Ok(py.None())
        }))
    }

    /// Gives the guest of a clone its own identity.
    fn wake(
        &self,
        py: Python<'_>,
        identity: Option<PyRef<'_, Identity>>,
        hostname: Option<String>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let mut wake = self.vm(py)?.wake();
        if identity.is_some() || hostname.is_some() {
            let mut chosen = match identity {
                Some(identity) => identity.copy(),
                None => template::Identity::random()?,
            };
            if let Some(name) = hostname {
                chosen = chosen.hostname(name);
            }
            wake = wake.identity(chosen);
        }
        Ok(Operation::new(limited!(wake, timeout), |py, identity| {
            Ok(Py::new(py, Identity::new(identity))?.into_any())
        }))
    }
}

impl Drop for Machine {
    /// The last handle's drop waits for the end of the process, so other threads
    /// of Python must be able to run.
    fn drop(&mut self) {
        let vm = self.0.take();
        // Without an interpreter, it is dropped with the closure.
        let _ = Python::try_attach(move |py| py.detach(move || drop(vm)));
    }
}

fn give_report(py: Python<'_>, ended: Arc<ExitReport>) -> PyResult<Py<PyAny>> {
    report::to_python(py, &ended)
}

/// Saves, loads or deletes a snapshot.
fn run(run: RunSnapshot, disks: Option<Vec<String>>, timeout: Limit) -> Operation {
    let run = match disks {
        Some(nodes) => run.disks(nodes),
        None => run,
    };
    Operation::new(limited!(run, timeout), |py, ()| Ok(py.None()))
}

/// A limit that must end.
fn finite(seconds: f64) -> PyResult<Duration> {
    Ok(crate::limit::duration(seconds)?.unwrap_or(Duration::MAX))
}
