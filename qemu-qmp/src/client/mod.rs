//! The client: a [`wire`](crate::wire) connection on a socket.
//!
//! ```text
//! caller --execute--> Shared::submit --bytes--> socket   (on the caller's thread)
//! socket --bytes--> reader --replies, events--> waiters  (on the engine's thread,
//!                                                 or on a waiting caller's thread)
//! ```

mod cancel_migration;
pub(crate) mod error;
pub(crate) mod event_pattern;
pub(crate) mod events;
mod execute;
mod fd;
pub(crate) mod handle;
pub(crate) mod job;
pub(crate) mod migration;
mod migration_cleanup;
mod reader;
mod shared;
pub(crate) mod subscription;
pub(crate) mod tap;
mod walk_qom;

pub use cancel_migration::CancelMigration;
pub(crate) use error::{EventError, ExecuteError, ExecuteFailure};
pub(crate) use event_pattern::EventPattern;
pub(crate) use events::Events;
pub use events::{NextEvent, NextTyped};
pub use execute::{Execute, ExecuteJson};
pub use fd::PassedFd;
pub(crate) use handle::Client;
use handle::Handle;
pub(crate) use job::{JobError, JobFailure};
pub use job::{JobReport, Progress, RunJob};
pub(crate) use migration::MigrationError;
pub use migration::{
    IncomingMigration, Migrate, MigrateIncoming, MigrationReport, WaitForMigration,
};
#[doc(hidden)]
pub use reader::on_event;
pub(crate) use reader::open;
use shared::{Reply, Shared, State};
pub(crate) use subscription::Subscription;
pub use subscription::{IntoNext, NextItem};
pub(crate) use tap::Tap;
pub use tap::{Direction, Message, NextMessage};
pub use walk_qom::WalkQom;
