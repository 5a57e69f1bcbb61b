//! A program run in a Linux guest by its agent: by the command, and by the
//! library on a connection that exists, on the same published machine.

use std::process::Command;
use std::time::{Duration, Instant};

use qemu_machine::qmp::agent::GuestAgent;
use qemu_machine::{Console, Machine, Wait, registry};

use super::{COMMAND, EXEC, timed};
use crate::Failure;
use crate::operation::{Bar, Limit, Measured, Operation, Unit};
use crate::setting::Setting;
use crate::turns::{Contender, in_turns};

pub(super) fn measure(setting: &Setting) -> Result<Operation, Failure> {
    let guest = Guest::boot(setting)?;
    let contenders = vec![
        Contender::new(FLOOR_LIBRARY, || guest.timed(stream)),
        Contender::new(COMMAND, || {
            let mut exec = Command::new(&setting.command);
            exec.arg("exec").arg(guest.name());
            timed(exec.args(["--", "/bin/sh", "-c", ":"]))
        }),
        Contender::new(NOT_LIVE, || guest.timed(at_once)),
    ];
    let mut measured = in_turns(setting.size(60, 1), contenders)?;
    let more = |than: &Measured| {
        let both = measured[1].values.iter().zip(&than.values);
        both.map(|(command, library)| command - library).collect()
    };
    let (values, at_once) = (more(&measured[0]), more(&measured[2]));
    measured.push(Measured { who: MORE, values });
    measured.push(Measured {
        who: MORE_THAN_NOT_LIVE,
        values: at_once,
    });
    Ok(Operation {
        id: EXEC,
        name: "a program run in a Linux guest".into(),
        about: "`qemu-machine exec NAME -- /bin/sh -c :`, from the start of the command to its \
                end. The floor does the same with the library: the program's output is read while \
                it runs, on a connection that exists and has answered. *More than the library*: \
                the difference of both in each round. *Not live*: the library's `exec` alone, \
                which returns the output at the end, and at most 16 MiB of it."
            .into(),
        unit: Unit::Seconds,
        contenders: measured,
        bars: [MORE, MORE_THAN_NOT_LIVE]
            .map(|who| Bar {
                who,
                limit: Limit::AtMost(0.030),
            })
            .into(),
    })
}

/// A running Linux that is published.
struct Guest {
    machine: Machine,
}

impl Guest {
    fn boot(setting: &Setting) -> Result<Self, Failure> {
        let machine = Machine::builder(&setting.qemu)
            .name(format!("bench-{}", std::process::id()))
            .publish()
            .accel(["tcg"])
            .memory("256M")
            .kernel(setting.linux.join("vmlinuz"))
            .initrd(setting.linux.join("initramfs-agent"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial())
            .guest_agent()
            .arg("-nodefaults")
            .launch()
            .wait()?;
        machine
            .console()
            .expect("guest ready")
            .timeout(BOOT)
            .wait()?;
        let guest = Self { machine };
        guest.timed(stream)?;
        Ok(guest)
    }

    fn name(&self) -> &str {
        self.machine.name()
    }

    /// The time of a program alone.
    fn timed(
        &self,
        run: impl Fn(&GuestAgent) -> Result<Option<i64>, Failure>,
    ) -> Result<f64, Failure> {
        let agent = registry::find(self.name())?.guest_agent().wait()?;
        agent.wait_until_ready().timeout(BOOT).wait()?;
        let begun = Instant::now();
        let code = run(&agent)?;
        let time = begun.elapsed().as_secs_f64();
        match code {
            Some(0) => Ok(time),
            code => Err(format!("the guest's shell ended with {code:?}").into()),
        }
    }
}

/// Runs a program as the command does.
fn stream(agent: &GuestAgent) -> Result<Option<i64>, Failure> {
    let exec = agent.exec("/bin/sh").args(["-c", ":"]);
    let mut program = exec.stream().wait()?;
    while program.next_piece().wait()?.is_some() {}
    Ok(program.wait_for_exit().wait()?.code)
}

/// Runs a program, whose output comes at its end.
fn at_once(agent: &GuestAgent) -> Result<Option<i64>, Failure> {
    Ok(agent.exec("/bin/sh").args(["-c", ":"]).wait()?.code)
}

const FLOOR_LIBRARY: &str = "floor, the library";
const NOT_LIVE: &str = "the library, not live";
const MORE: &str = "ours, more than the library";
const MORE_THAN_NOT_LIVE: &str = "ours, more than not live";
const BOOT: Duration = Duration::from_secs(120);
