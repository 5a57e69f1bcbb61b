//! An honest agent on a hostile channel: any bytes may come before, between and
//! after the agent's bytes.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::{CUTS, Cut, Step, steps};
use crate::wire::{
    AgentAnswer, AgentConnection, AgentOutput, AgentSettings, Line, PauseReason, Port, RequestStage,
};

/// Checks these properties:
/// - only a waiting request gets an answer;
/// - a reply is the agent's reply to that command, unless other bytes came while the
///   command waited;
/// - nothing depends on the pieces in which bytes come;
/// - the channel gets in step again after any bytes.
///
/// The first byte of the input sets the state of the port.
pub fn agent(input: &[u8]) {
    let Some((&mode, script)) = input.split_first() else {
        return;
    };
    let settings = AgentSettings {
        line_limit_bytes: if mode & 4 == 0 { 4096 } else { 60 },
        port: [Port::Unknown, Port::Closed, Port::Open][usize::from(mode & 3).min(2)],
        // The hostile bytes cannot know it.
        first_sync: BuildHasherDefault::<DefaultHasher>::default().hash_one(input) >> 16,
    };
    let whole = Channel::new(&settings).play(script, CUTS[0]);
    for cut in &CUTS[1..] {
        assert_eq!(Channel::new(&settings).play(script, *cut), whole);
    }
}

struct Channel {
    connection: AgentConnection<u32>,
    guest: Guest,
    requests: BTreeMap<u32, Request>,
    came: u32,
    cut: Cut,
    log: Vec<String>,
}

#[allow(clippy::struct_excessive_bools)]
struct Request {
    id: u64,
    is_kept: bool,
    is_given_up: bool,
    is_sent: bool,
    /// Other bytes came while it waited.
    is_doubtful: bool,
    /// It is a sync. When it is sent is not visible here.
    is_sync: bool,
    /// The agent has read it, and sends no reply.
    is_silent: bool,
}

impl Channel {
    fn new(settings: &AgentSettings) -> Self {
        Self {
            connection: AgentConnection::new(settings),
            guest: Guest::default(),
            requests: BTreeMap::new(),
            came: 0,
            cut: CUTS[0],
            log: Vec::new(),
        }
    }

    /// All outputs, as text.
    fn play(mut self, script: &[u8], cut: Cut) -> Vec<String> {
        self.cut = cut;
        for step in steps(script) {
            match step {
                Step::Received(bytes) => {
                    let sent = self.requests.values_mut();
                    let sent = sent.filter(|it| it.is_sent || it.is_sync);
                    sent.for_each(|it| it.is_doubtful = true);
                    self.receive(bytes);
                }
                Step::Done(action) => self.act(action),
            }
            self.outputs();
        }
        self.gets_in_step();
        self.log
    }

    fn act(&mut self, action: u8) {
        match action {
            1 => self.submit(AgentConnection::submit),
            2 => {
                self.submit(AgentConnection::submit_kept);
                self.last().is_kept = true;
            }
            3 => {
                self.submit(|channel, line, who| {
                    channel.submit_unattended(line, who);
                    u64::MAX
                });
                self.last().is_given_up = true;
            }
            4 => self.submit_sync(),
            5 => self.give_up(|waiting| waiting.next()),
            6 => self.give_up(|waiting| waiting.last()),
            7 => self.connection.port_changed(true),
            8 => self.connection.port_changed(false),
            11 => self.connection.guest_paused(Some(PauseReason::Panicked)),
            12 => self.connection.guest_paused(None),
            14 => self.answers(Guest::reply),
            15 => self.answers(Guest::error),
            16 => self.answers(Guest::silence),
            17 => self.guest = Guest::default(),
            18 => {
                for (waiter, was_sent) in self.connection.take_waiters() {
                    let request = self.requests.remove(&waiter);
                    let request = request.expect("it waits");
                    assert!(request.is_sync || request.is_sent == was_sent);
                }
            }
            _ => {}
        }
    }

    fn submit(&mut self, submit: impl FnOnce(&mut AgentConnection<u32>, Line, u32) -> u64) {
        let line = Line::new(&format!("do-{}", self.came), None, false);
        let request = Request {
            id: 0,
            is_kept: false,
            is_given_up: false,
            is_sent: false,
            is_doubtful: false,
            is_sync: false,
            is_silent: false,
        };
        self.requests.insert(self.came, request);
        let id = submit(&mut self.connection, line, self.came);
        self.last().id = id;
        self.came += 1;
    }

    fn submit_sync(&mut self) {
        self.submit(|channel, _, who| channel.submit_sync(who));
        self.last().is_sync = true;
    }

    /// The last request. Its answer was not taken yet.
    fn last(&mut self) -> &mut Request {
        let last = self.requests.last_entry();
        last.expect("there is one").into_mut()
    }

    fn give_up(&mut self, choose: fn(&mut dyn Iterator<Item = u32>) -> Option<u32>) {
        let waiting = self.requests.iter().filter(|(_, it)| !it.is_given_up);
        let Some(waiter) = choose(&mut waiting.map(|(&waiter, _)| waiter)) else {
            return;
        };
        let request = self.requests.get_mut(&waiter).expect("it was chosen");
        request.is_given_up = true;
        let standing = self.connection.give_up(request.id);
        assert!(request.is_sync || (standing == RequestStage::Sent) == request.is_sent);
        if !(request.is_kept && request.is_sent) {
            self.requests.remove(&waiter);
        }
    }

    /// The agent reads and answers the next line, if there is one.
    fn answers(&mut self, answer: fn(&str) -> String) {
        if answer("").is_empty()
            && let Some(line) = self.guest.lines.front()
        {
            let read = |it: &(&u32, &mut Request)| line.contains(&format!("\"do-{}\"", it.0));
            if let Some((_, request)) = self.requests.iter_mut().find(read) {
                request.is_silent = true;
            }
        }
        if let Some(bytes) = self.guest.next(answer) {
            self.receive(&bytes);
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        for piece in (self.cut)(bytes) {
            self.connection.receive(piece);
            self.outputs();
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.connection.poll_output() {
            self.log.push(format!("{output:?}"));
            match output {
                AgentOutput::Transmit(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    for (waiter, request) in &mut self.requests {
                        if text.contains(&format!("\"do-{waiter}\"")) {
                            assert!(!request.is_sent, "nothing is sent twice");
                            request.is_sent = true;
                        }
                    }
                    self.guest.sent(&bytes);
                }
                AgentOutput::Answer { waiter, answer } => {
                    let request = self.requests.remove(&waiter);
                    let request = request.expect("who is answered waits");
                    if !request.is_doubtful {
                        check(waiter, &request, &answer);
                    }
                }
            }
        }
    }

    /// In any state, a running agent is found, if the waiters give up now and
    /// then.
    fn gets_in_step(&mut self) {
        self.connection.guest_paused(None);
        self.connection.port_changed(true);
        self.guest = Guest::default();
        for _ in 0..3 {
            self.submit_sync();
            let last = self.came - 1;
            self.outputs();
            while let Some(bytes) = self.guest.next(Guest::reply) {
                self.receive(&bytes);
            }
            if !self.requests.contains_key(&last) {
                return;
            }
            while self.requests.values().any(|it| !it.is_given_up) {
                self.give_up(|waiting| waiting.next());
                self.outputs();
            }
        }
        panic!("the channel does not get in step");
    }
}

/// A guest's agent, and the channel to it.
#[derive(Default)]
struct Guest {
    lines: VecDeque<String>,
}

impl Guest {
    fn sent(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == 0xff || byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(line) => self
                    .lines
                    .push_back(String::from_utf8(line.into()).unwrap()),
                // It complains about the sentinel.
                None => self.lines.push_back(String::new()),
            }
        }
    }

    fn next(&mut self, answer: fn(&str) -> String) -> Option<Vec<u8>> {
        let line = self.lines.pop_front()?;
        if line.is_empty() {
            return Some(
                b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}}\n".into(),
            );
        }
        let command: serde_json::Value = serde_json::from_str(&line).unwrap();
        let name = command["execute"].as_str().unwrap();
        if name == "guest-sync-delimited" {
            let number = &command["arguments"]["id"];
            let answer = format!("{{\"return\": {number}}}\n").into_bytes();
            return Some([vec![0xff], answer].concat());
        }
        Some(answer(name).into_bytes())
    }

    fn reply(name: &str) -> String {
        format!("{{\"return\": \"{name}\"}}\n")
    }

    fn error(name: &str) -> String {
        format!("{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"{name}\"}}}}\n")
    }

    /// The answer of a command without a reply.
    fn silence(_: &str) -> String {
        String::new()
    }
}

/// The possible answers of an honest agent.
fn check(waiter: u32, request: &Request, answer: &AgentAnswer) {
    let name = format!("do-{waiter}");
    match answer {
        AgentAnswer::Return(value) => assert_eq!(value.get(), format!("\"{name}\"")),
        AgentAnswer::Error(reply) => assert_eq!(reply.desc, name),
        AgentAnswer::Silence => assert!(request.is_sync || request.is_silent, "{name} had a reply"),
        AgentAnswer::Gone | AgentAnswer::GuestPaused(_) => {}
        AgentAnswer::NotUnderstood(error) => panic!("{error}"),
    }
}
