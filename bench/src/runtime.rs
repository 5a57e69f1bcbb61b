//! The runtime for `.await`: tokio with one thread.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::Failure;

/// Runs a future to its end on a runtime of this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    thread_local! {
        static RUNTIME: Result<Runtime, String> = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string());
    }
    RUNTIME.with(|runtime| match runtime {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => Err(error.clone().into()),
    })
}
