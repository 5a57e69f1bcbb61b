//! Shows the main work of the library step by step: a tiny guest, then Linux.
//!
//! `demo QEMU [KERNEL INITRAMFS]`; `cargo xtask demo` downloads all three and
//! runs it.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use qemu_machine::console::Pattern;
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::{Console, Machine, MachineBuilder, Wait, guests};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [qemu] => tiny(qemu.as_ref()),
        [qemu, kernel, initramfs] => {
            tiny(qemu.as_ref())?;
            println!();
            linux(qemu.as_ref(), kernel.as_ref(), initramfs.as_ref())
        }
        _ => Err("usage: demo QEMU [KERNEL INITRAMFS]".into()),
    }
}

fn tiny(qemu: &Path) -> Result<(), Box<dyn Error>> {
    println!("A tiny guest: a firmware of 64 KiB, no disk, no kernel");
    let mut tale = Tale::begin();
    let builder = Machine::builder(qemu)
        .accel(["tcg"])
        .firmware(guests::tiny())
        .console(Console::serial());
    let vm = launch(&mut tale, &builder)?;

    let greeting = vm.console().expect("> ").wait()?;
    tale.step("console", greeting.before_text().trim());
    vm.console().send("echo hello, host\n").wait()?;
    tale.step(
        "console",
        vm.console().expect("> ").wait()?.before_text().trim(),
    );
    let status = vm.monitor().execute(QueryStatus).wait()?;
    tale.step("command", format_args!("query-status -> {}", status.status));

    let mut events = vm.monitor().events();
    vm.console().send("poweroff\n").wait()?;
    tale.step("event", events.next_named("SHUTDOWN").wait()?);
    tale.step("ended", vm.wait_for_exit().wait()?);
    Ok(())
}

fn linux(qemu: &Path, kernel: &Path, initramfs: &Path) -> Result<(), Box<dyn Error>> {
    println!("Linux, to a shell on its serial console");
    let mut tale = Tale::begin();
    let builder = Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .memory("256M")
        .kernel(kernel)
        .initrd(initramfs)
        .append("console=ttyS0 no_timer_check cryptomgr.notests")
        .console(Console::serial());
    let vm = launch(&mut tale, &builder)?;

    let prompt = Pattern::literal("~ # ");
    boot(&mut tale, vm.console(), &prompt)?;
    // Otherwise kernel lines may come between the lines of the answer.
    vm.console().send("dmesg -n 1\n").wait()?;
    vm.console().expect(&prompt).wait()?;
    vm.console()
        .send("uname -sr; grep -c ^processor /proc/cpuinfo\n")
        .wait()?;
    vm.console().expect("cpuinfo\r\n").wait()?;
    let answer = vm.console().expect(&prompt).wait()?.before_text();
    tale.step("shell", answer.trim().replace("\r\n", " | "));

    let mut events = vm.monitor().events();
    vm.console().send("poweroff -f\n").wait()?;
    tale.step("event", events.next_named("SHUTDOWN").wait()?);
    tale.step("ended", vm.wait_for_exit().wait()?);
    Ok(())
}

fn launch(tale: &mut Tale, builder: &MachineBuilder) -> Result<Machine, Box<dyn Error>> {
    let vm = builder.launch().wait()?;
    println!("  $ {}", vm.command_line());
    let pid = vm.pid().ok_or("the machine has already ended")?;
    let greeting = vm.monitor().greeting().ok_or("QEMU sent no greeting")?;
    let version = greeting
        .version
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    tale.step("launched", format_args!("pid {pid}, QEMU {version}"));
    let oob = if vm.monitor().oob() {
        "with"
    } else {
        "without"
    };
    tale.step("negotiated", format_args!("{oob} out-of-band execution"));
    Ok(vm)
}

/// Reads the guest's console line by line, up to its prompt.
fn boot(tale: &mut Tale, console: &Console, prompt: &Pattern) -> Result<(), Box<dyn Error>> {
    tale.begin_long("boot", "the kernel starts");
    let line_or_prompt = Pattern::regex(&format!("\n|{prompt}"))?;
    let mut lines = 0;
    loop {
        let said = console
            .expect(&line_or_prompt)
            .timeout(Duration::from_secs(60))
            .wait()?;
        if said.matched() != b"\n" {
            break;
        }
        lines += 1;
        tale.live(said.before_text().trim());
    }
    tale.step("boot", format_args!("{lines} console lines to the prompt"));
    Ok(())
}

/// Prints each step with its time.
struct Tale {
    since: Instant,
    terminal: bool,
}

impl Tale {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            terminal: io::stdout().is_terminal(),
        }
    }

    fn step(&mut self, what: &str, detail: impl Display) {
        self.clear_live();
        let took = self.since.elapsed().as_secs_f64() * 1000.0;
        println!("  {took:8.1} ms  {what:<10}  {detail}");
        self.since = Instant::now();
    }

    /// A long step begins.
    fn begin_long(&self, what: &str, detail: &str) {
        if !self.terminal {
            println!("         … ms  {what:<10}  {detail}");
        }
    }

    /// Shows the progress of a long step on a terminal.
    fn live(&self, detail: &str) {
        if self.terminal {
            let shown: String = detail
                .chars()
                .filter(|char| !char.is_control())
                .take(60)
                .collect();
            print!(
                "\r\x1b[K  {:8.1} s   {shown}",
                self.since.elapsed().as_secs_f64()
            );
            // It is no error if the terminal is gone.
            let _ = io::stdout().flush();
        }
    }

    fn clear_live(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }
}
