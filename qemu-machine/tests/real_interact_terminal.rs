//! A person's terminal is left as it was: job control, old queries, and modes.
#![allow(missing_docs)]

mod support;

use std::fs::File;
use std::future::IntoFuture;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::task::{Context, Waker};
use std::time::Duration;

use qemu_machine::console::InteractEnd;
use qemu_machine::error::InteractFailure;
use qemu_machine::{Console, Machine, Wait};
use support::{Scratch, fake, linux_guest, release};
use testbed::{bring_to_foreground, pseudo_terminal};

/// What a guest does to a terminal, and what undoes it.
const SET: &str = "\\x1b[?1049h\\x1b[?7l\\x1b[?25l\\x1b[?1000;1006h\\x1b[?2004h\\x1b[?1h\\x1b=\
    \\x1b[1;31mset";
const UNDONE: &str = "\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b[?7h\x1b[?25h\x1b>\
    \x1b[?1049l\x1b[0m";

/// A session that nobody ends does not keep a test from failing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a program waits until it may exit.
const FIFO: &str = "EXIT_WHEN_WRITTEN";

/// A terminal's mode, as stty(1) prints it.
fn mode(terminal: &OwnedFd) -> String {
    let told = Command::new("stty")
        .arg("-g")
        .stdin(terminal.try_clone().unwrap())
        .output()
        .unwrap();
    assert!(told.status.success());
    support::text(&told.stdout)
}

/// Reads until this is seen; gives what was seen before.
fn read_until(mut from: impl Read, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let read = from.read(&mut byte).unwrap();
        assert_eq!(read, 1, "{}", support::text(&seen));
        seen.push(byte[0]);
    }
    seen.truncate(seen.len() - end.len());
    support::text(&seen)
}

fn said(text: &str) -> Machine {
    let script = format!("greet\nconsole {text}\nnegotiate\nsilent");
    let builder = fake(&script).console(Console::serial().screen());
    builder.launch().wait().unwrap()
}

// R10
#[test]
fn queries_of_the_past_are_not_asked_again_and_live_ones_are() {
    let scratch = Scratch::new("queries");
    let fifo = scratch.fifo("fifo");
    let script = format!(
        "greet\nnegotiate\nconsole one\\x1b[6n\\x1b[c\\x1b]11;?\\x07\\x1b[1mtwo\nwait-file {}\n\
         console live\\x1b[6n.\nsilent",
        fifo.display()
    );
    let vm = fake(&script).console(Console::serial().screen());
    let vm = vm.launch().wait().unwrap();
    vm.console().screen_shows("two").wait().unwrap();
    let (mut person, terminal) = pseudo_terminal();
    let copy = || terminal.try_clone().unwrap();
    let session = vm.console().interact().input(copy()).output(copy());
    std::thread::scope(|scope| {
        let session = scope.spawn(|| session.timeout(PATIENCE).wait());
        assert_eq!(read_until(&person, "two"), "one\x1b[1m");
        release(&fifo);
        assert_eq!(read_until(&person, "."), "live\x1b[6n");
        person.write_all(b"\x1d").unwrap();
        session.join().unwrap().unwrap();
    });
    vm.kill().wait().unwrap();
}

// R10
#[test]
fn what_the_guest_has_set_is_undone_however_the_session_ends() {
    let (mut person, terminal) = pseudo_terminal();
    let copy = || terminal.try_clone().unwrap();
    let set = |person: &File| assert!(read_until(person, "set").starts_with("\x1b[?1049h"));
    // What is undone comes next, and all of it.
    let undone = |person: &File| assert_eq!(read_until(person, UNDONE), "");
    let limit = Duration::from_secs(1);

    let vm = said(SET);
    let session = vm.console().interact().input(copy()).output(copy());
    std::thread::scope(|scope| {
        let session = scope.spawn(|| session.timeout(PATIENCE).wait());
        set(&person);
        person.write_all(b"\x1d").unwrap();
        let end = session.join().unwrap().unwrap();
        assert!(matches!(end, InteractEnd::Escape), "{end:?}");
    });
    undone(&person);
    vm.kill().wait().unwrap();

    // Its deadline.
    let vm = said(SET);
    vm.console().screen_shows("set").wait().unwrap();
    let session = vm.console().interact().input(copy()).output(copy());
    let error = session.timeout(limit).wait().unwrap_err();
    assert!(
        matches!(*error.failure, InteractFailure::Timeout { .. }),
        "{error}"
    );
    set(&person);
    undone(&person);
    vm.kill().wait().unwrap();

    // Its drop.
    let vm = said(SET);
    let session = vm.console().interact().input(copy()).output(copy());
    let mut session = session.into_future();
    let mut context = Context::from_waker(Waker::noop());
    assert!(session.as_mut().poll(&mut context).is_pending());
    set(&person);
    drop(session);
    undone(&person);
    vm.kill().wait().unwrap();

    // The machine's end.
    let vm = said(SET);
    let session = vm.console().interact().input(copy()).output(copy());
    std::thread::scope(|scope| {
        let session = scope.spawn(|| session.timeout(PATIENCE).wait());
        set(&person);
        vm.kill().wait().unwrap();
        let end = session.join().unwrap().unwrap();
        assert!(matches!(end, InteractEnd::MachineEnded(_)), "{end:?}");
    });
    undone(&person);
}

// R10
#[test]
fn what_a_real_guest_has_set_is_undone() {
    for qemu in support::qemus() {
        let guest = linux_guest();
        let builder = qemu.bare().memory("256M").console(Console::serial());
        let builder = builder.kernel(guest.join("vmlinux"));
        let builder = builder.initrd(guest.join("initramfs"));
        let builder = builder.append("console=ttyS0 quiet no_timer_check cryptomgr.notests");
        let vm = builder.launch().wait().unwrap();
        let booted = vm.console().expect("linux guest ready");
        booted.timeout(Duration::from_secs(120)).wait().unwrap();
        let (mut person, terminal) = pseudo_terminal();
        let copy = || terminal.try_clone().unwrap();
        let session = vm.console().interact().input(copy()).output(copy());
        std::thread::scope(|scope| {
            let session = scope.spawn(|| session.timeout(PATIENCE).wait());
            read_until(&person, "# ");
            let command = b"printf '\\033[?25l\\033[31m%s\\n' as-set\r";
            person.write_all(command).unwrap();
            read_until(&person, "\x1b[?25l\x1b[31mas-set\r\n");
            person.write_all(b"\x1d").unwrap();
            session.join().unwrap().unwrap();
        });
        // After whatever the prompt still was.
        read_until(&person, "\x1b[?25h\x1b[0m");
        vm.kill().wait().unwrap();
    }
}

/// Runs an ignored test of this program by bash, in a session whose terminal
/// this is.
fn in_session(terminal: &OwnedFd, bash: &str, test: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "bash", "-c", bash, "bash"]);
    command.arg(program);
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.stdin(terminal.try_clone().unwrap());
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    Child(child)
}

struct Child(std::process::Child);

impl Child {
    fn output(self) -> Output {
        self.0.wait_with_output().unwrap()
    }
}

// R10
#[test]
fn a_session_in_the_background_fails_at_once_and_stops_nobody() {
    let (_person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let child = in_session(&terminal, "set -m; \"$@\" & wait $!", "tries_a_session");
    let output = child.output();
    let text = support::text(&output.stdout);
    assert!(text.contains("bring it to the foreground"), "{output:?}");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mode(&terminal), before);
}

// R10
#[test]
fn a_session_that_is_put_into_the_background_ends_at_the_next_key() {
    let (mut person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let mut child = in_session(&terminal, "\"$@\"", "is_put_into_the_background");
    let stdout = child.0.stdout.as_mut().unwrap();
    read_until(&mut *stdout, "in the background\n");
    person.write_all(b"x").unwrap();
    let output = child.output();
    let text = support::text(&output.stdout);
    assert!(text.contains("bring it to the foreground"), "{output:?}");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mode(&terminal), before);
}

// R10
#[test]
fn what_the_guest_has_set_is_undone_when_the_process_exits() {
    let (person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let scratch = Scratch::new("exits");
    let fifo = scratch.fifo("fifo");
    let bash = format!("export {FIFO}='{}'; \"$@\"", fifo.display());
    let child = in_session(&terminal, &bash, "exits_within_a_session");
    read_until(&person, "set");
    release(&fifo);
    assert_eq!(read_until(&person, UNDONE), "");
    let output = child.output();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(mode(&terminal), before);
}

fn own_terminal() -> OwnedFd {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    terminal.unwrap().into()
}

/// What a test above runs.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn tries_a_session() {
    let vm = said("hello");
    let error = vm.console().interact().wait().unwrap_err();
    assert!(
        matches!(*error.failure, InteractFailure::Background),
        "{error}"
    );
    println!("{error}");
    vm.kill().wait().unwrap();
}

/// What a test above runs.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn is_put_into_the_background() {
    let vm = said("hello");
    let terminal = own_terminal();
    let session = vm
        .console()
        .interact()
        .output(File::options().write(true).open("/dev/null").unwrap());
    let mut session = session.into_future();
    let mut context = Context::from_waker(Waker::noop());
    assert!(session.as_mut().poll(&mut context).is_pending());
    // A process of another group, which lives until it is killed.
    let mut other = Command::new("cat");
    let mut other = other
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    bring_to_foreground(&terminal, other.id());
    println!("in the background");
    let error = session.wait().unwrap_err();
    println!("{error}");
    vm.kill().wait().unwrap();
    drop(other.stdin.take());
    other.wait().unwrap();
}

/// What a test above runs.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn exits_within_a_session() {
    let vm = said(SET);
    let session = vm.console().interact().output(own_terminal());
    let mut session = session.into_future();
    let mut context = Context::from_waker(Waker::noop());
    assert!(session.as_mut().poll(&mut context).is_pending());
    // Not before it is shown: what is not shown is not undone.
    drop(File::open(std::env::var_os(FIFO).unwrap()).unwrap());
    std::process::exit(7);
}
