//! The kind of a failure, for callers that decide what to do next.

/// The kind of a failure, the same for every error of these crates:
/// `error.kind()`.
///
/// Use it to decide whether to try again, to skip, or to fail. For details,
/// match on the error itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The deadline passed. The result may still come later, unless the operation
    /// ends what it began, as a launch does.
    Timeout,
    /// The machine or the server has ended, or its connection has.
    Ended,
    /// QEMU, the guest agent or the guest refused, or reported a failure.
    Refused,
    /// The caller's argument is invalid. Nothing was sent or started.
    InvalidInput,
    /// The other side broke the protocol, or sent an unexpected form.
    Protocol,
    /// This QEMU, machine or host does not support the operation.
    Unsupported,
    /// A program, a file or a listening server was not found.
    NotFound,
    /// Access was denied.
    PermissionDenied,
    /// This host lacks memory, descriptors, processes or disk space, or a
    /// system call failed.
    System,
    /// The other side is busy or does not read. Nothing was sent.
    Congested,
    /// The listener lagged, and items were dropped.
    Lagged,
    /// The guest is paused for good, has panicked, or was reset.
    Guest,
    /// The machine did not end as asked.
    Unclean,
    /// The caller cancelled the operation.
    Cancelled,
}

impl ErrorKind {
    /// The kind of a system error.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound | Io::NotADirectory | Io::ConnectionRefused => Self::NotFound,
            Io::PermissionDenied => Self::PermissionDenied,
            Io::TimedOut => Self::Timeout,
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => {
                Self::Ended
            }
            Io::InvalidInput | Io::InvalidFilename => Self::InvalidInput,
            Io::Unsupported => Self::Unsupported,
            _ => Self::System,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::ErrorKind;

    #[test]
    fn what_a_caller_can_act_on_keeps_its_kind() {
        let kind = |error: io::ErrorKind| ErrorKind::of_io(&error.into());
        assert_eq!(kind(io::ErrorKind::NotFound), ErrorKind::NotFound);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), ErrorKind::Ended);
        assert_eq!(kind(io::ErrorKind::StorageFull), ErrorKind::System);
    }
}
