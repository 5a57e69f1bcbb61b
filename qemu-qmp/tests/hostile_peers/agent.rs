//! Guests: an agent's channel is the guest's, who may send anything on it.

use std::time::Duration;

use qemu_qmp::Wait;
use qemu_qmp::agent::{AgentFailure, GuestAgent};
use testbed::trials;

use crate::support::{Server, serve};
use crate::{MIB, assembled, block, costs, flood, often, told};

pub(crate) fn trials() -> Vec<testbed::Named> {
    trials![
        sentinels_without_end_cost_a_deadline,
        stale_answers_without_end_cost_a_deadline,
        a_flood_before_the_answer_does_not_hide_it,
        a_line_without_end_costs_its_command_and_the_limit,
        a_file_without_end_is_read_to_the_limit,
        a_program_that_never_ends_costs_its_deadline,
    ]
}

const LIMIT: Duration = Duration::from_secs(1);

/// As long as the client listens.
fn without_end(server: &mut Server, piece: &[u8]) {
    flood(server, usize::MAX, piece);
}

fn sentinels_without_end_cost_a_deadline() {
    costs(0, || {
        let (socket, server) = serve(|agent| without_end(agent, &block(0xff)));
        let agent = GuestAgent::over(socket).wait().unwrap();
        let error = agent.ping().timeout(LIMIT).wait().unwrap_err();
        told(
            &error,
            "'guest-ping' was not sent: the agent did not answer within 1s",
        );
        drop(agent);
        server.end();
    });
}

fn stale_answers_without_end_cost_a_deadline() {
    costs(0, || {
        for stale in [
            b"\xff{\"return\": 1}\n".as_slice(),
            b"\xff{\"return\": 18446744073709551616}\n",
            b"{\"return\": {}}\n",
            b"{\"error\": {\"class\": \"A\", \"desc\": \"\"}}\n",
            b"\n",
        ] {
            let piece = stale.repeat(1000);
            let (socket, server) = serve(move |agent| without_end(agent, &piece));
            let agent = GuestAgent::over(socket).wait().unwrap();
            let ready = agent.wait_until_ready().timeout(Duration::from_millis(300));
            told(
                &ready.wait().unwrap_err(),
                "the agent did not answer within 300ms",
            );
            drop(agent);
            server.end();
        }
    });
}

fn a_flood_before_the_answer_does_not_hide_it() {
    costs(0, || {
        let (socket, server) = serve(|agent| {
            for piece in [
                b"\xff".as_slice(),
                b"\xff{\"return\": 1}\n",
                b"\0",
                b"\xc3\x28\n",
            ] {
                flood(agent, often(20), &piece.repeat(1000));
            }
            agent.ready_agent();
            agent.asked_and_replies("guest-ping", "{}");
            agent.ends();
        });
        let agent = GuestAgent::over(socket).wait().unwrap();
        agent.wait_until_ready().wait().unwrap();
        agent.ping().wait().unwrap();
        drop(agent);
        server.end();
    });
}

fn a_line_without_end_costs_its_command_and_the_limit() {
    costs(assembled(64 * MIB), || {
        let (socket, server) = serve(|agent| {
            agent.ready_agent();
            agent.asked("guest-ping");
            flood(agent, 1100, &block(b'x'));
            agent.sync();
            agent.asked_and_replies("guest-ping", "{}");
            agent.ends();
        });
        let agent = GuestAgent::over(socket).wait().unwrap();
        agent.wait_until_ready().wait().unwrap();
        let error = agent.ping().wait().unwrap_err();
        told(
            &error,
            "'guest-ping' failed: the server sent a line longer than 67108864 \
             bytes; set a higher limit",
        );
        agent.ping().wait().unwrap();
        drop(agent);
        server.end();
    });
}

fn a_file_without_end_is_read_to_the_limit() {
    const SIZE: usize = 8 * MIB;
    costs(assembled(SIZE) + 4 * MIB, || {
        let (socket, server) = serve(|agent| {
            agent.ready_agent();
            agent.asked_and_replies("guest-file-open", "7");
            // Nothing, in base64.
            let nothing = "A".repeat(4 * 87382);
            let piece = format!(r#"{{"count": 262146, "buf-b64": "{nothing}", "eof": false}}"#);
            for _ in 0..=SIZE / 262_146 {
                agent.asked_and_replies("guest-file-read", &piece);
            }
            agent.asked_and_replies("guest-file-close", "{}");
            agent.asked_and_replies("guest-ping", "{}");
            agent.ends();
        });
        let agent = GuestAgent::over(socket).wait().unwrap();
        agent.wait_until_ready().wait().unwrap();
        let read = agent.read_file("/dev/zero").limit_bytes(SIZE);
        let error = read.wait().unwrap_err();
        assert!(matches!(
            *error.failure,
            AgentFailure::FileTooLarge { limit_bytes: SIZE }
        ));
        told(
            &error,
            "failed: the file is longer than 8388608 bytes; set a higher limit",
        );
        // The file is closed before that.
        agent.ping().wait().unwrap();
        drop(agent);
        server.end();
    });
}

fn a_program_that_never_ends_costs_its_deadline() {
    costs(0, || {
        let (socket, server) = serve(|agent| {
            agent.ready_agent();
            agent.asked_and_replies("guest-exec", r#"{"pid": 3}"#);
            while let Some(asked) = agent.asked_again("guest-exec-status")
                && agent.try_reply(&asked, r#"{"exited": false}"#)
            {}
        });
        let agent = GuestAgent::over(socket).wait().unwrap();
        agent.wait_until_ready().wait().unwrap();
        let error = agent.exec("yes").timeout(LIMIT).wait().unwrap_err();
        told(
            &error,
            "timed out: the program did not exit within 1s; it is process 3 in the guest",
        );
        drop(agent);
        server.end();
    });
}
