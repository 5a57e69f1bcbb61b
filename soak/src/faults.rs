//! The faults of a running machine, and what the library must report at once.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use qemu_machine::error::ExpectFailure;
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::error::EventError;
use qemu_machine::{Machine, Wait};
use serde_json::{Value, json};
use testbed::Target;

use crate::plan::{Fault, Left, Peer, Plan};

/// Causes the plan's fault.
///
/// # Errors
/// The wrong report of the library.
pub(crate) fn befall(plan: &Plan, vm: &Machine) -> Result<(), String> {
    if let Peer::Real { .. } = plan.peer {
        let needs_no_guest = matches!(plan.fault, Fault::Killed(_) | Fault::Stopped);
        match plan.peer {
            _ if plan.early && needs_no_guest => {}
            Peer::Real { is_clone: true, .. } => greet(vm)?,
            _ => expect(vm, PROMPT).map(drop)?,
        }
    }
    match plan.fault {
        Fault::Killed(signal) => {
            let mut events = vm.monitor().events_named(["NEVER"]);
            if !target(vm)?.signal(signal.number()) {
                return Err(format!("the machine ended before SIG{signal}"));
            }
            match events.next().timeout(None).wait() {
                Err(EventError::Ended { cause, .. }) => by_its_end(&cause)?,
                other => return Err(format!("a listener received {other:?}")),
            }
            match vm.console().expect("never").timeout(None).wait() {
                Err(error) if matches!(*error.failure, ExpectFailure::MachineEnded(_)) => Ok(()),
                other => Err(format!("an `expect` returned {other:?}")),
            }
        }
        Fault::Stopped if target(vm)?.stop() => Ok(()),
        Fault::Stopped => Err("the machine ended before it was stopped".to_owned()),
        Fault::Exits { .. } => interrupted(vm).and_then(|cause| by_its_end(&cause)),
        Fault::ClosesMonitor => match interrupted(vm)? {
            Disconnected::ByServer if vm.is_running() => Ok(()),
            cause => Err(format!(
                "the monitor was closed, but the cause was: {cause}"
            )),
        },
        Fault::NeverReplies => goes_unanswered(vm, "go", Duration::from_millis(30)),
        Fault::StrangeReplies => {
            goes_unanswered(vm, "first", Duration::from_millis(10))?;
            answers(vm, "second", &json!("own"))?;
            answers(vm, "third", &json!({}))
        }
        Fault::CommandGivenUp => {
            let given_up = vm.monitor().execute_json("query-version", ());
            let _ = poll_once(given_up.into_future().as_mut());
            // Its reply has another form than the first command's.
            let answer = ask(vm, "query-kvm")?;
            match plan.peer {
                Peer::Real { .. } if answer["enabled"].is_boolean() => Ok(()),
                Peer::Scripted if answer == json!({}) => Ok(()),
                _ => Err(format!("the reply to 'query-kvm' was {answer}")),
            }
        }
        Fault::EventFlood { events: wanted } => {
            let mut events = vm.monitor().events_named(["FLOOD"]);
            answers(vm, "go", &json!("there"))?;
            let mut count = 0;
            while events.try_next().is_some() {
                count += 1;
            }
            if count != wanted {
                return Err(format!("only {count} of {wanted} events arrived"));
            }
            Ok(())
        }
        Fault::ConsoleFlood { bytes } => match plan.peer {
            // When the peer serves, it has sent everything.
            Peer::Scripted => answers(vm, "go", &json!({})),
            Peer::Real { .. } => {
                send(vm, &format!("flood {bytes}\n"))?;
                let answer = expect(vm, "\r\n> ")?;
                if answer as u64 != bytes {
                    return Err(format!("of {bytes} bytes of a console, {answer} arrived"));
                }
                Ok(())
            }
        },
        Fault::ClosesConsole => match vm.console().expect("never").timeout(None).wait() {
            Err(error) if matches!(*error.failure, ExpectFailure::Closed) => {
                if error.seen != b"last words" {
                    return Err(format!("the console's last output is missing: {error}"));
                }
                answers(vm, "go", &json!({}))
            }
            other => Err(format!(
                "the console was closed, but `expect` returned {other:?}"
            )),
        },
        Fault::GuestPoweroff => send(vm, "poweroff\n"),
        Fault::GuestReset => send(vm, "reset\n"),
        Fault::GuestTriplefault => send(vm, "triplefault\n"),
        Fault::GuestPanic => send(vm, "panic\n"),
        Fault::Frozen => freeze(vm),
        _ => match plan.peer {
            Peer::Real { .. } => {
                send(vm, "echo hello\n")?;
                expect(vm, "hello\r\n> ").map(drop)
            }
            Peer::Scripted if plan.fault.leaves() == Left::Stubborn => Ok(()),
            Peer::Scripted => answers(vm, "go", &json!({})),
        },
    }
}

/// Freezes it, and plays a clone.
fn freeze(vm: &Machine) -> Result<(), String> {
    let template = vm.freeze().wait().map_err(|error| error.to_string())?;
    let clone = template.machine().launch().wait();
    let clone = clone.map_err(|error| format!("a clone: {error}"))?;
    drop(template);
    greet(&clone)?;
    clone.kill().wait().map_err(|error| error.to_string())?;
    Ok(())
}

/// Makes the guest of a clone answer: it greeted before it was frozen.
fn greet(vm: &Machine) -> Result<(), String> {
    send(vm, "echo cloned\n")?;
    expect(vm, "cloned\r\n> ").map(drop)
}

/// The machine's process, as the target of a signal from outside.
fn target(vm: &Machine) -> Result<Target, String> {
    let target = vm.pid().and_then(Target::of);
    target.ok_or_else(|| "the machine ended before its fault".to_owned())
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Sends a command that must fail, and returns its error.
fn interrupted(vm: &Machine) -> Result<Disconnected, String> {
    match vm.monitor().execute_json("go", ()).timeout(None).wait() {
        Err(error) => match error.disconnected() {
            Some(cause) => Ok(cause.clone()),
            None => Err(error.to_string()),
        },
        Ok(value) => Err(format!("a command must fail, but returned {value}")),
    }
}

fn by_its_end(cause: &Disconnected) -> Result<(), String> {
    match cause {
        Disconnected::ServerEnded(_) => Ok(()),
        other => Err(format!("the machine ended, but the cause was: {other}")),
    }
}

fn goes_unanswered(vm: &Machine, command: &str, limit: Duration) -> Result<(), String> {
    let begun = Instant::now();
    match vm.monitor().execute_json(command, ()).timeout(limit).wait() {
        Err(error) if error.disconnected().is_none() && error.reply().is_none() => {
            if begun.elapsed() < limit {
                return Err(format!("earlier than its deadline of {limit:?}: {error}"));
            }
            Ok(())
        }
        Err(error) => Err(error.to_string()),
        Ok(value) => Err(format!("the reply to '{command}' was {value}")),
    }
}

fn answers(vm: &Machine, command: &str, wanted: &Value) -> Result<(), String> {
    let answer = ask(vm, command)?;
    if answer != *wanted {
        return Err(format!(
            "the reply to '{command}' was {answer} instead of {wanted}"
        ));
    }
    Ok(())
}

fn ask(vm: &Machine, command: &str) -> Result<Value, String> {
    let answer = vm.monitor().execute_json(command, ()).wait();
    answer.map_err(|error| error.to_string())
}

fn send(vm: &Machine, line: &str) -> Result<(), String> {
    let sent = vm.console().send(line).wait();
    sent.map(drop).map_err(|error| error.to_string())
}

/// Waits for this text on the console, and returns the number of bytes before it.
fn expect(vm: &Machine, wanted: &str) -> Result<usize, String> {
    let found = vm.console().expect(wanted).wait();
    found
        .map(|found| found.before_text().len())
        .map_err(|error| error.to_string())
}

const PROMPT: &str = "tiny guest ready\r\n> ";
