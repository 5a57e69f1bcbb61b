//! Templates: guests that have booted, from which machines are cloned.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use qemu_machine::Machine as Running;
use qemu_machine::template;

use crate::launch;
use crate::operation::Operation;
use crate::owned::Owned;
use crate::pool::Pool;
use crate::raise::Raise;

/// A handle to a template. If it is not kept, its files go with the last handle.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Template(Owned<template::Template>);

impl Template {
    pub(crate) fn new(frozen: template::Template) -> Self {
        Self(Owned::new(frozen))
    }
}

#[pymethods]
impl Template {
    /// The directory of its files.
    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.path().to_string_lossy().into_owned())
    }

    /// Whether its machines have a console.
    #[getter]
    fn has_console(&self, py: Python<'_>) -> PyResult<bool> {
        let machine = self.0.get(py)?.machine();
        let mut consoles = machine.spec().consoles();
        Ok(consoles.any(|(name, _)| name.is_none()))
    }

    /// The version of its QEMU.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.version().to_owned())
    }

    /// Launches a clone, with these changes.
    fn launch(&self, py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Operation> {
        launch::launch_with(self.0.get(py)?.machine(), options)
    }

    /// Makes a pool of clones.
    #[pyo3(signature = (size, at_once, has_warm_up))]
    fn pool(
        &self,
        py: Python<'_>,
        size: usize,
        at_once: Option<usize>,
        has_warm_up: bool,
    ) -> PyResult<Pool> {
        let mut pool = self.0.get(py)?.pool(size);
        if let Some(count) = at_once {
            pool = pool.at_once(count);
        }
        Pool::start(py, pool, has_warm_up)
    }
}

impl Drop for Template {
    /// It may remove files.
    fn drop(&mut self) {
        let frozen = self.0.take();
        let _ = Python::try_attach(move |py| py.detach(move || drop(frozen)));
    }
}

/// Opens a template that was kept. The machine is described as it was then.
#[pyfunction]
pub(crate) fn open_template(
    py: Python<'_>,
    path: PathBuf,
    binary: OsString,
    options: &Bound<'_, PyDict>,
) -> PyResult<Template> {
    let (machine, _) = launch::describe(Running::builder(binary), options)?;
    let opened = py.detach(|| template::Template::open(path, &machine));
    opened.map(Template::new).map_err(|error| error.raise(py))
}

/// What a clone does not share with its siblings.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Identity(template::Identity);

impl Identity {
    pub(crate) fn new(identity: template::Identity) -> Self {
        Self(identity)
    }

    pub(crate) fn copy(&self) -> template::Identity {
        self.0.clone()
    }
}

#[pymethods]
impl Identity {
    /// An identity of random bytes of this host.
    #[staticmethod]
    fn random() -> PyResult<Self> {
        Ok(Self(template::Identity::random()?))
    }

    /// The same identity, with this host name.
    fn hostname(&self, name: String) -> Self {
        Self(self.copy().hostname(name))
    }

    /// A shell script that gives a Linux guest this identity.
    fn script(&self) -> String {
        self.0.script()
    }

    /// The machine id: 32 hexadecimal digits.
    #[getter]
    fn machine_id(&self) -> String {
        self.0.machine_id()
    }

    /// The MAC address of a network card, counted from 0.
    fn mac(&self, index: u8) -> String {
        self.0.mac(index)
    }

    fn __repr__(&self) -> String {
        format!("<Identity {}>", self.0.machine_id())
    }
}
