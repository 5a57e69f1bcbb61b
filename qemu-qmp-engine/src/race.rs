//! Runs two futures until the first of them ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which of two futures ended first.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first one's output.
    Left(A),
    /// The second one's output.
    Right(B),
}

/// Waits until one of two futures ends, and drops the other. It polls the first
/// future first, so that wins if both have ended.
pub async fn race<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(output) = a.as_mut().poll(context) {
            return Poll::Ready(Either::Left(output));
        }
        b.as_mut().poll(context).map(Either::Right)
    })
    .await
}

/// The same for two futures with the same output, which it returns.
pub async fn first<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    match race(a, b).await {
        Either::Left(output) | Either::Right(output) => output,
    }
}
