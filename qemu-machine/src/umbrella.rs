//! One error for all operations.

use std::fmt;
use std::io;

use crate::error::{
    AccelError, AgentError, BestAccelError, ConnectError, DisplayError, ErrorKind, EventError,
    ExecuteError, ExitError, ExpectError, ForwardError, InputError, InteractError, IrqError,
    JobError, LaunchError, MigrationError, MoveError, PatternError, PoolError, PublishedError,
    QtestError, RegistryError, SchemaError, ScreenError, SendError, ShellError, ShutdownError,
    SnapshotError, TemplateError, WakeError,
};

/// Makes the error of these, each with its conversion. Those that may hold an
/// error of the system say by which method.
macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident($error:ty) $(by $io_error:ident)?,)*) => {
        /// Any error of this crate, for functions that return several: `?`
        /// converts to it.
        ///
        /// Its message is that of the error inside. Decide by
        /// [`kind`](Self::kind), or match on the variant.
        ///
        /// # Examples
        /// ```no_run
        /// use qemu_machine::error::ErrorKind;
        /// use qemu_machine::{Error, Machine, Wait};
        ///
        /// fn boot() -> Result<(), Error> {
        ///     let vm = Machine::builder("qemu-system-x86_64").launch().wait()?;
        ///     vm.console().expect("login: ").wait()?;
        ///     vm.shutdown().wait()?;
        ///     Ok(())
        /// }
        ///
        /// match boot() {
        ///     Err(error) if error.kind() == ErrorKind::NotFound => println!("skipped: {error}"),
        ///     other => other?,
        /// }
        /// # Ok::<(), Error>(())
        /// ```
        #[derive(Clone)]
        #[non_exhaustive]
        pub enum Error {
            $($(#[$doc])* $variant($error),)*
        }

        impl Error {
            /// What kind of failure it is.
            pub fn kind(&self) -> ErrorKind {
                match self {
                    $(Self::$variant(error) => error.kind(),)*
                }
            }

            /// The error of the system behind it, if there is one.
            pub fn io_error(&self) -> Option<&io::Error> {
                match self {
                    $($(Self::$variant(error) => error.$io_error(),)?)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(error) => fmt::Display::fmt(error, f),)*
                }
            }
        }

        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

errors! {
    /// A machine was not launched.
    Launch(LaunchError) by io_error,
    /// A machine ended otherwise than asked, or not at all.
    Shutdown(ShutdownError),
    /// A machine did not end by itself.
    Exit(ExitError),
    /// A QMP command failed.
    Execute(ExecuteError) by io_error,
    /// No event came.
    Event(EventError) by io_error,
    /// A job failed.
    Job(JobError) by io_error,
    /// A migration failed.
    Migration(MigrationError) by io_error,
    /// A connection was not made.
    Connect(ConnectError) by io_error,
    /// An operation of the guest agent failed.
    Agent(AgentError) by io_error,
    /// A console did not show what was expected.
    Expect(ExpectError),
    /// Bytes were not sent to a console.
    Send(SendError),
    /// A screen did not show what was expected.
    Screen(ScreenError),
    /// A shell failed.
    Shell(ShellError),
    /// A person could not use a console.
    Interact(InteractError) by io_error,
    /// A pattern is not valid.
    Pattern(PatternError),
    /// A display did not show what was expected.
    Display(DisplayError) by io_error,
    /// Keyboard or mouse input failed.
    Input(InputError) by io_error,
    /// A qtest command failed.
    Qtest(QtestError) by io_error,
    /// No interrupt came.
    Irq(IrqError),
    /// A template could not be made or opened.
    Template(TemplateError) by io_error,
    /// A guest did not get its own identity.
    Wake(WakeError) by io_error,
    /// Accelerators could not be listed or tried.
    Accel(AccelError) by io_error,
    /// No accelerator works.
    BestAccel(BestAccelError) by io_error,
    /// A forwarded port was not found.
    Forward(ForwardError) by io_error,
    /// A guest was not saved, loaded or moved.
    Move(MoveError) by io_error,
    /// The schema was not read.
    Schema(SchemaError) by io_error,
    /// An operation on a published machine failed.
    Published(PublishedError) by io_error,
    /// An operation on a published pool failed.
    Pool(PoolError) by io_error,
    /// The registry of published machines failed.
    Registry(RegistryError) by io_error,
    /// A snapshot operation failed.
    Snapshot(SnapshotError) by io_error,
}

impl std::error::Error for Error {}
