//! The time of a byte to QEMU and back, by the library and by bare system calls.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use qemu_machine::spec::ConsoleConfig;
use qemu_machine::{Console, Machine, Wait};

use crate::Failure;
use crate::operation::{Bar, FLOOR, Limit, Operation, Unit, WAIT};
use crate::turns::{Contender, in_turns};

pub(super) fn measure(fake_qemu: &Path, times: usize) -> Result<Operation, Failure> {
    let plain = launch(fake_qemu, times, Console::serial().undrained())?;
    let mut stream = plain.console().take_stream().ok_or("no console")?;
    stream.set_nonblocking(false)?;
    let vm = launch(fake_qemu, times, Console::serial())?;
    let console = vm.console();
    let floor = Contender::new(FLOOR, move || {
        let begun = Instant::now();
        stream.write_all(b"a")?;
        stream.read_exact(&mut [0])?;
        Ok(begun.elapsed().as_secs_f64())
    });
    let ours = Contender::new(WAIT, move || {
        let begun = Instant::now();
        console.send("a").wait()?;
        console.expect("b").wait()?;
        Ok(begun.elapsed().as_secs_f64())
    });
    Ok(Operation {
        id: ID,
        name: "a byte to a console, and its answer found".into(),
        about: "From the `send` of one byte to the return of the `expect` for the answer of one \
                byte: the cost of each prompt in a script. The floor writes and reads the same \
                socket by blocking calls."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(times, vec![floor, ours])?,
        bars: vec![Bar {
            who: WAIT,
            limit: Limit::AtMost(1e-3),
        }],
    })
}

fn launch(fake_qemu: &Path, times: usize, console: ConsoleConfig) -> Result<Machine, Failure> {
    // The first one does not count.
    let times = times + 1;
    let script =
        format!("greet\nnegotiate\nrepeat {times}\nconsole-expect a\nconsole b\nend\nserve");
    Ok(Machine::builder(fake_qemu)
        .args(["-fake-script", &script])
        .console(console)
        .launch()
        .wait()?)
}

pub(super) const ID: &str = "console-byte";
