//! The main interpreter of a process, which alone can use this module.
//!
//! A subinterpreter has other objects for the same classes, but the statics of this
//! module, such as the classes of results, are the same for all. The crate `pyo3`
//! does not refuse a second interpreter.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Refuses to be imported by a subinterpreter. Call it before anything is made for
/// the module: what a subinterpreter makes would stay for all others.
pub(crate) fn must_be_main(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: this thread is attached to an interpreter, so there is a current one.
    #[expect(unsafe_code, reason = "PyO3 has no safe form of these functions")]
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    // The main interpreter has the number 0 in all versions of CPython.
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "qemu_machine works only in the main interpreter of a process, and this is a \
         subinterpreter: use threads or processes instead",
    ))
}
