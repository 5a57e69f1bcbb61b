//! How soon a byte that QEMU sends reaches who waits for it: there and back, by
//! the library and by the barest calls.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use qemu_machine::{Console, ConsoleConfig, Machine, Wait};

use crate::Failure;
use crate::spread::Spread;

/// The library's times in microseconds, and those of `write` and `read`.
pub(crate) fn both(fake_qemu: &Path) -> Result<[Spread; 2], Failure> {
    let vm = launch(fake_qemu, Console::serial())?;
    let console = vm.console();
    let ours = times(|| {
        console.send("a").wait()?;
        console.expect("b").wait()?;
        Ok(())
    })?;
    let vm = launch(fake_qemu, Console::serial().undrained())?;
    let mut stream = vm.console().take_stream().ok_or("no console")?;
    stream.set_nonblocking(false)?;
    let floor = times(|| {
        stream.write_all(b"a")?;
        stream.read_exact(&mut [0])?;
        Ok(())
    })?;
    Ok([ours, floor])
}

fn launch(fake_qemu: &Path, console: ConsoleConfig) -> Result<Machine, Failure> {
    let script =
        format!("greet\nnegotiate\nrepeat {TIMES}\nconsole-expect a\nconsole b\nend\nserve");
    Ok(Machine::builder(fake_qemu)
        .args(["-fake-script", &script])
        .console(console)
        .launch()
        .wait()?)
}

fn times(mut once: impl FnMut() -> Result<(), Failure>) -> Result<Spread, Failure> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        once()?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Spread::of(&times))
}

pub(crate) const TIMES: usize = 1000;
