//! What it takes to start a process does not depend on how large the program
//! is that starts it.
#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use qemu_machine::error::LaunchError;
use qemu_machine::{Machine, Wait};
use support::Scratch;
use testbed::{Ballast, Forked};

#[test]
fn a_process_is_started_from_a_large_program_as_fast_as_from_a_small_one() {
    let scratch = Scratch::new("spawning");
    let mut small = Program::of(SMALL_BYTES, &scratch);
    let mut large = Program::of(LARGE_BYTES, &scratch);
    // A moment each in turn, so that whatever else the host does meets both.
    for _ in 0..TURNS {
        small.measure();
        large.measure();
    }
    let (small, large) = (small.end(), large.end());
    eprintln!("small {small:?}, large {large:?}");
    let (fast, slow) = (small.start(), large.start());
    assert!(slow <= fast * 13 / 10, "{fast:?} became {slow:?}");
    // What is asserted above would be seen if it were there.
    assert!(large.fork > small.fork * 3, "{small:?} {large:?}");
}

/// A process of some size, which measures when its input says so.
struct Program {
    process: Forked,
    turns: UnixStream,
    costs: Costs,
}

impl Program {
    fn of(bytes: usize, scratch: &Scratch) -> Self {
        let (turns, mut its_turns) = UnixStream::pair().unwrap();
        let process = testbed::fork(|| {
            let _ballast = Ballast::of(bytes);
            while its_turns.read_exact(&mut [0]).is_ok() {
                let costs = Costs::measure(scratch);
                its_turns.write_all(&costs.to_bytes()).unwrap();
            }
        });
        Self {
            process,
            turns,
            costs: Costs::UNKNOWN,
        }
    }

    fn measure(&mut self) {
        self.turns.write_all(&[0]).unwrap();
        let mut bytes = [0; Costs::BYTES];
        self.turns.read_exact(&mut bytes).unwrap();
        self.costs.lower_to(&Costs::from_bytes(bytes));
    }

    fn end(self) -> Costs {
        self.turns.shutdown(Shutdown::Both).unwrap();
        assert!(self.process.succeeded());
        self.costs
    }
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
    const UNKNOWN: Self = Self {
        executed: Duration::MAX,
        looked_for: Duration::MAX,
        fork: Duration::MAX,
    };
    const BYTES: usize = 24;

    fn measure(scratch: &Scratch) -> Self {
        let mut costs = Self::UNKNOWN;
        for _ in 0..LAUNCHES_IN_A_TURN {
            let looked_for = time_launch("nonexistent", scratch);
            costs.looked_for = costs.looked_for.min(looked_for);
            let executed = time_launch("/nonexistent", scratch);
            costs.executed = costs.executed.min(executed);
        }
        let begun = Instant::now();
        let child = testbed::fork(|| ());
        costs.fork = begun.elapsed();
        assert!(child.succeeded());
        costs
    }

    fn lower_to(&mut self, other: &Self) {
        self.executed = self.executed.min(other.executed);
        self.looked_for = self.looked_for.min(other.looked_for);
        self.fork = self.fork.min(other.fork);
    }

    /// The start of a process alone.
    fn start(&self) -> Duration {
        self.executed.checked_sub(self.looked_for).unwrap()
    }

    fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let costs = [self.executed, self.looked_for, self.fork];
        for (eight, cost) in bytes.as_chunks_mut().0.iter_mut().zip(costs) {
            *eight = u64::try_from(cost.as_nanos()).unwrap().to_ne_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let cost = |at: usize| Duration::from_nanos(u64::from_ne_bytes(bytes.as_chunks().0[at]));
        Self {
            executed: cost(0),
            looked_for: cost(1),
            fork: cost(2),
        }
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

const TURNS: usize = 60;
const LAUNCHES_IN_A_TURN: usize = 20;
