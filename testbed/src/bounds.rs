//! What something may cost: trials that are alone in their process, with their
//! memory counted, and nothing left of them.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

use crate::{Census, CountingAllocator};

/// A trial and its name.
pub type Named = (&'static str, fn());

/// Functions as trials, each by its name.
#[macro_export]
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$((stringify!($name), $name as fn())),*]
    };
}

/// Runs trials as a program's `main`, one after the other in this thread: who
/// counts what a process has must be alone in it.
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

/// Does `work`, which may use so much memory more than there was, and nothing
/// is left of it: no memory, descriptor, thread or child.
///
/// # Panics
/// It has used more, or something is left.
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
        "it took {most_bytes} bytes, and not {limit_bytes}"
    );
    // What a thread in the background lets go of, it does in its next turn.
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

/// What is kept for the next: room in tables that have grown, or what a thread
/// reads into, which is 64 KiB and a cache line; and what the standard library
/// has for each thread that waits on a channel, from its first wait on, which is
/// 48 bytes and comes late on a busy host.
const KEPT_BYTES: usize = (64 << 10) + 64 + 2 * 48;

/// What is waited for comes long before that, or never.
const PATIENCE: Duration = Duration::from_secs(20);
