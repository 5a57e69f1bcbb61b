//! `run` of the tiny guest, from the start of the command to its end.

use std::path::Path;
use std::process::Command;

use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, Machine, Wait, guests};

use super::{COMMAND, FLOOR_PROGRAM, RUN, timed, verb};
use crate::Failure;
use crate::lifetime::worker;
use crate::operation::{Bar, Limit, Operation, Unit};
use crate::setting::Setting;
use crate::turns::{Contender, in_turns};

pub(super) fn measure(setting: &Setting) -> Result<Operation, Failure> {
    let program = std::env::current_exe()?;
    let contenders = vec![
        Contender::new(FLOOR_PROGRAM, || {
            let words = worker::once(&setting.qemu);
            timed(Command::new(&program).args(words))
        }),
        Contender::new(COMMAND, || {
            timed(verb(setting, "run").args(["--expect", "> "]))
        }),
    ];
    Ok(Operation {
        id: RUN,
        name: "`run`: launch, wait for the prompt, end".into(),
        about: "From the start of the process to its end: `qemu-machine run --expect '> '` with \
                the tiny guest. The floor is the program that measures this, which does the same \
                with the library: `launch`, `expect`, `shutdown`."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(setting.size(100, 1), contenders)?,
        bars: vec![Bar {
            who: COMMAND,
            limit: Limit::RatioAtMost(1.05, FLOOR_PROGRAM),
        }],
    })
}

/// What the program of the floor does.
pub(crate) fn live(qemu: &Path) -> Result<(), Failure> {
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .firmware(guests::tiny())
        .arg("-nodefaults")
        .device(&OptionGroup::new("pvpanic"))
        .console(Console::serial())
        .launch()
        .wait()?;
    vm.console().expect("> ").wait()?;
    vm.shutdown().wait()?;
    Ok(())
}
