//! Serves one client of the guest agent: one command after the other, over the
//! owner's connection, which the owner and other clients use too.
//!
//! The client's syncs are about this connection, so they are not forwarded. The
//! answer to one comes when the agent is known to answer.

use std::collections::VecDeque;
use std::io;

use qemu_qmp::agent::{AgentFailure, GuestAgent};
use qemu_qmp_engine::{Either, PacedSocket, Watched, race};
use serde_json::value::RawValue;

use super::json_stream::{JsonStream, Piece, SENTINEL};
use super::request::{Refusal, Request, reply};
use super::{Closing, PIECE_BYTES, closed, while_there};

/// Serves the client until it or the machine ends.
///
/// # Errors
/// The client has gone.
pub(super) async fn serve(
    socket: &PacedSocket,
    agent: &GuestAgent,
    closing: &Watched<Closing>,
) -> io::Result<()> {
    let mut stream = JsonStream::new(LIMIT_BYTES);
    let mut waiting = VecDeque::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut conversation = Conversation {
        agent,
        is_in_step: false,
    };
    loop {
        let Some(piece) = waiting.pop_front() else {
            match race(closed(closing), socket.read(&mut buffer)).await {
                Either::Left(_) | Either::Right(Ok(0)) => return Ok(()),
                Either::Right(count) => waiting.extend(stream.receive(&buffer[..count?])),
            }
            continue;
        };
        let answer = match piece {
            // What had not ended is dropped already.
            Piece::Sentinel => continue,
            Piece::TooLarge => {
                let desc = format!("a message has {LIMIT_BYTES} bytes at most");
                let refusal = Refusal::generic(desc).to_json();
                return socket.write_all(&reply(&None, Err(&refusal))).await;
            }
            Piece::Value(value) => {
                let work = conversation.execute(&value);
                while_there(socket, closing, work).await
            }
        };
        match answer {
            Some(Answer::Send(bytes)) => socket.write_all(&bytes).await?,
            Some(Answer::Silence) => {}
            Some(Answer::Ended) | None => return Ok(()),
        }
    }
}

struct Conversation<'a> {
    agent: &'a GuestAgent,
    /// Whether the agent has answered, and nothing happened since.
    is_in_step: bool,
}

enum Answer {
    Send(Vec<u8>),
    /// The agent sends nothing either.
    Silence,
    /// The agent's channel has ended.
    Ended,
}

impl Conversation<'_> {
    async fn execute(&mut self, value: &[u8]) -> Answer {
        let request = match Request::parse(value, false) {
            Ok(request) => request,
            Err((id, refusal)) => return Answer::Send(reply(&id, Err(&refusal.to_json()))),
        };
        match request.command.as_str() {
            "guest-sync" => self.sync(&request, false).await,
            "guest-sync-delimited" => self.sync(&request, true).await,
            command if SILENT.contains(&command) => {
                let silent = self
                    .agent
                    .execute_without_reply(command, &request.arguments)
                    .timeout(None);
                let outcome = silent.await.map_err(|error| error.failure);
                self.answer(&request, outcome.map(|()| None))
            }
            command => {
                let executed = self
                    .agent
                    .execute_json(command, &request.arguments)
                    .returning::<Box<RawValue>>()
                    .timeout(None);
                let outcome = executed.await.map_err(|error| error.failure);
                self.answer(&request, outcome.map(Some))
            }
        }
    }

    async fn sync(&mut self, request: &Request, is_delimited: bool) -> Answer {
        let arguments = request.arguments.as_deref().map_or("{}", RawValue::get);
        let arguments: serde_json::Result<serde_json::Value> = serde_json::from_str(arguments);
        let number = arguments.ok().and_then(|it| it["id"].as_i64());
        let Some(number) = number else {
            let refusal = Refusal::generic("Invalid parameter type for 'id', expected: integer");
            return Answer::Send(reply(&request.id, Err(&refusal.to_json())));
        };
        if !self.is_in_step
            && let Err(error) = self.agent.wait_until_ready().timeout(None).await
        {
            // A channel without an agent is silent too.
            return match *error.failure {
                AgentFailure::Interrupted { .. } => Answer::Ended,
                _ => Answer::Silence,
            };
        }
        self.is_in_step = true;
        let mut bytes = if is_delimited {
            vec![SENTINEL]
        } else {
            Vec::new()
        };
        bytes.extend(reply(&request.id, Ok(&number.to_string())));
        Answer::Send(bytes)
    }

    /// The answer to a command that returned this; `None` if it succeeded without
    /// a reply.
    fn answer(
        &mut self,
        request: &Request,
        outcome: Result<Option<Box<RawValue>>, Box<AgentFailure>>,
    ) -> Answer {
        let answered =
            |result: Result<&str, &str>| -> Answer { Answer::Send(reply(&request.id, result)) };
        let failure = match outcome {
            Ok(value) => {
                self.is_in_step = true;
                return value.map_or(Answer::Silence, |value| answered(Ok(value.get())));
            }
            Err(failure) => failure,
        };
        self.is_in_step = matches!(
            *failure,
            AgentFailure::Refused { .. } | AgentFailure::NoReply
        );
        match *failure {
            AgentFailure::Refused { reply } => answered(Err(reply.raw.get())),
            AgentFailure::NoReply => Answer::Silence,
            AgentFailure::Interrupted { .. } => Answer::Ended,
            other => {
                let why = format!("{}: {other}", request.command);
                answered(Err(&Refusal::generic(why).to_json()))
            }
        }
    }
}

/// The commands that send no reply when they succeed.
const SILENT: [&str; 4] = [
    "guest-shutdown",
    "guest-suspend-disk",
    "guest-suspend-ram",
    "guest-suspend-hybrid",
];

/// The longest message of a client, in bytes.
const LIMIT_BYTES: usize = 16 << 20;
