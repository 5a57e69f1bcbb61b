//! Lines that are no messages, or too much of one.

use qemu_qmp::error::{ExecuteFailure, ProtocolError};
use qemu_qmp::{Client, Disconnected, Wait};
use serde_json::value::RawValue;
use testbed::trials;

use crate::support::{Received, Server, serve};
use crate::{BLOCK, MIB, assembled, block, costs, flood, often, told};

pub(crate) fn trials() -> Vec<testbed::Named> {
    trials![
        a_line_without_end_ends_the_connection_at_the_limit,
        nesting_without_end_ends_at_the_limit_of_a_line,
        a_reply_of_nothing_but_nesting_costs_its_command_alone,
        a_greeting_far_too_long_is_refused,
        an_error_reply_of_any_length_costs_its_bytes,
        an_event_larger_than_a_listener_s_queue_is_told_as_missed,
        bytes_that_are_no_text_are_told_as_text,
        a_line_of_control_characters_costs_a_transcript_and_a_tap_a_multiple,
    ]
}

/// The errors of a client with a running command when the server sends this.
/// `words` follow the start that all these errors share.
fn told_of(
    line_limit_bytes: usize,
    script: impl FnOnce(&mut Server) + Send + 'static,
    words: &str,
) {
    let (socket, server) = serve(move |server| {
        server.ready();
        server.command();
        script(server);
        server.ends();
    });
    let connect = Client::over(socket).line_limit_bytes(line_limit_bytes);
    let qmp = connect.wait().unwrap();
    let mut events = qmp.events();
    let error = qmp.execute_json("x", ()).timeout(None).wait().unwrap_err();
    told(
        &error,
        &format!("server: command 'x' was interrupted: {words}"),
    );
    let error = events.next().timeout(None).wait().unwrap_err();
    told(&error, &format!("server: no more events: {words}"));
    server.end();
}

/// As long as the client reads.
fn without_end(byte: u8) -> impl FnOnce(&mut Server) {
    move |server| flood(server, usize::MAX, &block(byte))
}

fn a_line_without_end_ends_the_connection_at_the_limit() {
    const LIMIT: usize = 256 * MIB;
    // The buffer of a line doubles, so it grows exactly to this limit.
    costs(LIMIT + LIMIT / 2, || {
        let words = "the server sent a line longer than 268435456 bytes; set a higher limit";
        told_of(LIMIT, without_end(b'x'), words);
    });
    costs(assembled(MIB), || {
        let words = "the server sent a line longer than 1048576 bytes; set a higher limit";
        told_of(MIB, without_end(0), words);
    });
}

fn nesting_without_end_ends_at_the_limit_of_a_line() {
    costs(assembled(16 * MIB), || {
        let script = |server: &mut Server| {
            server.send_bytes(br#"{"return": "#);
            without_end(b'[')(server);
        };
        told_of(
            16 * MIB,
            script,
            "the server sent a line longer than 16777216 bytes",
        );
    });
}

fn answer_in_pieces(server: &mut Server, command: &Received, pieces: [(&[u8], usize); 3]) {
    let begin = format!(r#"{{"id": {}, "#, command.id());
    server.send_bytes(begin.as_bytes());
    for (piece, times) in pieces {
        flood(server, times, piece);
    }
    server.send_bytes(b"}\r\n");
}

fn a_reply_of_nothing_but_nesting_costs_its_command_alone() {
    const DEPTH: usize = often(MIB);
    // The line while its depth is counted; then twice as much of the caller's.
    costs(assembled(2 * DEPTH) + 2 * DEPTH, || {
        let (socket, server) = serve(|server| {
            server.ready();
            for _ in 0..2 {
                let command = server.expect("deep");
                let (open, close) = (block(b'['), block(b']'));
                let times = DEPTH / BLOCK;
                answer_in_pieces(
                    server,
                    &command,
                    [(br#""return": "#, 1), (&open, times), (&close, times)],
                );
            }
            server.echo();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let mut error = qmp.execute_json("deep", ()).wait().unwrap_err();
        if let ExecuteFailure::Shape { received, .. } = &mut *error.failure {
            assert_eq!(received.get().len(), 2 * DEPTH);
        }
        told(
            &error,
            "command 'deep' failed: its reply has an unexpected form: recursion limit exceeded",
        );
        drop(error);
        let raw = qmp.execute_json("deep", ()).returning::<Box<RawValue>>();
        assert_eq!(raw.wait().unwrap().get().len(), 2 * DEPTH);
        qmp.execute_json("after", ()).wait().unwrap();
        drop(qmp);
        server.end();
    });
}

fn a_greeting_far_too_long_is_refused() {
    const SIZE: usize = often(6 * MIB);
    costs(assembled(SIZE), || {
        let (socket, server) = serve(|server| {
            server.send_bytes(br#"{"QMP": {"version": {}, "capabilities": ["#);
            flood(server, SIZE / BLOCK, &b"0,".repeat(32 << 10));
            server.send("0]}}");
            server.ends();
        });
        let error = Client::over(socket).wait().unwrap_err();
        told(
            &error,
            "the connection ended before the handshake finished: the server sent an \
             object that is not a QMP message (a greeting longer than 1048576 bytes): {\"QMP\"",
        );
        server.end();
    });
}

fn an_error_reply_of_any_length_costs_its_bytes() {
    const SIZE: usize = often(4 * MIB);
    costs(assembled(SIZE) + SIZE, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("x");
            answer_in_pieces(
                server,
                &command,
                [
                    (br#""error": {"class": "GenericError", "x": ["#, 1),
                    (&b"0,".repeat(32 << 10), SIZE / BLOCK),
                    (br#"0], "desc": "no"}"#, 1),
                ],
            );
            server.echo();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let error = qmp.execute_json("x", ()).wait().unwrap_err();
        told(&error, "server: command 'x' failed: no (GenericError)");
        qmp.execute_json("after", ()).wait().unwrap();
        drop((qmp, error));
        server.end();
    });
}

fn an_event_larger_than_a_listener_s_queue_is_told_as_missed() {
    const SIZE: usize = 20 * MIB;
    costs(assembled(SIZE) + SIZE, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("go");
            server.send_bytes(br#"{"event": "LARGE", "data": ""#);
            flood(server, SIZE / BLOCK, &block(b'x'));
            server.send("\"}");
            server.event("SMALL", "{}");
            server.answer(&command, "{}");
            server.ends();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let mut events = qmp.events();
        qmp.execute_json("go", ()).wait().unwrap();
        let error = events.next().wait().unwrap_err();
        told(
            &error,
            "server: the listener lagged, and 1 events were dropped",
        );
        assert_eq!(events.next().wait().unwrap().name(), "SMALL");
        drop((qmp, events));
        server.end();
    });
}

fn bytes_that_are_no_text_are_told_as_text() {
    costs(0, || {
        for (line, words) in [
            (
                b"{\"return\": \"\xff\xfe\"}".as_slice(),
                "a line that is not JSON (invalid utf-8 sequence",
            ),
            // An overlong encoding, a surrogate, and a truncated character.
            (
                b"{\"return\": \"\xc0\xaf\"}",
                "a line that is not JSON (invalid utf-8 sequence",
            ),
            (
                b"{\"return\": \"\xed\xa0\x80\"}",
                "a line that is not JSON (invalid utf-8 sequence",
            ),
            (
                b"{\"return\": \"\xf0\x9f",
                "a line that is not JSON (incomplete utf-8 byte sequence",
            ),
            (
                b"\0\0\0\0",
                r"a line that is not JSON (expected value at line 1 column 1): \u{0}\u{0}",
            ),
            (
                b"{\"return\": \"\0\"}",
                "a line that is not JSON (control character",
            ),
            // What would clear a terminal that shows it.
            (
                b"\x1b[2J\x1b]0;x\x07",
                r"a line that is not JSON (expected value at line 1 column 1): \u{1b}[2J",
            ),
        ] {
            let words = format!("the server sent {words}");
            told_of(
                MIB,
                move |server| server.send_bytes(&[line, b"\r\n"].concat()),
                &words,
            );
        }
    });
}

fn a_line_of_control_characters_costs_a_transcript_and_a_tap_a_multiple() {
    const SIZE: usize = 4 * MIB;
    // In a transcript each takes six bytes, put together once; besides, it is
    // the line, its copy, and its text.
    let times = 3 + 2 + 1 + 3 * 6;
    costs(times * SIZE, || {
        let scratch = crate::support::Scratch::new();
        let transcript = qemu_qmp::Transcript::create(scratch.socket()).unwrap();
        let (socket, server) = serve(|server| {
            server.ready();
            flood(server, SIZE / BLOCK, &block(0));
            server.send("");
            server.ends();
        });
        let connect = Client::over(socket).transcript(transcript.clone());
        let qmp = connect.wait().unwrap();
        let mut tap = qmp.tap();
        let error = qmp.events().next().timeout(None).wait().unwrap_err();
        told(
            &error,
            "a line that is not JSON (expected value at line 1 column 1)",
        );
        assert!(matches!(
            qmp.disconnected(),
            Some(Disconnected::Protocol(ProtocolError::NotJson { .. }))
        ));
        assert_eq!(tap.next().wait().unwrap().line().len(), SIZE);
        assert_eq!(transcript.write_error(), None);
        let written = std::fs::metadata(scratch.socket()).unwrap().len();
        assert!(written >= 6 * SIZE as u64, "{written}");
        server.end();
    });
}
