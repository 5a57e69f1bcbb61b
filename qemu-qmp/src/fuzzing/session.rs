//! Any bytes from a server, and commands between them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CUTS, Cut, Step, steps};
use crate::wire::{Connection, Id, Line, Output, Settings};

/// Checks these properties:
/// - the outputs do not depend on the pieces in which bytes come;
/// - every reply reaches its waiter;
/// - no line is longer than the limit.
///
/// The first byte of the input sets how the connection begins.
pub fn session(input: &[u8]) {
    let Some((&mode, script)) = input.split_first() else {
        return;
    };
    let settings = Settings {
        greeting: mode & 1 == 0,
        negotiate: mode & 2 == 0,
        line_limit_bytes: if mode & 4 == 0 { 4096 } else { 40 },
    };
    let whole = Session::new(&settings).play(script, CUTS[0]);
    for cut in &CUTS[1..] {
        assert_eq!(Session::new(&settings).play(script, *cut), whole);
    }
}

struct Session {
    connection: Connection<u32>,
    limit_bytes: usize,
    /// The waiters, in the order in which they came.
    waiting: BTreeMap<u32, Id>,
    came: u32,
    /// All bytes of the server, and the lines that were read from them.
    received: Vec<u8>,
    lines: Vec<Vec<u8>>,
    is_broken: bool,
    log: Vec<String>,
}

impl Session {
    fn new(settings: &Settings) -> Self {
        Self {
            connection: Connection::new(settings.clone()),
            limit_bytes: settings.line_limit_bytes,
            waiting: BTreeMap::new(),
            came: 0,
            received: Vec::new(),
            lines: Vec::new(),
            is_broken: false,
            log: Vec::new(),
        }
    }

    /// All outputs, as text.
    fn play(mut self, script: &[u8], cut: Cut) -> Vec<String> {
        self.outputs();
        'script: for step in steps(script) {
            match step {
                Step::Done(action) => self.act(action),
                Step::Received(bytes) => {
                    for piece in cut(bytes) {
                        self.received.extend_from_slice(piece);
                        let lines = &mut self.lines;
                        let see = |line: &[u8]| lines.push(line.to_vec());
                        let end = self.connection.receive_seen(piece, see);
                        self.outputs();
                        if let Err(error) = end {
                            self.is_broken = true;
                            self.log.push(format!("broken: {error}"));
                            break 'script;
                        }
                    }
                }
            }
        }
        self.check_lines();
        let mut left = self.connection.take_waiters();
        left.sort_unstable();
        let waiting: Vec<_> = self.waiting.into_keys().collect();
        assert_eq!(
            left, waiting,
            "who waits is told of the end, and nobody else"
        );
        assert_eq!(self.connection.in_flight(), 0);
        self.log
    }

    fn act(&mut self, action: u8) {
        let line = Line::new("do \"it\"", (action == 1).then_some(b"{}"), false);
        let first = self.waiting.first_key_value();
        match action {
            1 | 2 => {
                let (id, bytes) = self.connection.submit(line, self.came);
                self.enter(id, &bytes);
            }
            3 | 4 => {
                let id = ["a", "b\u{e9}\""][usize::from(action - 3)];
                // The id is in use until its reply, even if its waiter has given up.
                if let Ok(bytes) = self.connection.submit_as(id, line, self.came) {
                    self.enter(Id::Chosen(id.to_owned()), &bytes);
                }
            }
            5 | 6 => {
                if let Some((&waiter, id)) = first {
                    if action == 5 {
                        self.connection.abandon(id);
                    } else {
                        self.connection.withdraw(id);
                    }
                    self.waiting.remove(&waiter);
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, id: Id, bytes: &[u8]) {
        let sent: Value = serde_json::from_slice(bytes).expect("a command is JSON");
        assert_eq!(sent["id"].to_string(), id.to_string());
        assert!(bytes.ends_with(b"}\n"));
        assert!(!self.waiting.values().any(|other| *other == id));
        self.waiting.insert(self.came, id);
        self.came += 1;
    }

    fn outputs(&mut self) {
        while let Some(output) = self.connection.poll_output() {
            if let Output::Reply { waiter, .. } = &output {
                let id = self.waiting.remove(waiter);
                let id = id.expect("who is answered waits").to_string();
                assert!(self.lines.iter().any(|line| answers(line, &id)), "{id}");
            }
            self.log.push(format!("{output:?}"));
        }
    }

    /// The lines are those of the stream, up to a line that broke the protocol.
    fn check_lines(&self) {
        let goes_on = !self.is_broken;
        let mut expected = self.received.split(|&byte| byte == b'\n');
        let partial = expected.next_back().unwrap_or_default();
        let fits = |line: &&[u8]| line.len() <= self.limit_bytes;
        assert!(!goes_on || expected.clone().all(|line| fits(&line)) && fits(&partial));
        let mut expected = expected
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty());
        if goes_on {
            assert!(self.lines.iter().map(Vec::as_slice).eq(expected));
        } else {
            let is_next = |line: &Vec<u8>| expected.next() == Some(line.as_slice());
            assert!(self.lines.iter().all(is_next));
        }
    }
}

/// Whether a line can be the reply to the command of this id.
fn answers(line: &[u8], id: &str) -> bool {
    let Ok(line) = serde_json::from_slice::<Value>(line) else {
        // It is nested deeper than this test reads.
        return true;
    };
    match line.get("id") {
        Some(told) => format!("{told}") == id,
        None => line.get("error").is_some(),
    }
}
