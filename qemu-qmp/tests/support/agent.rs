//! A scripted guest agent.

use std::fmt::Display;
use std::io::BufRead;

use serde_json::{Value, json};

use super::{Received, Server};

/// qemu-ga's answer to a sentinel.
pub const COMPLAINT: &str =
    r#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\uFFFD'"}}"#;

/// A command that an agent received, with its fence.
pub struct Asked {
    pub command: Received,
    pub fence: u64,
}

impl Server {
    /// The next line as JSON, and whether a sentinel came before it.
    pub fn agent_line(&mut self) -> (bool, Value) {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        assert!(!line.is_empty(), "the client has closed the channel");
        let text = line.strip_prefix(b"\xff");
        let value = serde_json::from_slice(text.unwrap_or(&line)).unwrap();
        (text.is_some(), value)
    }

    /// The next line, which must be a sync out of step. Returns its number.
    pub fn asked_to_sync(&mut self) -> u64 {
        let (after_sentinel, line) = self.agent_line();
        assert!(after_sentinel, "{line}");
        number(&line)
    }

    /// Answers a sync.
    pub fn answer_sync(&mut self, number: u64) {
        self.send_bytes(&sync_answer(number));
    }

    /// Receives a sync, and answers it like qemu-ga.
    pub fn sync(&mut self) {
        let number = self.asked_to_sync();
        self.send(COMPLAINT);
        self.answer_sync(number);
    }

    /// Answers the sync and the check that make the agent ready.
    pub fn ready_agent(&mut self) {
        self.sync();
        self.fence();
    }

    /// Answers the check for readiness, in step.
    pub fn fence(&mut self) {
        let (after_sentinel, line) = self.agent_line();
        assert!(!after_sentinel, "{line}");
        self.answer_sync(number(&line));
    }

    /// The next command with its fence. It must be this command, unless the client
    /// leaves or drops it.
    pub fn asked_again(&mut self, name: &str) -> Option<Asked> {
        let next = self.0.fill_buf().unwrap().first().copied()?;
        (next != 0xff).then(|| self.asked(name))
    }

    /// The next two lines, which must be this command and its fence.
    pub fn asked(&mut self, name: &str) -> Asked {
        let (after_sentinel, line) = self.agent_line();
        assert!(!after_sentinel, "{line}");
        assert_eq!(line["execute"], name, "{line}");
        let (after_sentinel, fence) = self.agent_line();
        assert!(!after_sentinel, "{fence}");
        Asked {
            command: Received(line),
            fence: number(&fence),
        }
    }

    /// Replies to a command and its fence in one write, because the client may leave
    /// after the reply.
    pub fn reply(&mut self, asked: &Asked, value: impl Display) {
        assert!(self.try_reply(asked, value), "the client has left");
    }

    /// The same, if the client may have left. Whether it is still there.
    pub fn try_reply(&mut self, asked: &Asked, value: impl Display) -> bool {
        let reply = format!("{{\"return\": {value}}}\n").into_bytes();
        self.try_send_bytes(&[reply, sync_answer(asked.fence)].concat())
    }

    /// Receives a command, and replies to it.
    pub fn asked_and_replies(&mut self, name: &str, value: impl Display) -> Asked {
        let asked = self.asked(name);
        self.reply(&asked, value);
        asked
    }
}

fn sync_answer(number: u64) -> Vec<u8> {
    let mut bytes = vec![0xff];
    bytes.extend(format!("{{\"return\": {number}}}\n").into_bytes());
    bytes
}

fn number(line: &Value) -> u64 {
    assert_eq!(line["execute"], "guest-sync-delimited", "{line}");
    let number = line["arguments"]["id"].as_u64().unwrap();
    let expected = json!({"execute": "guest-sync-delimited", "arguments": {"id": number}});
    assert_eq!(line, &expected);
    number
}

/// Base64, a bit at a time.
pub fn encode(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| bits(*byte, 8)).collect();
    let digit = |six: &[u8]| {
        let value = (0..6).fold(0, |value, place| value << 1 | six.get(place).unwrap_or(&0));
        DIGITS[usize::from(value)] as char
    };
    let mut text: String = bits.chunks(6).map(digit).collect();
    text.extend(std::iter::repeat_n('=', (4 - text.len() % 4) % 4));
    text
}

pub fn decode(text: &str) -> Vec<u8> {
    let digits = text.trim_end_matches('=').bytes();
    let value = |digit| DIGITS.iter().position(|&it| it == digit).unwrap();
    let bits: Vec<u8> = digits
        .flat_map(|digit| bits(u8::try_from(value(digit)).unwrap(), 6))
        .collect();
    let byte = |eight: &[u8]| eight.iter().fold(0, |value, bit| value << 1 | bit);
    bits.chunks_exact(8).map(byte).collect()
}

/// The lowest bits of a number, from the highest to the lowest.
fn bits(number: u8, count: u32) -> impl Iterator<Item = u8> {
    (0..count).rev().map(move |place| number >> place & 1)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
