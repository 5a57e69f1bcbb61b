//! The plans: a sequence of machines, each with its fault and its end.
//!
//! Pure: machine K depends only on K and the seed, so it can be played again
//! without the machines before it.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// One machine: its kind, its fault and its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The machine's place in the sequence, from 0.
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) channel: Channel,
    /// The number of extra polls of the launch's future before the wait. 0 is a
    /// plain wait.
    pub(crate) idle_polls: u64,
    /// Whether the fault comes before the guest's greeting, if it can.
    pub(crate) early: bool,
    pub(crate) fault: Fault,
    /// The time between the fault and the end.
    pub(crate) lingers: Duration,
    /// `None` if the fault ends the machine.
    pub(crate) ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Peer {
    Scripted,
    Real {
        /// The index of the QEMU, modulo their number.
        which: usize,
        machine_type: &'static str,
        /// Whether it is a clone of a template, instead of booting.
        is_clone: bool,
    },
}

/// The machine types of real machines, and of the templates.
pub(crate) const MACHINE_TYPES: [&str; 3] = ["pc", "q35", "microvm"];

/// The kind of the monitor's connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Channel {
    Inherited,
    Unix,
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    NoProgram {
        in_path: bool,
    },
    ExitsAtLaunch {
        code: u8,
    },
    DiesAtLaunch(Signal),
    Garbage,
    HalfGreeting,
    ClosesMonitorAtLaunch,
    NeverGreets {
        stopped: bool,
        limit: Duration,
    },
    LaunchGivenUp {
        polls: u64,
    },
    Nothing,
    Killed(Signal),
    Stopped,
    Exits {
        code: u8,
    },
    ClosesMonitor,
    NeverReplies,
    StrangeReplies,
    CommandGivenUp,
    EventFlood {
        events: u64,
    },
    ConsoleFlood {
        bytes: u64,
    },
    ClosesConsole,
    ForksChild,
    IgnoresItsEnd,
    GuestPoweroff,
    GuestReset,
    GuestTriplefault,
    GuestPanic,
    /// It is frozen, and a clone of it answers.
    Frozen,
}

/// The state of a machine after its fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Left {
    /// It was not launched.
    Unlaunched,
    /// It has ended.
    Ended,
    /// It obeys commands.
    Obedient,
    /// It ignores commands; SIGTERM ends it.
    Deaf,
    /// Only SIGKILL ends it.
    Stubborn,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Signal {
    Kill,
    Segv,
    Abrt,
    Term,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Shutdown,
    HastyShutdown(Haste),
    /// The shutdown's future is dropped after its first poll.
    ShutdownGivenUp(Haste),
    TwoShutdowns(Haste),
    Kill,
    /// A signal from outside comes while it is shut down.
    KilledMeanwhile(Signal),
    QuitCommand,
    Drop,
    DropInPanic,
}

/// The time for each rung of an end before the last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Haste {
    pub(crate) quit: Duration,
    pub(crate) terminate: Duration,
}

impl Plan {
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let random = &mut Random::of_machine(seed, number);
        let (peer, fault) = if random.below(10) < 7 {
            (Peer::Scripted, of_scripted(random))
        } else {
            let is_clone = random.once_in(3);
            let peer = Peer::Real {
                which: usize::from(random.once_in(2)),
                machine_type: random.one_of(&MACHINE_TYPES),
                is_clone,
            };
            let fault = if is_clone {
                of_clone(random)
            } else {
                of_real(random)
            };
            (peer, fault)
        };
        let channel = match random.below(10) {
            0 => Channel::Unix,
            1 => Channel::Tcp,
            _ => Channel::Inherited,
        };
        let idle_polls = if random.once_in(2) {
            0
        } else {
            random.of_any_size(10)
        };
        let lingers = if random.once_in(2) {
            random.millis_below(2_000)
        } else {
            Duration::ZERO
        };
        Self {
            number,
            peer,
            channel,
            idle_polls,
            early: random.once_in(2),
            fault,
            lingers,
            ending: ending(random, fault),
        }
    }
}

fn of_scripted(random: &mut Random) -> Fault {
    match random.below(24) {
        0 => Fault::NoProgram {
            in_path: random.once_in(2),
        },
        1 => Fault::ExitsAtLaunch {
            code: random.one_of(&[0, 1, 3]),
        },
        2 => Fault::DiesAtLaunch(random.one_of(&Signal::ALL)),
        3 => Fault::Garbage,
        4 => Fault::HalfGreeting,
        5 => Fault::ClosesMonitorAtLaunch,
        6 => Fault::NeverGreets {
            stopped: random.once_in(2),
            limit: Duration::from_millis(20 + random.below(300)),
        },
        7 | 8 => given_up(random),
        9 => Fault::Nothing,
        10..=12 => Fault::Killed(random.one_of(&Signal::DEADLY)),
        13 => Fault::Stopped,
        14 => Fault::Exits {
            code: random.one_of(&[0, 3]),
        },
        15 => Fault::ClosesMonitor,
        16 => Fault::NeverReplies,
        17 => Fault::StrangeReplies,
        18 => Fault::CommandGivenUp,
        19 => Fault::EventFlood {
            events: random.of_any_size(14),
        },
        20 => Fault::ConsoleFlood {
            bytes: random.of_any_size(22),
        },
        21 => Fault::ClosesConsole,
        22 => Fault::ForksChild,
        _ => Fault::IgnoresItsEnd,
    }
}

fn of_real(random: &mut Random) -> Fault {
    match random.below(18) {
        0 => Fault::ExitsAtLaunch { code: 1 },
        1 | 2 => given_up(random),
        3 | 4 => Fault::Nothing,
        5..=8 => Fault::Killed(random.one_of(&Signal::ALL)),
        9 => Fault::Stopped,
        10 => Fault::CommandGivenUp,
        11 => Fault::ConsoleFlood {
            bytes: random.of_any_size(14),
        },
        12 => Fault::GuestPoweroff,
        13 => Fault::GuestReset,
        14 => Fault::GuestTriplefault,
        15 => Fault::GuestPanic,
        _ => Fault::Frozen,
    }
}

/// Without those that need other devices than the template has.
fn of_clone(random: &mut Random) -> Fault {
    match random.below(12) {
        0 | 1 => given_up(random),
        2 | 3 => Fault::Nothing,
        4..=7 => Fault::Killed(random.one_of(&Signal::ALL)),
        8 => Fault::Stopped,
        9 => Fault::CommandGivenUp,
        10 => Fault::ConsoleFlood {
            bytes: random.of_any_size(14),
        },
        _ => Fault::GuestPoweroff,
    }
}

fn given_up(random: &mut Random) -> Fault {
    Fault::LaunchGivenUp {
        polls: random.of_any_size(15),
    }
}

fn ending(random: &mut Random, fault: Fault) -> Option<Ending> {
    let haste = Haste {
        quit: Duration::from_millis(random.of_any_size(8)),
        terminate: Duration::from_millis(random.of_any_size(8)),
    };
    let any = match random.below(6) {
        0 => Ending::HastyShutdown(haste),
        1 => Ending::ShutdownGivenUp(haste),
        2 => Ending::TwoShutdowns(haste),
        3 => Ending::Kill,
        4 => Ending::Drop,
        _ => Ending::DropInPanic,
    };
    match fault.leaves() {
        Left::Unlaunched | Left::Ended => None,
        // The forked child is in the report, and a drop returns no report.
        Left::Obedient if fault == Fault::ForksChild => Some(random.one_of(&[
            Ending::Shutdown,
            Ending::HastyShutdown(haste),
            Ending::Kill,
            Ending::QuitCommand,
        ])),
        Left::Obedient => Some(match random.below(6) {
            0 => Ending::Shutdown,
            1 => Ending::QuitCommand,
            2 => Ending::KilledMeanwhile(random.one_of(&Signal::DEADLY)),
            _ => any,
        }),
        // `quit` cannot succeed, and would take its default of 20 s.
        Left::Deaf | Left::Stubborn => Some(any),
    }
}

impl Fault {
    pub(crate) fn leaves(self) -> Left {
        match self {
            Self::NoProgram { .. }
            | Self::ExitsAtLaunch { .. }
            | Self::DiesAtLaunch(_)
            | Self::Garbage
            | Self::HalfGreeting
            | Self::ClosesMonitorAtLaunch
            | Self::NeverGreets { .. }
            | Self::LaunchGivenUp { .. } => Left::Unlaunched,
            Self::Killed(_)
            | Self::Exits { .. }
            | Self::GuestPoweroff
            | Self::GuestReset
            | Self::GuestTriplefault
            | Self::GuestPanic
            | Self::Frozen => Left::Ended,
            Self::Nothing
            | Self::StrangeReplies
            | Self::CommandGivenUp
            | Self::EventFlood { .. }
            | Self::ConsoleFlood { .. }
            | Self::ClosesConsole
            | Self::ForksChild => Left::Obedient,
            Self::ClosesMonitor | Self::NeverReplies => Left::Deaf,
            Self::Stopped | Self::IgnoresItsEnd => Left::Stubborn,
        }
    }

    /// What it is counted as.
    pub(crate) fn kind(self) -> String {
        let whole = format!("{self:?}");
        let name = whole.split([' ', '(']).next().unwrap_or_default();
        match self {
            Self::DiesAtLaunch(signal) | Self::Killed(signal) => format!("{name} {signal}"),
            _ => name.to_owned(),
        }
    }
}

impl Signal {
    pub(crate) const ALL: [Self; 4] = [Self::Kill, Self::Segv, Self::Abrt, Self::Term];

    /// Signals from outside that end the scripted peer. Rust's own handler survives
    /// the first SIGSEGV.
    const DEADLY: [Self; 3] = [Self::Kill, Self::Abrt, Self::Term];

    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Kill => 9,
            Self::Segv => 11,
            Self::Abrt => 6,
            Self::Term => 15,
        }
    }
}

impl Peer {
    /// What it is counted as.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Scripted => "scripted",
            Self::Real {
                is_clone: false, ..
            } => "real",
            Self::Real { is_clone: true, .. } => "clone",
        }
    }
}

impl fmt::Display for Signal {
    /// The name for kill(1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "KILL",
            Self::Segv => "SEGV",
            Self::Abrt => "ABRT",
            Self::Term => "TERM",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plans(seed: u64, count: u64) -> Vec<Plan> {
        (0..count).map(|number| Plan::of(seed, number)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_plans_and_another_seed_others() {
        assert_eq!(plans(7, 1000), plans(7, 1000));
        let same = plans(7, 1000)
            .iter()
            .zip(plans(8, 1000))
            .filter(|(one, other)| **one == *other)
            .count();
        assert!(same < 10, "{same}");
    }

    #[test]
    fn every_fault_and_every_ending_comes_soon_whatever_the_seed() {
        for seed in [0, 1, u64::MAX] {
            let plans = plans(seed, 600);
            let faults: BTreeSet<String> = plans.iter().map(|plan| plan.fault.kind()).collect();
            // There are 26 faults; two of them have four signals each.
            assert_eq!(faults.len(), 32, "{faults:?}");
            let kinds: BTreeSet<_> = plans.iter().map(|plan| plan.peer.kind()).collect();
            assert_eq!(kinds.len(), 3, "{kinds:?}");
            let endings: BTreeSet<String> = plans
                .iter()
                .filter_map(|plan| plan.ending)
                .map(|ending| format!("{:?}", std::mem::discriminant(&ending)))
                .collect();
            assert_eq!(endings.len(), 9, "{endings:?}");
        }
    }

    #[test]
    fn a_machine_has_an_ending_just_where_its_fault_leaves_it_alive() {
        for plan in plans(3, 1000) {
            let ends = matches!(plan.fault.leaves(), Left::Unlaunched | Left::Ended);
            assert_eq!(plan.ending.is_none(), ends, "{plan:?}");
        }
    }
}
