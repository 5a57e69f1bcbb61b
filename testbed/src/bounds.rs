//! Bounds on cost: each trial runs alone in its process, its memory is counted,
//! and nothing of it may be left.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

use crate::{Census, CountingAllocator};

/// A trial and its name.
pub type Named = (&'static str, fn());

/// Functions as trials, each with its name.
#[macro_export]
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$((stringify!($name), $name as fn())),*]
    };
}

/// Runs trials as a program's `main`, one after the other in this thread. Counting
/// the resources of a process needs the process alone.
pub fn run_alone(trials: Vec<Named>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = trials.into_iter().map(|(name, trial)| {
        Trial::test(name, move || {
            trial();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Does `work`, which may use up to this much more memory. Afterwards no memory,
/// descriptor, thread or child may be left.
///
/// # Panics
/// The work used more, or something is left.
pub fn costs(allocator: &CountingAllocator, limit_bytes: usize, work: impl FnOnce()) {
    let before = census();
    let used_bytes = allocator.used_bytes();
    allocator.forget_most();
    let began = Instant::now();
    work();
    let most_bytes = allocator.most_bytes() - used_bytes;
    println!(
        "{} KiB of {}, {:.1} s",
        most_bytes >> 10,
        limit_bytes >> 10,
        began.elapsed().as_secs_f64()
    );
    assert!(
        most_bytes <= limit_bytes,
        "it used {most_bytes} bytes; the limit is {limit_bytes}"
    );
    // A thread in the background frees its memory in its next turn.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = census().since(&before);
        let kept_bytes = allocator.used_bytes().saturating_sub(used_bytes);
        if left.is_empty() && kept_bytes <= KEPT_BYTES {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {kept_bytes} bytes, {left:#?}"
        );
        thread::yield_now();
    }
}

fn census() -> Census {
    Census::take::<&Path>(&[])
}

/// Memory that may stay for reuse: grown tables, and a thread's read buffer of
/// 64 KiB and a cache line. The standard library also keeps 48 bytes for each
/// thread that has waited on a channel; on a busy host that comes late.
const KEPT_BYTES: usize = (64 << 10) + 64 + 2 * 48;

/// Everything happens long before that, or never.
const PATIENCE: Duration = Duration::from_secs(20);
