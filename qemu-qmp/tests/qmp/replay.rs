//! Real sessions with QEMU 7.2 and 10.0, byte for byte, through the core:
//! whole, byte by byte, and cut at every position, with the same result.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use qemu_qmp::wire::{Connection, Line, Output, Settings};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Piece {
    dir: String,
    bytes: String,
}

/// A recorded session, turn by turn. The ids of the recording client are
/// replaced by those that our connection gives: 1 for the negotiation, then
/// 2, 3, …
struct Session {
    name: String,
    turns: Vec<Turn>,
}

/// What the client sent, and what the server said until it sent more.
#[derive(Default)]
struct Turn {
    /// Only commands with an id; what else was sent gets no reply of ours.
    commands: usize,
    server: Vec<u8>,
}

impl Session {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut ours: HashMap<String, u64> = HashMap::new();
        let mut turns = vec![Turn::default()];
        let mut negotiated = false;
        for line in text.lines() {
            let piece: Piece = serde_json::from_str(line).unwrap();
            if piece.dir == ">" {
                let sent = piece
                    .bytes
                    .lines()
                    .filter_map(|line| serde_json::from_str(line).ok());
                let ids: Vec<Value> = sent
                    .filter_map(|command: Value| command.get("id").cloned())
                    .collect();
                turns.push(Turn {
                    commands: ids.len(),
                    server: Vec::new(),
                });
                for id in ids {
                    ours.insert(id.to_string(), ours.len() as u64 + 2);
                }
                continue;
            }
            let server = &mut turns.last_mut().unwrap().server;
            for line in piece.bytes.split_inclusive("\r\n") {
                let message: Value = serde_json::from_str(line).unwrap();
                let line = match message.get("id") {
                    Some(id) => with_id(&message, ours[&id.to_string()]),
                    None if !negotiated && message.get("return").is_some() => {
                        negotiated = true;
                        with_id(&message, 1)
                    }
                    None => line.to_owned(),
                };
                server.extend_from_slice(line.as_bytes());
            }
        }
        Self {
            name: path.strip_prefix(folder()).unwrap().display().to_string(),
            turns,
        }
    }

    fn len(&self) -> usize {
        self.turns.iter().map(|turn| turn.server.len()).sum()
    }

    /// What comes out, as text. `cut` splits what the server said in a turn,
    /// given where it begins in the whole session.
    fn replay(&self, cut: impl Fn(&[u8], usize) -> Vec<&[u8]>) -> Vec<String> {
        let mut connection = Connection::new(Settings::default());
        let (mut log, mut commands, mut position) = (Vec::new(), 0, 0);
        for turn in &self.turns {
            for _ in 0..turn.commands {
                connection.submit(Line::new("recorded", None, false), commands);
                commands += 1;
            }
            for piece in cut(&turn.server, position) {
                let received = connection.receive(piece);
                while let Some(output) = connection.poll_output() {
                    log.push(show(output));
                }
                if let Err(error) = received {
                    log.push(format!("broken {error}"));
                    return log;
                }
            }
            position += turn.server.len();
        }
        assert_eq!(connection.in_flight(), 0, "{}: unanswered", self.name);
        log
    }

    fn replay_whole(&self) -> Vec<String> {
        self.replay(|server, _| vec![server])
    }
}

fn show(output: Output<usize>) -> String {
    match output {
        Output::Transmit(bytes) => format!("send {}", String::from_utf8(bytes).unwrap()),
        Output::Ready(greeting) => format!("ready {greeting:?}"),
        Output::Reply {
            waiter,
            reply: Ok(value),
        } => format!("{waiter} gets {value}"),
        Output::Reply {
            waiter,
            reply: Err(error),
        } => format!("{waiter} gets {error}"),
        Output::Event(event) => format!("event {event}"),
        Output::Unexpected(what) => format!("stray {what}"),
    }
}

fn with_id(message: &Value, id: u64) -> String {
    let mut message = message.clone();
    message["id"] = id.into();
    format!("{message}\r\n")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for version in ["qemu-7.2", "qemu-10.0"] {
        let entries = fs::read_dir(folder().join(version)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files
}

#[test]
fn every_session_gives_the_same_however_it_is_cut() {
    let sessions = files("jsonl");
    assert_eq!(sessions.len(), 22);
    for session in sessions.iter().map(|path| Session::read(path)) {
        let whole = session.replay_whole();
        // Before negotiation is done an error without an id can only be its own.
        let due = if session.name.contains("before-negotiation") {
            "broken "
        } else {
            "ready "
        };
        assert!(
            whole.iter().any(|line| line.starts_with(due)),
            "{}: {whole:#?}",
            session.name
        );
        let bytes = session.replay(|server, _| server.chunks(1).collect());
        assert_eq!(whole, bytes, "{}: byte by byte", session.name);
        for at in 0..=session.len() {
            let cut = session.replay(|server, start| match at.checked_sub(start) {
                Some(at) if at <= server.len() => vec![&server[..at], &server[at..]],
                _ => vec![server],
            });
            assert_eq!(whole, cut, "{}: cut at {at}", session.name);
        }
    }
}

#[test]
fn every_command_of_a_session_gets_its_own_reply() {
    for version in ["qemu-7.2", "qemu-10.0"] {
        let session = |name: &str| Session::read(&folder().join(version).join(name)).replay_whole();
        let log = session("pipelined.jsonl");
        let replies: Vec<_> = log.iter().filter(|line| line.contains(" gets ")).collect();
        assert_eq!(replies.len(), 20);
        for (number, reply) in replies.iter().enumerate() {
            assert!(reply.starts_with(&format!("{number} gets {{")), "{reply}");
        }

        let log = session("errors.jsonl");
        for expected in [
            "0 gets The command no-such-command has not been found (CommandNotFound)",
            "3 gets Device 'nope' not found (DeviceNotFound)",
        ] {
            assert!(log.iter().any(|line| line == expected), "{log:#?}");
        }
        // What QEMU could not read at all was sent without an id.
        assert_eq!(
            log.iter()
                .filter(|line| line.starts_with("stray an error"))
                .count(),
            4
        );

        let log = session("job-lifecycle.jsonl");
        let concluded = |line: &&String| {
            line.starts_with("event JOB_STATUS_CHANGE") && line.contains("concluded")
        };
        assert_eq!(log.iter().filter(concluded).count(), 1);
    }
}

#[test]
fn a_reply_of_200_kb_arrives_in_pieces_of_any_size() {
    let schemas = files("json");
    assert_eq!(schemas.len(), 2);
    for path in schemas {
        let schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let reply = format!("{{\"return\": {schema}, \"id\": 1}}\r\n").into_bytes();
        for size in [1, 7, 4096, 65536, reply.len()] {
            let mut settings = Settings::default();
            (settings.greeting, settings.negotiate) = (false, false);
            let mut connection = Connection::new(settings);
            connection.submit(Line::new("query-qmp-schema", None, false), ());
            assert!(matches!(
                connection.poll_output(),
                Some(Output::Ready(None))
            ));
            for piece in reply.chunks(size) {
                connection.receive(piece).unwrap();
            }
            let Some(Output::Reply {
                reply: Ok(value), ..
            }) = connection.poll_output()
            else {
                panic!("no reply")
            };
            assert_eq!(serde_json::from_str::<Value>(value.get()).unwrap(), schema);
        }
    }
}
