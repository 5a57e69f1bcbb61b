//! The engine under `qemu-qmp` and `qemu-machine`: the background thread,
//! sockets, timers, waits and deadlines.
//!
//! This crate is published because those two need it. It makes no promise of
//! stability: any release may change anything. Depend on `qemu-qmp` or
//! `qemu-machine` instead, which pin the exact version they were built with.

#![doc(hidden)]

mod deadlines;
mod engine;
mod error_debug;
pub mod error_text;
mod logger;
pub mod oneshot;
mod operation;
mod paced;
pub mod queue;
mod race;
mod reading;
mod rendezvous;
mod span;
mod stream;
mod task;
mod timers;
mod turn_lock;
pub mod wait;
mod watch;
mod watched;

pub use deadlines::Deadlines;
pub use engine::{Engine, wake, wake_all};
pub use logger::log;
pub use paced::PacedSocket;
pub use race::{Either, first, race};
pub use rendezvous::{accept, connect};
pub use span::Span;
pub use stream::{NotSent, Over, Stream, Unsent, read};
pub use task::{AbortWhenDropped, Task};
pub use timers::{Elapsed, pause, timeout};
pub use tokio::task::yield_now;
pub use turn_lock::{Held, TurnLock};
pub use wait::{Wait, wait_at_most};
pub use watch::{readable, writable};
pub use watched::Watched;
