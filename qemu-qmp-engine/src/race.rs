//! Two futures, the first to end wins.

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

/// Waits for whichever ends first, and drops the other. The first is asked
/// first, so it wins when both have ended.
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

/// Waits for whichever of two futures of the same kind ends first; asks the
/// first one first.
pub async fn first<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    match race(a, b).await {
        Either::Left(output) | Either::Right(output) => output,
    }
}
