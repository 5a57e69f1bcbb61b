//! The screen of a machine: pictures of it, and waits for what it shows.
//!
//! ```text
//! screendump --a file in memory--> Screenshot --> the caller
//!                                             --> Watch (pure) --> done, or again
//! ```

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod handle;
#[cfg(feature = "png")]
mod png;
mod screenshot;
mod take;
mod watch;

pub(crate) use handle::{Display, DisplayError};
pub use screenshot::{Screenshot, Tolerance};
pub(crate) use take::Canvas;
pub use take::TakeScreenshot;
pub use watch::WatchDisplay;
