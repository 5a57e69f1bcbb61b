//! The server's side of one QMP conversation, without its socket
//! (`docs/interop/qmp-spec`).
//!
//! It receives a client's bytes, replies to forwarded commands, and events. It
//! returns [`Output`]: bytes to send, and commands to forward or to do.
//!
//! ```text
//!             qmp_capabilities           too large
//! Negotiation ----------------> Ready ------------> Over
//!      `----------------------------------------------^
//! ```
//!
//! Never gives a reply to another command, and never forwards a command before
//! negotiation. Of one client, few commands are forwarded at once: QEMU reads no
//! more while it has eight, and then the owner's commands would wait too.

use std::collections::VecDeque;
use std::time::SystemTime;

use qemu_qmp::Event;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json_stream::{JsonStream, Piece};
use super::request::{Refusal, Request, RequestId, reply};
use crate::registry::own_command::OwnCommand;

/// The state of one conversation.
#[derive(Debug)]
pub(super) struct Session {
    phase: Phase,
    stream: JsonStream,
    offers_oob: bool,
    /// Whether the client has negotiated out-of-band execution.
    oob: bool,
    /// The commands that wait for their turn.
    waiting: VecDeque<Request>,
    /// How many commands in band were forwarded and have no reply yet.
    in_band: usize,
    /// The same out of band.
    out_of_band: usize,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Negotiation,
    Ready,
    Over,
}

/// What the server must do next.
#[derive(Debug)]
pub(super) enum Output {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Listen to events from now on.
    Listen,
    /// Forward the command. Its reply goes to [`Session::replied`].
    Forward(Request),
    /// Do the owner's command. Its reply goes to [`Session::answer`].
    Own(RequestId, OwnCommand),
}

impl Session {
    /// Begins with the greeting. `version` is QEMU's, as in its greeting.
    pub(super) fn new(version: &Value, offers_oob: bool) -> Self {
        let capabilities: &[&str] = if offers_oob { &[OOB] } else { &[] };
        let greeting = json!({"QMP": {"version": version, "capabilities": capabilities}});
        Self {
            phase: Phase::Negotiation,
            stream: JsonStream::new(LIMIT_BYTES),
            offers_oob,
            oob: false,
            waiting: VecDeque::new(),
            in_band: 0,
            out_of_band: 0,
            outputs: VecDeque::from([Output::Send(format!("{greeting}\r\n").into_bytes())]),
        }
    }

    /// Receives bytes, in pieces of any size.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        for piece in self.stream.receive(bytes) {
            match piece {
                Piece::Value(value) => self.value(&value),
                Piece::Sentinel => {
                    let refusal = Refusal::generic("JSON parse error, stray '\\xFF'");
                    self.refuse(&None, &refusal);
                }
                Piece::TooLarge => {
                    let desc = format!("a message has {LIMIT_BYTES} bytes at most");
                    self.refuse(&None, &Refusal::generic(desc));
                    self.phase = Phase::Over;
                }
            }
        }
        self.forward_waiting();
    }

    /// Whether more bytes of the client may be received now.
    pub(super) fn wants_input(&self) -> bool {
        self.phase != Phase::Over
            && self.waiting.len() < WAITING_LIMIT
            && self.out_of_band < WAITING_LIMIT
    }

    /// Whether no forwarded command is without its reply.
    pub(super) fn is_idle(&self) -> bool {
        self.in_band + self.out_of_band + self.waiting.len() == 0
    }

    /// Whether the client must be left, after the outputs.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// A forwarded command has its reply: the value or the error object, as it
    /// was received.
    pub(super) fn replied(&mut self, request: &Request, result: Result<&RawValue, &RawValue>) {
        if request.out_of_band {
            self.out_of_band -= 1;
        } else {
            self.in_band -= 1;
        }
        let result = result.map(RawValue::get).map_err(RawValue::get);
        self.outputs
            .push_back(Output::Send(reply(&request.id, result)));
        self.forward_waiting();
    }

    /// A forwarded command has no reply of QEMU's, for this reason.
    pub(super) fn failed(&mut self, request: &Request, why: &str) {
        let error = Refusal::generic(why).to_json();
        let error = RawValue::from_string(error).expect("JSON that was written here");
        self.replied(request, Err(&error));
    }

    /// A command of the owner was done.
    pub(super) fn answer(&mut self, id: &RequestId, result: Result<&Value, &str>) {
        match result {
            Ok(value) => {
                let line = reply(id, Ok(&value.to_string()));
                self.outputs.push_back(Output::Send(line));
            }
            Err(why) => self.refuse(id, &Refusal::generic(why)),
        }
    }

    /// An event came.
    pub(super) fn event(&mut self, event: &Event) {
        let line = event_line(event.name(), event.raw_data(), event.timestamp());
        self.outputs.push_back(Output::Send(line));
    }

    /// The next output.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn value(&mut self, value: &[u8]) {
        let request = match Request::parse(value, self.oob) {
            Ok(request) => request,
            Err((id, refusal)) => return self.refuse(&id, &refusal),
        };
        let is_negotiation = request.command == NEGOTIATION;
        match (self.phase, is_negotiation) {
            (Phase::Over, _) => {}
            (Phase::Negotiation, true) => self.negotiate(&request),
            (Phase::Negotiation, false) => {
                let desc = format!("Expecting capabilities negotiation with '{NEGOTIATION}'");
                self.refuse(&request.id, &Refusal::not_found(desc));
            }
            (Phase::Ready, true) => {
                let desc = "Capabilities negotiation is already complete, command ignored";
                self.refuse(&request.id, &Refusal::not_found(desc));
            }
            (Phase::Ready, false) => self.command(request),
        }
    }

    fn command(&mut self, request: Request) {
        let arguments = request.arguments.as_deref().map(RawValue::get);
        match OwnCommand::read(&request.command, arguments) {
            Some(Ok(own)) => self.outputs.push_back(Output::Own(request.id, own)),
            Some(Err(why)) => self.refuse(&request.id, &Refusal::generic(why)),
            None if PASSES_DESCRIPTORS.contains(&request.command.as_str()) => {
                let desc = "No file descriptor supplied via SCM_RIGHTS: it cannot be passed to \
                            a published machine";
                self.refuse(&request.id, &Refusal::generic(desc));
            }
            None if request.out_of_band => {
                self.out_of_band += 1;
                self.outputs.push_back(Output::Forward(request));
            }
            None => self.waiting.push_back(request),
        }
    }

    fn forward_waiting(&mut self) {
        while self.in_band < FORWARDED_LIMIT
            && let Some(request) = self.waiting.pop_front()
        {
            self.in_band += 1;
            self.outputs.push_back(Output::Forward(request));
        }
    }

    fn negotiate(&mut self, request: &Request) {
        let arguments = request.arguments.as_deref().map_or("{}", RawValue::get);
        match enabled(arguments, self.offers_oob) {
            Ok(oob) => {
                self.oob = oob;
                self.phase = Phase::Ready;
                // First, so that no event after the reply is missed.
                self.outputs.push_back(Output::Listen);
                let line = reply(&request.id, Ok("{}"));
                self.outputs.push_back(Output::Send(line));
            }
            Err(why) => self.refuse(&request.id, &Refusal::generic(why)),
        }
    }

    fn refuse(&mut self, id: &RequestId, refusal: &Refusal) {
        let line = reply(id, Err(&refusal.to_json()));
        self.outputs.push_back(Output::Send(line));
    }
}

/// Whether these arguments of the negotiation enable out-of-band execution.
fn enabled(arguments: &str, offers_oob: bool) -> Result<bool, String> {
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| error.to_string())?;
    let mut oob = false;
    for (name, value) in arguments.as_object().into_iter().flatten() {
        if name != "enable" {
            return Err(format!("Parameter '{name}' is unexpected"));
        }
        let Some(names) = value.as_array() else {
            return Err("Invalid parameter type for 'enable', expected: array".to_owned());
        };
        for name in names {
            match name.as_str() {
                Some(OOB) if offers_oob => oob = true,
                Some(OOB) => return Err(format!("Capability '{OOB}' is not available")),
                Some(name) => {
                    return Err(format!("Parameter 'enable' does not accept value '{name}'"));
                }
                None => {
                    return Err("Invalid parameter type for 'enable', expected: string".to_owned());
                }
            }
        }
    }
    Ok(oob)
}

fn event_line(name: &str, data: Option<&RawValue>, at: Option<SystemTime>) -> Vec<u8> {
    let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let timestamp = match since {
        Some(since) => json!({"seconds": since.as_secs(), "microseconds": since.subsec_micros()}),
        None => json!({"seconds": -1, "microseconds": -1}),
    };
    let data = data.map(|data| format!(r#", "data": {}"#, data.get()));
    let (name, data) = (Value::from(name), data.unwrap_or_default());
    format!("{{\"timestamp\": {timestamp}, \"event\": {name}{data}}}\r\n").into_bytes()
}

const NEGOTIATION: &str = "qmp_capabilities";

/// The name of the out-of-band capability.
const OOB: &str = "oob";

/// The commands that take a passed descriptor. A forwarded one could take the
/// descriptor that the owner passes at that moment.
const PASSES_DESCRIPTORS: [&str; 2] = ["getfd", "add-fd"];

/// The longest message of a client, in bytes.
const LIMIT_BYTES: usize = 16 << 20;

/// How many commands of one client are forwarded at once, in band.
const FORWARDED_LIMIT: usize = 4;

/// How many commands wait before the client is not read.
const WAITING_LIMIT: usize = 64;

#[cfg(test)]
mod tests;
