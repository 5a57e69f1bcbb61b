//! The keyboard and the mouse of a machine.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use qemu_machine::ExitReport;
use qemu_machine::error::{ErrorKind, InputError};
use qemu_machine::input::{Button, InputAction, KeyboardLayout};
use qemu_machine::qmp::error::ErrorReply;

use crate::limit::{Limit, duration, limited};
use crate::operation::Operation;
use crate::owned::Owned;
use crate::raise::Raise;

/// Both devices.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Input(Owned<(qemu_machine::Keyboard, qemu_machine::Mouse)>);

impl Input {
    pub(crate) fn new(keyboard: qemu_machine::Keyboard, mouse: qemu_machine::Mouse) -> Self {
        Self(Owned::new((keyboard, mouse)))
    }
}

#[pymethods]
impl Input {
    fn type_text(
        &self,
        py: Python<'_>,
        text: &str,
        layout: &str,
        pace: Option<f64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let layout = match layout {
            "us" => KeyboardLayout::Us,
            "german" => KeyboardLayout::German,
            "french" => KeyboardLayout::French,
            _ => {
                let message = format!("layout is \"us\", \"german\" or \"french\", not {layout:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        let keyboard = self.0.get(py)?.0.clone().layout(layout);
        let action = keyboard.type_text(text);
        Ok(done(
            match time(pace)? {
                Some(pace) => action.pace(pace),
                None => action,
            },
            timeout,
        ))
    }

    fn press(
        &self,
        py: Python<'_>,
        chord: &str,
        hold: Option<f64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        held(self.0.get(py)?.0.press(chord), hold, timeout)
    }

    fn move_to(&self, py: Python<'_>, x: f64, y: f64, timeout: Limit) -> PyResult<Operation> {
        Ok(done(self.0.get(py)?.1.move_to(x, y), timeout))
    }

    fn move_by(&self, py: Python<'_>, x: i32, y: i32, timeout: Limit) -> PyResult<Operation> {
        Ok(done(self.0.get(py)?.1.move_by(x, y), timeout))
    }

    fn click(
        &self,
        py: Python<'_>,
        button: &str,
        hold: Option<f64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let button = match button {
            "left" => Button::Left,
            "middle" => Button::Middle,
            "right" => Button::Right,
            "wheel-up" => Button::WheelUp,
            "wheel-down" => Button::WheelDown,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "a button is \"left\", \"middle\", \"right\", \"wheel-up\" or \
                     \"wheel-down\", not {button:?}"
                )));
            }
        };
        held(self.0.get(py)?.1.click(button), hold, timeout)
    }
}

fn held(action: InputAction, hold: Option<f64>, timeout: Limit) -> PyResult<Operation> {
    let action = match time(hold)? {
        Some(hold) => action.hold(hold),
        None => action,
    };
    Ok(done(action, timeout))
}

fn done(action: InputAction, timeout: Limit) -> Operation {
    Operation::new(limited!(action, timeout), |py, ()| Ok(py.None()))
}

/// A time that ends.
fn time(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    let time = duration(seconds)?;
    let endless = || PyValueError::new_err("such a time must end");
    time.map(Some).ok_or_else(endless)
}

impl Raise for InputError {
    const CLASS: &'static str = "InputError";
    const TIMEOUT: &'static str = "InputTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::Execute(cause) => Raise::report(cause),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        match self {
            Self::Execute(cause) => cause.refusal(),
            _ => None,
        }
    }

    fn describe(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        match self {
            Self::Timeout { done, .. } => details.set_item("done", done),
            _ => Ok(()),
        }
    }
}
