//! One interpreter in a process.
//!
//! A subinterpreter has other objects for the same classes, but the statics of this
//! module, such as the classes of results, are the same for all. The crate `pyo3`
//! does not refuse a second interpreter.

use std::sync::OnceLock;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// Claims the process for the interpreter that imports this module now.
pub(crate) fn claim(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Each interpreter has its own, and none has the address of another's.
    let builtins = module.py().import("builtins")?.as_ptr().addr();
    if *FIRST.get_or_init(|| builtins) == builtins {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "qemu_machine works in one interpreter of a process, and another one has imported it \
         already: use threads or processes, and no subinterpreters",
    ))
}

static FIRST: OnceLock<usize> = OnceLock::new();
