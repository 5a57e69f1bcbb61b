//! Who is on the other side, in the words of errors.

use super::ServerAddress;

/// Knows more of a server than its connection tells: what it is called, and
/// what was seen of it. Errors say both.
pub trait Witness: Send + Sync {
    /// What the server is called, such as `machine 'qemu-1'`.
    fn name(&self) -> String;

    /// What was seen of it, to stand behind an error's message: lines of their
    /// own, each begun with a line end; empty for nothing.
    fn seen(&self) -> String {
        String::new()
    }
}

/// A server of which no more is known than where it is.
#[derive(Debug)]
pub(crate) enum Stranger {
    At(ServerAddress),
    /// On a socket that was connected already.
    Somewhere,
}

impl Witness for Stranger {
    fn name(&self) -> String {
        match self {
            Self::At(address) => format!("server at {address}"),
            Self::Somewhere => "server".to_owned(),
        }
    }
}
