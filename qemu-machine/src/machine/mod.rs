//! The handle on a launched machine, and its operations: shutdown, run state,
//! migration, snapshots, and the schema of its QEMU.

mod backing;
mod drop;
pub(crate) mod error;
pub(crate) mod forwarded_port;
pub(crate) mod freezable;
pub(crate) mod handle;
mod handles;
pub(crate) mod hardware;
mod inner;
pub(crate) mod migration;
mod run_state;
pub(crate) mod schema;
mod shutdown;
pub(crate) mod snapshot;
mod wait_for_exit;

pub(crate) use error::{ExitError, ShutdownError};
pub use forwarded_port::ForwardedPort;
pub(crate) use handle::Machine;
pub(crate) use handles::Handles;
pub(crate) use inner::Inner;
pub use migration::{Load, Move, Save};
pub use schema::ReadSchema;
pub use shutdown::{Kill, Shutdown};
pub use snapshot::{ListSnapshots, RunSnapshot, Snapshot};
pub use wait_for_exit::WaitForExit;
