//! What it takes to start a process does not depend on how large the program
//! is that starts it. Alone in its process, and one test, for it makes that
//! process large.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use qemu_machine::{LaunchError, Machine, Wait};
use support::Scratch;
use testbed::Ballast;

#[test]
fn a_process_is_started_from_a_large_program_as_fast_as_from_a_small_one() {
    let scratch = Scratch::new("spawning");
    let (mut small, mut large) = (Costs::new(), Costs::new());
    // In turn, so that whatever else the host does meets both.
    for _ in 0..ROUNDS {
        let ballast = Ballast::of(SMALL_BYTES);
        small.measure(&scratch);
        drop(ballast);
        let ballast = Ballast::of(LARGE_BYTES);
        large.measure(&scratch);
        drop(ballast);
    }
    eprintln!("small {small:?}, large {large:?}");
    let (fast, slow) = (small.start(), large.start());
    assert!(slow <= fast * 13 / 10, "{fast:?} became {slow:?}");
    // What is asserted above would be seen if it were there.
    assert!(large.fork > small.fork * 3, "{small:?} {large:?}");
}

/// The least that each took: what else ran beside it only ever adds.
#[derive(Debug)]
struct Costs {
    /// A launch that ends where its program is executed, in a child that was
    /// made ready to be it.
    executed: Duration,
    /// A launch that ends just before it would start a process.
    looked_for: Duration,
    /// A fork, which copies the tables of the whole memory.
    fork: Duration,
}

impl Costs {
    fn new() -> Self {
        Self {
            executed: Duration::MAX,
            looked_for: Duration::MAX,
            fork: Duration::MAX,
        }
    }

    fn measure(&mut self, scratch: &Scratch) {
        for _ in 0..LAUNCHES {
            let looked_for = time_launch("nonexistent", scratch);
            self.looked_for = self.looked_for.min(looked_for);
            let executed = time_launch("/nonexistent", scratch);
            self.executed = self.executed.min(executed);
        }
        for _ in 0..FORKS {
            let begun = Instant::now();
            let child = testbed::fork(|| ());
            self.fork = self.fork.min(begun.elapsed());
            assert!(child.succeeded());
        }
    }

    /// The start of a process alone.
    fn start(&self) -> Duration {
        self.executed.checked_sub(self.looked_for).unwrap()
    }
}

/// A name without a slash is looked for where `PATH` says, which is nowhere; a
/// path is executed to see what comes of it.
fn time_launch(program: &str, scratch: &Scratch) -> Duration {
    let machine = Machine::builder(program)
        .name("none")
        .log_dir(scratch.path())
        .env("PATH", "");
    let begun = Instant::now();
    let _error: LaunchError = machine.launch().wait().unwrap_err();
    begun.elapsed()
}

const SMALL_BYTES: usize = 16 << 20;
const LARGE_BYTES: usize = 1 << 30;

const ROUNDS: usize = 4;
const LAUNCHES: usize = 250;
const FORKS: usize = 5;
