//! The script language: the steps, and their parser.
//!
//! The parser finds every error that depends only on the script, before the
//! first step runs.

use crate::sys::Signal;
use crate::text::{self, CommandRef, Piece};
use serde_json::value::RawValue;
use std::fmt;
use std::path::PathBuf;

/// A step and its line.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) step: Step,
}

/// One step. Its JSON is checked, and kept as it was written.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Greet {
        oob: bool,
    },
    Negotiate,
    /// `None` is any command.
    Expect {
        command: Option<String>,
    },
    Reply {
        to: CommandRef,
        value: String,
    },
    Error {
        class: String,
        desc: String,
        with_id: bool,
    },
    Event {
        name: String,
        data: Option<String>,
        timed: bool,
    },
    /// The event this number of times, in large writes.
    EventFill {
        times: u64,
        name: String,
        data: Option<String>,
    },
    Serve,
    Send {
        port: Port,
        text: Vec<Piece>,
    },
    Fill {
        port: Port,
        times: u64,
        byte: u8,
    },
    ReadUntil {
        port: Port,
        text: Vec<u8>,
    },
    Close(Port),
    MonitorShutdownWrite,
    WaitEof,
    Silent,
    WaitFile(PathBuf),
    /// Read when the step runs, because the path may not exist before.
    Transcript(PathBuf),
    /// `forever` is `u64::MAX`.
    Repeat {
        times: u64,
        body: Vec<Line>,
    },
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ignore(Signal),
    OnTerm {
        code: u8,
    },
    Die(Signal),
    Stop,
    Exit {
        code: u8,
    },
    ForkChild,
    PrintFds,
    PrintArgs,
    PrintEnv {
        name: String,
    },
    PrintCwd,
}

/// A channel to the peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Port {
    Monitor,
    Console(usize),
    Qtest,
}

impl Port {
    /// The name in errors: the id of its chardev, except for the monitor.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Monitor => "the monitor".to_owned(),
            Self::Console(k) => format!("console{k}"),
            Self::Qtest => "qtest".to_owned(),
        }
    }
}

/// Why a script is invalid.
#[derive(Debug, PartialEq)]
pub(crate) struct ScriptError {
    line: usize,
    message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Parses a whole script.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>, ScriptError> {
    let mut steps = Vec::new();
    // The open blocks: line, number of times, and the steps before them.
    let mut open: Vec<(usize, u64, Vec<Line>)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let error = |message| ScriptError {
            line: number,
            message,
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // One blank ends the name. Further blanks belong to the text, also at the
        // end of the line.
        let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match name {
            "repeat" => {
                let times = times(rest.trim()).map_err(error)?;
                open.push((number, times, std::mem::take(&mut steps)));
            }
            "end" => {
                let block = open
                    .pop()
                    .ok_or_else(|| error("`end` without `repeat`".into()))?;
                let (number, times, before) = block;
                let body = std::mem::replace(&mut steps, before);
                steps.push(Line {
                    number,
                    step: Step::Repeat { times, body },
                });
            }
            _ => steps.push(Line {
                number,
                step: step(name, rest).map_err(error)?,
            }),
        }
    }
    match open.pop() {
        Some((line, ..)) => Err(ScriptError {
            line,
            message: "`repeat` has no `end`".to_owned(),
        }),
        None => Ok(steps),
    }
}

fn step(name: &str, rest: &str) -> Result<Step, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    // These steps need the text after their name unchanged.
    match name {
        "send" => {
            return Ok(Step::Send {
                port: Port::Monitor,
                text: text::template(rest)?,
            });
        }
        "send-line" => {
            let mut text = text::template(rest)?;
            text.push(Piece::Bytes(b"\r\n".to_vec()));
            return Ok(Step::Send {
                port: Port::Monitor,
                text,
            });
        }
        "console" | "console-expect" => return console_step(name, rest),
        "qtest" | "qtest-expect" => return text_step(name == "qtest", Port::Qtest, rest),
        "stdout" => return Ok(Step::Stdout(text::bytes(rest)?)),
        "stderr" => return Ok(Step::Stderr(text::bytes(rest)?)),
        _ => {}
    }
    Ok(match (name, &words[..]) {
        ("greet", []) => Step::Greet { oob: true },
        ("greet", ["no-oob"]) => Step::Greet { oob: false },
        ("negotiate", []) => Step::Negotiate,
        ("expect", ["*"]) => Step::Expect { command: None },
        ("expect", [command]) => Step::Expect {
            command: Some((*command).to_owned()),
        },
        ("reply", [_, ..]) => Step::Reply {
            to: CommandRef::Last,
            value: json(rest)?,
        },
        ("reply-to", [n, _, ..]) => {
            let value = json(after_word(rest))?;
            Step::Reply {
                to: CommandRef::Nth(text::ordinal(n)?),
                value,
            }
        }
        ("error" | "error-no-id", [class, ..]) => Step::Error {
            class: (*class).to_owned(),
            desc: after_word(rest).to_owned(),
            with_id: name == "error",
        },
        ("event" | "event-untimed", [event, data @ ..]) => Step::Event {
            name: (*event).to_owned(),
            data: if data.is_empty() {
                None
            } else {
                Some(json(after_word(rest))?)
            },
            timed: name == "event",
        },
        ("event-fill", [n, event, data @ ..]) => Step::EventFill {
            times: times(n)?,
            name: (*event).to_owned(),
            data: if data.is_empty() {
                None
            } else {
                Some(json(after_word(after_word(rest)))?)
            },
        },
        ("serve", []) => Step::Serve,
        ("fill", [n, byte]) => fill(Port::Monitor, n, byte)?,
        ("console-fill", [n, byte]) => fill(Port::Console(0), n, byte)?,
        ("console-fill", [k, n, byte]) => fill(Port::Console(number(k)?), n, byte)?,
        ("console-close", []) => Step::Close(Port::Console(0)),
        ("console-close", [k]) => Step::Close(Port::Console(number(k)?)),
        ("qtest-fill", [n, byte]) => fill(Port::Qtest, n, byte)?,
        ("qtest-close", []) => Step::Close(Port::Qtest),
        ("monitor-close", []) => Step::Close(Port::Monitor),
        ("monitor-shutdown-write", []) => Step::MonitorShutdownWrite,
        ("wait-eof", []) => Step::WaitEof,
        ("silent" | "read-nothing", []) => Step::Silent,
        ("wait-file", [_, ..]) => Step::WaitFile(rest.trim().into()),
        ("transcript", [_, ..]) => Step::Transcript(rest.trim().into()),
        ("ignore", [signal]) => Step::Ignore(Signal::named(signal)?),
        ("on-term", ["exit", code]) => Step::OnTerm {
            code: number(code)?,
        },
        ("die", [signal]) => Step::Die(Signal::named(signal)?),
        ("stop", []) => Step::Stop,
        ("exit", [code]) => Step::Exit {
            code: number(code)?,
        },
        ("fork-child", []) => Step::ForkChild,
        ("print-fds", []) => Step::PrintFds,
        ("print-args", []) => Step::PrintArgs,
        ("print-env", [name]) => Step::PrintEnv {
            name: (*name).to_owned(),
        },
        ("print-cwd", []) => Step::PrintCwd,
        _ => {
            return Err(format!(
                "no such step, or not with these arguments: `{name} {rest}`"
            ));
        }
    })
}

/// `console [K] TEXT` and `console-expect [K] TEXT`: a number with text after it
/// is K.
fn console_step(name: &str, rest: &str) -> Result<Step, String> {
    let (console, written) = match rest.split_once(' ') {
        Some((k, after)) if !k.is_empty() && k.bytes().all(|b| b.is_ascii_digit()) => {
            (number(k)?, after)
        }
        _ => (0, rest),
    };
    text_step(name == "console", Port::Console(console), written)
}

/// Sends a text, or reads up to its end.
fn text_step(sends: bool, port: Port, written: &str) -> Result<Step, String> {
    let text = text::bytes(written)?;
    if text.is_empty() {
        return Err("the text is empty".to_owned());
    }
    Ok(if sends {
        let text = vec![Piece::Bytes(text)];
        Step::Send { port, text }
    } else {
        Step::ReadUntil { port, text }
    })
}

fn fill(port: Port, n: &str, byte: &str) -> Result<Step, String> {
    match text::bytes(byte)?[..] {
        [byte] => Ok(Step::Fill {
            port,
            times: times(n)?,
            byte,
        }),
        _ => Err(format!("`{byte}` is not one byte")),
    }
}

fn times(word: &str) -> Result<u64, String> {
    if word == "forever" {
        Ok(u64::MAX)
    } else {
        number(word)
    }
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a number, or is out of range"))
}

/// The text after the first word, without the blanks around it.
fn after_word(rest: &str) -> &str {
    rest.trim()
        .split_once(char::is_whitespace)
        .map_or("", |(_, after)| after.trim_start())
}

/// Checks JSON. `send` can send invalid JSON.
fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(text.trim()) {
        Ok(value) => Ok(value.get().to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Step {
        let mut lines = parse(text).unwrap();
        assert_eq!(lines.len(), 1, "{text}");
        lines.remove(0).step
    }

    #[test]
    fn blank_lines_and_comments_count_but_do_nothing() {
        let lines = parse("\n# a comment\n\n  greet  \n\texit 3\r\n").unwrap();
        let expected = [
            Line {
                number: 4,
                step: Step::Greet { oob: true },
            },
            Line {
                number: 5,
                step: Step::Exit { code: 3 },
            },
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn json_is_kept_as_written() {
        let value = r#"{"b": 1.0, "a":"x  y"}"#;
        let to = CommandRef::Last;
        assert_eq!(
            one(&format!("reply {value}")),
            Step::Reply {
                to,
                value: value.into()
            }
        );
        let to = CommandRef::Nth(2);
        assert_eq!(
            one(&format!("reply-to 2 {value}")),
            Step::Reply {
                to,
                value: value.into()
            }
        );
        let event = Step::Event {
            name: "STOP".into(),
            data: Some(value.into()),
            timed: false,
        };
        assert_eq!(one(&format!("event-untimed STOP {value}")), event);
    }

    #[test]
    fn a_text_keeps_its_blanks() {
        let text = |port, text: &[u8]| Step::Send {
            port,
            text: vec![Piece::Bytes(text.into())],
        };
        assert_eq!(one("send  a "), text(Port::Monitor, b" a "));
        let line = vec![
            Piece::Bytes(b"# a".to_vec()),
            Piece::Bytes(b"\r\n".to_vec()),
        ];
        assert_eq!(
            one("send-line # a"),
            Step::Send {
                port: Port::Monitor,
                text: line
            }
        );
        assert_eq!(one("console login: "), text(Port::Console(0), b"login: "));
        assert_eq!(one("console 1  x"), text(Port::Console(1), b" x"));
        assert_eq!(one("console 42"), text(Port::Console(0), b"42"));
        assert_eq!(one("stdout a "), Step::Stdout(b"a ".to_vec()));
    }

    #[test]
    fn a_description_is_the_rest_of_the_line() {
        let (class, desc) = ("GenericError".to_owned(), "it does  not work".to_owned());
        let step = Step::Error {
            class,
            desc,
            with_id: true,
        };
        assert_eq!(one("error GenericError it does  not work"), step);
    }

    #[test]
    fn a_fill_takes_any_byte() {
        let fill = |port, times, byte| Step::Fill { port, times, byte };
        assert_eq!(one("fill forever x"), fill(Port::Monitor, u64::MAX, b'x'));
        assert_eq!(
            one(r"console-fill 1 20 \xff"),
            fill(Port::Console(1), 20, 0xff)
        );
        assert_eq!(
            one(r"console-fill 20 \n"),
            fill(Port::Console(0), 20, b'\n')
        );
    }

    #[test]
    fn a_flood_of_events_has_its_count_first() {
        let step = Step::EventFill {
            times: 20,
            name: "STOP".into(),
            data: Some(r#"{"a": 1}"#.into()),
        };
        assert_eq!(one(r#"event-fill 20 STOP {"a": 1}"#), step);
    }

    #[test]
    fn blocks_nest() {
        let lines = parse("repeat 2\n repeat forever\n  stop\n end\n serve\nend\nexit 0").unwrap();
        let stop = vec![Line {
            number: 3,
            step: Step::Stop,
        }];
        let body = vec![
            Line {
                number: 2,
                step: Step::Repeat {
                    times: u64::MAX,
                    body: stop,
                },
            },
            Line {
                number: 5,
                step: Step::Serve,
            },
        ];
        let expected = [
            Line {
                number: 1,
                step: Step::Repeat { times: 2, body },
            },
            Line {
                number: 7,
                step: Step::Exit { code: 0 },
            },
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_error_names_its_line() {
        let wrong = [
            "grete|greet oob|negotiate x|expect|expect a b|reply|reply {|reply {} {}",
            "reply-to {} {}|reply-to 0 {}|reply-to 1|error|event|event A nojson|send $0|event-fill 1",
            "send \\q|send-line \\|fill 1|fill x x|fill -1 x|fill 1 xx|fill 1 ü|console",
            "console |console 0 |console-expect|console-fill 1|console-close x|wait-file",
            "ignore|ignore TERM|die SIGNOTHING|on-term 0|exit|exit 256|exit -1|print-env|end",
            "repeat|repeat x|repeat 2|greet;serve|qtest|qtest-expect |qtest-fill 1|qtest-close x",
        ];
        for line in wrong.iter().flat_map(|lines| lines.split('|')) {
            let error = parse(&format!("greet\n{line}\n")).expect_err(line);
            assert_eq!(error.line, 2, "{line}: {error}");
        }
    }
}
