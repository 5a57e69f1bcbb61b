//! What befalls a machine that runs, and what must be told of it at once.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use qemu_machine::error::ExpectFailure;
use qemu_machine::qmp::{Disconnected, EventError};
use qemu_machine::{Machine, Wait};
use serde_json::{Value, json};
use testbed::Target;

use crate::plan::{Fault, Left, Peer, Plan};

/// Brings the plan's fault about.
///
/// # Errors
/// What was told wrongly.
pub(crate) fn befall(plan: &Plan, vm: &Machine) -> Result<(), String> {
    if let Peer::Real { .. } = plan.peer {
        let needs_no_guest = matches!(plan.fault, Fault::Killed(_) | Fault::Stopped);
        if !(plan.early && needs_no_guest) {
            expect(vm, PROMPT)?;
        }
    }
    match plan.fault {
        Fault::Killed(signal) => {
            let mut events = vm.monitor().events_named(["NEVER"]);
            if !target(vm)?.signal(signal.number()) {
                return Err(format!("it has ended before SIG{signal}"));
            }
            match events.next().timeout(None).wait() {
                Err(EventError::Ended { cause, .. }) => by_its_end(&cause)?,
                other => return Err(format!("a listener was told {other:?}")),
            }
            match vm.console().expect("never").timeout(None).wait() {
                Err(error) if matches!(*error.failure, ExpectFailure::MachineEnded(_)) => Ok(()),
                other => Err(format!("an expect was told {other:?}")),
            }
        }
        Fault::Stopped if target(vm)?.stop() => Ok(()),
        Fault::Stopped => Err("it has ended before it was stopped".to_owned()),
        Fault::Exits { .. } => interrupted(vm).and_then(|cause| by_its_end(&cause)),
        Fault::ClosesMonitor => match interrupted(vm)? {
            Disconnected::ByServer if vm.is_running() => Ok(()),
            cause => Err(format!("the monitor was closed, and told was: {cause}")),
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
            // Of another shape than what the first is answered by.
            let answer = ask(vm, "query-kvm")?;
            match plan.peer {
                Peer::Real { .. } if answer["enabled"].is_boolean() => Ok(()),
                Peer::Scripted if answer == json!({}) => Ok(()),
                _ => Err(format!("'query-kvm' was answered by {answer}")),
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
                return Err(format!("of {wanted} events there were {count}"));
            }
            Ok(())
        }
        Fault::ConsoleFlood { bytes } => match plan.peer {
            // All is on its way when the peer serves.
            Peer::Scripted => answers(vm, "go", &json!({})),
            Peer::Real { .. } => {
                send(vm, &format!("flood {bytes}\n"))?;
                let answer = expect(vm, "\r\n> ")?;
                if answer as u64 != bytes {
                    return Err(format!("of {bytes} bytes of a console came {answer}"));
                }
                Ok(())
            }
        },
        Fault::ClosesConsole => match vm.console().expect("never").timeout(None).wait() {
            Err(error) if matches!(*error.failure, ExpectFailure::Closed) => {
                if error.seen != b"last words" {
                    return Err(format!("the console's last words are not there: {error}"));
                }
                answers(vm, "go", &json!({}))
            }
            other => Err(format!("the console was closed, and told was {other:?}")),
        },
        Fault::GuestPoweroff => send(vm, "poweroff\n"),
        Fault::GuestReset => send(vm, "reset\n"),
        Fault::GuestTriplefault => send(vm, "triplefault\n"),
        Fault::GuestPanic => send(vm, "panic\n"),
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

/// The machine's process, to be struck from outside.
fn target(vm: &Machine) -> Result<Target, String> {
    let target = vm.pid().and_then(Target::of);
    target.ok_or_else(|| "it has ended before anything befell it".to_owned())
}

/// Polls once, with nobody to be woken.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Sends a command, and gives why it had no answer.
fn interrupted(vm: &Machine) -> Result<Disconnected, String> {
    match vm.monitor().execute_json("go", ()).timeout(None).wait() {
        Err(error) => match error.disconnected() {
            Some(cause) => Ok(cause.clone()),
            None => Err(error.to_string()),
        },
        Ok(value) => Err(format!("a command was answered by {value}")),
    }
}

fn by_its_end(cause: &Disconnected) -> Result<(), String> {
    match cause {
        Disconnected::ServerEnded(_) => Ok(()),
        other => Err(format!("the machine has ended, and told was: {other}")),
    }
}

fn goes_unanswered(vm: &Machine, command: &str, limit: Duration) -> Result<(), String> {
    let begun = Instant::now();
    match vm.monitor().execute_json(command, ()).timeout(limit).wait() {
        Err(error) if error.disconnected().is_none() && error.reply().is_none() => {
            if begun.elapsed() < limit {
                return Err(format!("before its {limit:?}: {error}"));
            }
            Ok(())
        }
        Err(error) => Err(error.to_string()),
        Ok(value) => Err(format!("'{command}' was answered by {value}")),
    }
}

fn answers(vm: &Machine, command: &str, wanted: &Value) -> Result<(), String> {
    let answer = ask(vm, command)?;
    if answer != *wanted {
        return Err(format!(
            "'{command}' was answered by {answer} instead of {wanted}"
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

/// Waits for this on the console, and gives how much there was before it.
fn expect(vm: &Machine, wanted: &str) -> Result<usize, String> {
    let found = vm.console().expect(wanted).wait();
    found
        .map(|found| found.before_text().len())
        .map_err(|error| error.to_string())
}

const PROMPT: &str = "tiny guest ready\r\n> ";
