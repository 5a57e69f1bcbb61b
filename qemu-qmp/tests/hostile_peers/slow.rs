//! Peers that take their time: never more than a deadline of it.

use std::fmt::Display;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::{Client, Wait};
use serde_json::value::RawValue;
use testbed::trials;

use crate::support::{GREETING, Server, serve};
use crate::{costs, flood, often, told};

pub(crate) fn trials() -> Vec<testbed::Named> {
    trials![
        a_slow_drip_does_not_move_a_deadline,
        messages_without_end_before_the_greeting_do_not_move_a_deadline,
        a_reply_in_tiny_pieces_is_a_reply,
    ]
}

const LIMIT: Duration = Duration::from_millis(1200);

/// What a host that is busy may add.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does `work` while a peer begins as told and then sends a byte every 50 ms,
/// until this ends, and checks that it ended by the deadline.
fn dripped<E: Display>(
    starts: impl FnOnce(&mut Server) + Send + 'static,
    bytes: &'static [u8],
    words: &str,
    work: impl FnOnce(std::os::unix::net::UnixStream) -> E,
) {
    let (leave, may_leave) = mpsc::channel::<()>();
    let (socket, server) = serve(move |server| {
        starts(server);
        let mut sent = 0;
        for byte in bytes.chunks(1).cycle() {
            // The pace is the peer's own.
            match may_leave.recv_timeout(Duration::from_millis(50)) {
                Err(RecvTimeoutError::Timeout) if server.try_send_bytes(byte) => sent += 1,
                _ => break,
            }
        }
        sent
    });
    let began = Instant::now();
    let error = work(socket);
    let took = began.elapsed();
    told(&error, words);
    assert!(took >= LIMIT && took < LIMIT + PATIENCE, "{took:?}");
    drop(leave);
    assert!(server.end() > 1);
}

fn a_slow_drip_does_not_move_a_deadline() {
    costs(0, || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let words = "connected to the server, but no greeting came within 1.2s";
                dripped(
                    |_| (),
                    GREETING.as_bytes(),
                    words,
                    |socket| Client::over(socket).timeout(LIMIT).wait().unwrap_err(),
                );
            });
            scope.spawn(|| {
                let words = "server: command 'x' failed: no reply within 1.2s";
                let starts = |server: &mut Server| server.ready();
                dripped(starts, br#"{"return": {}, "id": 2"#, words, |socket| {
                    let qmp = Client::over(socket).wait().unwrap();
                    qmp.execute_json("x", ()).timeout(LIMIT).wait().unwrap_err()
                });
            });
            scope.spawn(|| {
                // Complete events, but never the expected event.
                let words = "server: no event 'X' within 1.2s";
                let starts = |server: &mut Server| {
                    server.ready();
                    server.event("Y", "{}");
                };
                dripped(starts, b"\r\n", words, |socket| {
                    let qmp = Client::over(socket).wait().unwrap();
                    let mut events = qmp.events();
                    events.next_named("X").timeout(LIMIT).wait().unwrap_err()
                });
            });
            scope.spawn(|| {
                let words = "'guest-ping' was not sent: the agent did not answer within 1.2s";
                dripped(
                    |_| (),
                    b"\xff{\"return\": 1",
                    words,
                    |socket| {
                        let agent = GuestAgent::over(socket).wait().unwrap();
                        agent.ping().timeout(LIMIT).wait().unwrap_err()
                    },
                );
            });
        });
    });
}

fn messages_without_end_before_the_greeting_do_not_move_a_deadline() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            flood(
                server,
                usize::MAX,
                &b"{\"event\": \"EARLY\"}\r\n".repeat(1000),
            );
        });
        let began = Instant::now();
        let error = Client::over(socket).timeout(LIMIT).wait().unwrap_err();
        told(
            &error,
            "connected to the server, but no greeting came within 1.2s",
        );
        let took = began.elapsed();
        assert!(took >= LIMIT && took < LIMIT + PATIENCE, "{took:?}");
        server.end();
    });
}

fn a_reply_in_tiny_pieces_is_a_reply() {
    const PIECES: usize = often(100_000);
    costs(3 * 2 * PIECES, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("x");
            for byte in format!(
                r#"{{"id": {}, "return": "{}"#,
                command.id(),
                "x".repeat(PIECES)
            )
            .bytes()
            {
                server.send_bytes(&[byte]);
            }
            server.send("\"}");
            server.echo();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let reply = qmp
            .execute_json("x", ())
            .timeout(None)
            .returning::<Box<RawValue>>();
        assert_eq!(reply.wait().unwrap().get().len(), PIECES + 2);
        drop(qmp);
        server.end();
    });
}
