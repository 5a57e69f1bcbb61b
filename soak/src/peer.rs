//! Chooses the machine for a plan: its program and its script.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use qemu_machine::spec::Monitor;
use qemu_machine::{Console, Machine, MachineBuilder, guests};

use crate::plan::{Channel, Fault, Peer, Plan};
use crate::templates::{MEMORY, Templates};

/// The data that all machines of a run share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fake_qemu: PathBuf,
    pub(crate) qemus: Vec<PathBuf>,
    /// The folder of private logs and directories. It must be empty when all
    /// machines have ended.
    pub(crate) base: PathBuf,
    /// The folder of sockets, console logs and possible core dumps.
    pub(crate) work: PathBuf,
    pub(crate) crowd: Crowd,
    /// Frozen guests of each real QEMU and machine type.
    pub(crate) templates: Templates,
}

/// The number of machines that are alive.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One machine of a crowd. Its drop removes it from the crowd.
#[derive(Debug)]
pub(crate) struct Member<'a>(&'a Crowd);

impl World {
    pub(crate) fn builder(&self, plan: &Plan) -> MachineBuilder {
        let builder = match (plan.fault, plan.peer) {
            (Fault::NoProgram { in_path: true }, _) => Machine::builder("qemu-system-nonesuch"),
            (Fault::NoProgram { in_path: false }, _) => Machine::builder("/nonexistent/qemu"),
            (fault, Peer::Scripted) => {
                Machine::builder(&self.fake_qemu).args(["-fake-script", &script(fault)])
            }
            (
                fault,
                Peer::Real {
                    which,
                    machine_type,
                    is_clone: false,
                },
            ) => Machine::builder(&self.qemus[which % self.qemus.len()])
                .accel(["tcg"])
                .machine(match fault {
                    Fault::ExitsAtLaunch { .. } => "nonesuch",
                    _ => machine_type,
                })
                .arg("-nodefaults")
                .args(arguments(fault).to_vec())
                .firmware(guests::tiny()),
            (
                _,
                Peer::Real {
                    which,
                    machine_type,
                    is_clone: true,
                },
            ) => self.templates.clone_of(which, machine_type),
        };
        let builder = match plan.fault {
            Fault::Frozen => builder.memory(MEMORY).freezable_in(&self.base),
            _ => builder,
        };
        let builder = match plan.channel {
            Channel::Inherited => builder,
            Channel::Unix => {
                let path = self.base.join(format!("{}.qmp", plan.number));
                builder.monitor(Monitor::Unix(path))
            }
            Channel::Tcp => builder.monitor(Monitor::Tcp(([127, 0, 0, 1], 0).into())),
        };
        let mut console = Console::serial().ring_bytes(1 << 16);
        if let (Fault::ConsoleFlood { .. }, Peer::Scripted) = (plan.fault, plan.peer) {
            console = console.log(self.console_log(plan));
        }
        let builder = match plan.peer {
            // It has the console of its template.
            Peer::Real { is_clone: true, .. } => builder,
            _ => builder.console(console),
        };
        let builder = builder.base_dir(&self.base).current_dir(&self.work);
        match plan.fault {
            Fault::NeverGreets { limit, .. } => builder.launch_timeout(limit),
            _ => builder,
        }
    }

    pub(crate) fn console_log(&self, plan: &Plan) -> PathBuf {
        self.work.join(format!("{}.console", plan.number))
    }

    /// A machine without a fault. It ends when asked.
    pub(crate) fn plain(&self) -> MachineBuilder {
        Machine::builder(&self.fake_qemu)
            .args(["-fake-script", &script(Fault::Nothing)])
            .console(Console::serial())
            .base_dir(&self.base)
    }
}

impl Crowd {
    pub(crate) fn enter(&self) -> Member<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Member(self)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The script of the scripted peer.
fn script(fault: Fault) -> String {
    let running = |rest: &str| format!("greet\nnegotiate\n{rest}");
    match fault {
        Fault::ExitsAtLaunch { code } => format!("stderr {LAST_WORDS}\\n\nexit {code}"),
        Fault::DiesAtLaunch(signal) => format!("die SIG{signal}"),
        Fault::Garbage => "send-line SSH-2.0-OpenSSH_9.6\nsilent".to_owned(),
        Fault::HalfGreeting => "send {\"QMP\": {\"ver\nmonitor-close\nsilent".to_owned(),
        Fault::ClosesMonitorAtLaunch => "greet\nmonitor-close\nsilent".to_owned(),
        Fault::NeverGreets { stopped: true, .. } => "stop".to_owned(),
        Fault::NeverGreets { stopped: false, .. } => "silent".to_owned(),
        Fault::Exits { code } => running(&format!("expect *\nexit {code}")),
        Fault::ClosesMonitor => running("expect *\nmonitor-close\nsilent"),
        Fault::NeverReplies => running("expect *\nsilent"),
        Fault::StrangeReplies => running(
            "expect first\nexpect second\n\
             send-line {\"return\": \"stranger\", \"id\": 999999}\n\
             send-line {\"return\": \"stranger\", \"id\": \"nobody\"}\n\
             reply-to 1 \"late\"\nreply \"own\"\nreply \"again\"\nserve",
        ),
        Fault::EventFlood { events } => running(&format!(
            "expect *\nrepeat {events}\nevent FLOOD\nend\nreply \"there\"\nserve"
        )),
        Fault::ConsoleFlood { bytes } => running(&format!("console-fill {bytes} x\nserve")),
        Fault::ClosesConsole => running("console last words\nconsole-close\nserve"),
        Fault::ForksChild => running("fork-child\nserve"),
        // Before the greeting, because a caller may end the machine right after its
        // launch.
        Fault::IgnoresItsEnd => {
            "ignore SIGTERM\ngreet\nnegotiate\nexpect quit\nreply {}\nsilent".to_owned()
        }
        _ => running("serve"),
    }
}

/// The options with which the guest can end a real QEMU.
fn arguments(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::GuestReset | Fault::GuestTriplefault => &["-no-reboot"],
        Fault::GuestPanic => &["-device", "pvpanic", "-action", "panic=shutdown"],
        _ => &[],
    }
}

/// The last output of the scripted peer.
pub(crate) const LAST_WORDS: &str = "no such drive";
