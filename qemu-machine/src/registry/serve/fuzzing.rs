//! Fuzzes the server's side of a published machine's monitor.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::session::{Output, Session};
use crate::fuzzing::CUTS;

/// Reads any client's bytes. The result does not depend on how the stream is cut.
/// Everything sent is a message in a line. Each forwarded command has its reply,
/// few are forwarded at once, and none before negotiation.
pub(crate) fn client(input: &[u8]) {
    let whole = play(&CUTS[0](input));
    for cut in &CUTS[1..] {
        assert_eq!(play(&cut(input)), whole);
    }
}

/// All messages to the client, as lines.
fn play(pieces: &[&[u8]]) -> Vec<String> {
    let mut session = Session::new(&json!({}), true);
    let mut sent = Vec::new();
    for piece in pieces {
        session.receive(piece);
    }
    let (mut listens, mut forwarded) = (false, Vec::new());
    let done = RawValue::from_string("{}".to_owned()).expect("it is JSON");
    loop {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(bytes) => sent.push(message(bytes)),
                Output::Listen => listens = true,
                Output::Forward(request) => {
                    assert!(listens, "before negotiation: {request:?}");
                    forwarded.push(request);
                }
                Output::Own(id, _) => session.answer(&id, Ok(&json!({}))),
            }
        }
        let in_band = forwarded.iter().filter(|it| !it.out_of_band).count();
        assert!(in_band <= 4, "{in_band}");
        let Some(request) = forwarded.pop() else {
            break;
        };
        assert!(!session.is_idle());
        session.replied(&request, Ok(&done));
    }
    assert!(session.is_idle());
    sent
}

/// A message: one line of JSON.
fn message(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).expect("it is text");
    let line = text.strip_suffix("\r\n").expect("it is a line");
    assert!(!line.contains(['\r', '\n']), "{line:?}");
    let message: Value = serde_json::from_str(line).expect("it is JSON");
    assert!(message.is_object());
    text
}
