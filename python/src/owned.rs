//! Values that only the process that made them may use.
//!
//! A forked process has copies of all values, but neither the engine nor the
//! machines: they belong to its parent. It gets an error instead of the value, and
//! never drops it: a drop could close a connection of the parent.

use std::mem;

use pyo3::prelude::*;

use crate::raise;

/// A value of this process.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    /// `None` once it was taken.
    value: Option<T>,
    process: u32,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            process: std::process::id(),
        }
    }

    /// The value.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&T> {
        match &self.value {
            Some(value) if self.is_of_this_process() => Ok(value),
            _ => Err(self.of_another(py)),
        }
    }

    /// Takes the value out for its drop. In a forked process there is none.
    pub(crate) fn take(&mut self) -> Option<T> {
        let is_of_this_process = self.is_of_this_process();
        self.value.take_if(|_| is_of_this_process)
    }

    /// The value, also in a forked process: for facts that need no engine.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.value.as_ref()
    }

    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    fn of_another(&self, py: Python<'_>) -> PyErr {
        let message = format!(
            "it belongs to process {}, which forked this one; use it there, or launch or connect \
             in this process",
            self.process
        );
        raise::exception(py, "ForkError", message, |_| Ok(()))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            mem::forget(self.value.take());
        }
    }
}
