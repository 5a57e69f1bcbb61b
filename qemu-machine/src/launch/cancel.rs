//! The caller's condition to give a launch, or another operation, up.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;

/// Ends when the caller gives the operation up; never by default.
#[derive(Default)]
pub(crate) struct Cancel(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Cancel {
    pub(crate) fn on(given_up: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(given_up)))
    }

    pub(crate) async fn requested(self) {
        match self.0 {
            Some(given_up) => given_up.await,
            None => pending().await,
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "set" } else { "not set" })
    }
}
