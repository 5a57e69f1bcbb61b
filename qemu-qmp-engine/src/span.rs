//! Spans of `tracing`, with the feature of that name. Without it, a span is
//! nothing and costs nothing.
//!
//! | span | from | to | fields |
//! |---|---|---|---|
//! | `machine` | the process | the report | `machine` |
//! | `launch` | the call | the machine, or its error | `machine` |
//! | `command` | the request | its reply | `server`, `command` |
//! | `console` | the call | the match, or the last byte sent | `console`, `what` |
//! | `end` | the request | the report | `machine` |
//!
//! All have the target `qemu_machine`. A command of a launch is inside its span.

use std::future::Future;

/// One span, not entered yet.
#[derive(Debug, Clone)]
pub struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// Makes a constructor: a span of this name with these text fields. A text is
/// made only if there is a span.
macro_rules! spans {
    ($($(#[$doc:meta])* $name:ident($($field:ident),*);)*) => {$(
        $(#[$doc])*
        #[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "no span"))]
        pub fn $name($($field: impl FnOnce() -> String),*) -> Self {
            Self {
                #[cfg(feature = "tracing")]
                span: tracing::info_span!(
                    target: "qemu_machine",
                    stringify!($name),
                    $($field = $field()),*
                ),
            }
        }
    )*};
}

impl Span {
    spans! {
        /// The life of a machine's process.
        machine(machine);
        /// A launch.
        launch(machine);
        /// A command and its reply.
        command(server, command);
        /// An operation on a console.
        console(console, what);
        /// The end of a machine.
        end(machine);
    }

    /// Runs this future within the span.
    #[cfg(feature = "tracing")]
    pub fn around<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        tracing::Instrument::instrument(future, self.span)
    }

    /// Runs this future: without the feature there is no span.
    #[cfg(not(feature = "tracing"))]
    pub fn around<F: Future>(self, future: F) -> F {
        future
    }
}
