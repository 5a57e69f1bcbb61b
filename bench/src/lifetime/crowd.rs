//! Many machines, several at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::life::{By, Recipe};
use crate::{Failure, runtime};

/// Launches and ends `machines` machines, `at_once` at a time. Returns the
/// seconds.
pub(super) fn live(
    by: By,
    recipe: &Arc<Recipe>,
    machines: usize,
    at_once: usize,
) -> Result<f64, Failure> {
    let left = Arc::new(AtomicUsize::new(machines));
    let begun = Instant::now();
    if by == By::Await {
        runtime::block_on(by_tasks(recipe, &left, at_once))?;
    } else {
        by_threads(by, recipe, &left, at_once)?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn by_threads(by: By, recipe: &Recipe, left: &AtomicUsize, at_once: usize) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let threads = (0..at_once).map(|_| {
            scope.spawn(|| {
                while take(left) {
                    by.live(recipe).map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            })
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

async fn by_tasks(
    recipe: &Arc<Recipe>,
    left: &Arc<AtomicUsize>,
    at_once: usize,
) -> Result<(), Failure> {
    let tasks = (0..at_once).map(|_| {
        let (recipe, left) = (Arc::clone(recipe), Arc::clone(left));
        tokio::spawn(async move {
            while take(&left) {
                let lived = recipe.live_awaiting().await;
                lived.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Takes one machine from the rest; `false` if none is left.
fn take(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}
