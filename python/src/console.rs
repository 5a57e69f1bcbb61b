//! A console of a machine: what it prints, and what is typed.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use qemu_machine::console::{Match, Pattern};

use crate::limit::{Limit, limited};
use crate::operation::Operation;
use crate::owned::Owned;
use crate::report::text;
use crate::shell::Shell;

/// A handle to a console.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Console(Owned<qemu_machine::Console>);

impl Console {
    pub(crate) fn new(console: qemu_machine::Console) -> Self {
        Self(Owned::new(console))
    }
}

#[pymethods]
impl Console {
    /// Waits for the first of these patterns.
    fn expect(
        &self,
        py: Python<'_>,
        patterns: Vec<Bound<'_, PyAny>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let patterns: Vec<Pattern> = patterns.iter().map(pattern).collect::<PyResult<_>>()?;
        let expect = self.0.get(py)?.expect_any(patterns);
        Ok(Operation::new(limited!(expect, timeout), |py, found| {
            match_to_python(py, &found)
        }))
    }

    /// Types these bytes.
    fn send(&self, py: Python<'_>, bytes: &[u8], timeout: Limit) -> PyResult<Operation> {
        let send = self.0.get(py)?.send(bytes);
        Ok(Operation::new(limited!(send, timeout), |py, ()| {
            Ok(py.None())
        }))
    }

    /// Opens the shell.
    #[pyo3(signature = (user, password, prompt, timeout))]
    fn shell(
        &self,
        py: Python<'_>,
        user: Option<String>,
        password: Option<String>,
        prompt: Option<Bound<'_, PyAny>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let mut open = limited!(self.0.get(py)?.shell(), timeout);
        if let Some(user) = user {
            open = open.user(user);
        }
        if let Some(password) = password {
            open = open.password(password);
        }
        if let Some(prompt) = prompt {
            open = open.prompt(pattern(&prompt)?);
        }
        Ok(Operation::new(open, |py, shell| {
            Ok(Py::new(py, Shell::new(shell))?.into_any())
        }))
    }

    /// The last output.
    fn tail<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.get(py)?.tail()))
    }

    /// The path of the log, if there is one.
    fn log(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let path = self.0.get(py)?.log_path();
        Ok(path.map(|path| path.to_string_lossy().into_owned()))
    }
}

/// A pattern: a `str` is a regular expression, `bytes` are searched as they are.
fn pattern(object: &Bound<'_, PyAny>) -> PyResult<Pattern> {
    if let Ok(literal) = object.cast::<PyBytes>() {
        return Ok(Pattern::literal(literal.as_bytes()));
    }
    let expression: String = if object.is_instance_of::<PyString>() {
        object.extract()?
    } else {
        compiled(object)?
    };
    Pattern::regex(&expression).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The expression of a `re.Pattern`, with its flags.
fn compiled(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let parts = || -> PyResult<(String, u32)> {
        let source = object.getattr("pattern")?.extract()?;
        Ok((source, object.getattr("flags")?.extract()?))
    };
    let (source, flags) = parts().map_err(|_| {
        let given = object.get_type();
        let message = format!(
            "a pattern is a str (a regular expression), bytes (searched as they are), or \
             re.compile() of a str, not {given}"
        );
        PyTypeError::new_err(message)
    })?;
    // The numbers of `re.IGNORECASE` and so on, which are part of its interface.
    let known = [(2, 'i'), (8, 'm'), (16, 's'), (64, 'x')];
    let letters: String = known
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, letter)| *letter)
        .collect();
    Ok(if letters.is_empty() {
        source
    } else {
        format!("(?{letters}){source}")
    })
}

/// A `qemu_machine.Match`.
fn match_to_python(py: Python<'_>, found: &Match) -> PyResult<Py<PyAny>> {
    let class = MATCH.import(py, "qemu_machine._console", "Match")?;
    let fields = PyDict::new(py);
    let groups = found.groups.iter();
    let groups: Vec<_> = groups
        .map(|group| group.as_ref().map(|bytes| PyBytes::new(py, bytes)))
        .collect();
    fields.set_item("index", found.pattern)?;
    fields.set_item("groups", groups)?;
    fields.set_item("before", text(py, &found.before))?;
    fields.set_item("dropped_bytes", found.dropped_bytes)?;
    Ok(class.call((), Some(&fields))?.unbind())
}

static MATCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
