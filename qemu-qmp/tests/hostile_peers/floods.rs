//! More messages than anybody can want.

use std::path::Path;
use std::sync::mpsc;

use qemu_qmp::error::{EventError, ExecuteFailure};
use qemu_qmp::{Client, Wait};
use serde_json::json;
use testbed::trials;

use crate::support::{GREETING, begin, serve};
use crate::{MIB, costs, flood, hold_logger, often, told};

pub(crate) fn trials() -> Vec<testbed::Named> {
    trials![
        events_that_nobody_reads_cost_each_listener_its_bound,
        large_events_that_nobody_reads_cost_each_listener_its_bound,
        replies_to_ids_never_sent_cost_nothing,
        a_reply_that_comes_again_and_again_is_one_reply,
        commands_that_are_never_answered_are_bounded,
        a_command_that_nobody_reads_costs_a_bounded_queue,
        a_job_that_changes_without_end_costs_what_is_told_of_it,
        a_migration_that_changes_without_end_costs_what_is_told_of_it,
        events_before_the_greeting_cost_nothing,
    ]
}

/// The most memory of a queue, including its own overhead.
const QUEUE: usize = 16 * MIB + 100_000 * 32;

/// In pieces of a thousand.
fn thousand(line: &str) -> Vec<u8> {
    format!("{line}\r\n").repeat(1000).into_bytes()
}

fn events_that_nobody_reads_cost_each_listener_its_bound() {
    const EVENTS: usize = often(1_000_000);
    // The events themselves are shared by all who have them.
    costs(QUEUE + 2 * (2 << 20), || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("go");
            let piece = thousand(r#"{"event": "FLOOD", "data": {"n": 1}}"#);
            flood(server, EVENTS / 1000, &piece);
            server.answer(&command, "{}");
            server.echo();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let mut events = qmp.events().with_history();
        let mut others = qmp.events_named(["NEVER"]);
        qmp.execute_json("go", ()).timeout(None).wait().unwrap();
        let missed = EVENTS - 100_000;
        let error = events.next().wait().unwrap_err();
        let words = format!("server: the listener lagged, and {missed} events were dropped");
        told(&error, &words);
        assert_eq!(events.take_all().len(), 100_000);
        assert_eq!(events.history().len(), 100_000);
        assert!(others.try_next().is_none());
        qmp.execute_json("after", ()).wait().unwrap();
        drop((qmp, events, others));
        server.end();
    });
}

fn large_events_that_nobody_reads_cost_each_listener_its_bound() {
    const EVENTS: usize = often(50_000);
    // A tap keeps separate copies of the lines.
    costs(2 * QUEUE, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("go");
            let event = format!(
                "{{\"event\": \"FLOOD\", \"data\": \"{}\"}}\r\n",
                "x".repeat(2000)
            );
            flood(server, EVENTS / 50, event.repeat(50).as_bytes());
            server.answer(&command, "{}");
            server.ends();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let (mut events, mut tap) = (qmp.events(), qmp.tap());
        qmp.execute_json("go", ()).timeout(None).wait().unwrap();
        for error in [
            events.next().wait().unwrap_err(),
            tap.next().wait().unwrap_err(),
        ] {
            let EventError::Lagged { missed, .. } = error else {
                panic!("{error}")
            };
            let kept = EVENTS as u64 - missed;
            assert!(
                (16 * MIB as u64 / 2200..16 * MIB as u64 / 2000).contains(&kept),
                "{kept}"
            );
        }
        drop((qmp, events, tap));
        server.end();
    });
}

fn replies_to_ids_never_sent_cost_nothing() {
    // A thousand words wait for a logger that takes none.
    costs(MIB, || {
        let logger = hold_logger();
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("x");
            for _ in 0..often(5) {
                for id in [r#""x""#, "0", "99999999", "null", "1e9", "{}"] {
                    let words = "y".repeat(300);
                    flood(
                        server,
                        1,
                        &thousand(&format!(r#"{{"return": "{words}", "id": {id}}}"#)),
                    );
                }
                // Of no command: there are others, for each of which it may be.
                let error = r#"{"error": {"class": "A", "desc": ""}, "id": 0}"#;
                flood(server, 1, &thousand(error));
            }
            server.answer(&command, 7);
            server.echo();
        });
        let qmp = Client::over(socket).wait().unwrap();
        assert_eq!(qmp.execute_json("x", ()).timeout(None).wait().unwrap(), 7);
        qmp.execute_json("y", ()).wait().unwrap();
        drop(qmp);
        server.end();
        drop(logger);
    });
}

fn a_reply_that_comes_again_and_again_is_one_reply() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("x");
            let reply = |value| format!(r#"{{"return": {value}, "id": {}}}"#, command.id());
            server.send(reply(1));
            flood(server, often(30), &thousand(&reply(2)));
            let refused = format!(
                r#"{{"error": {{"class": "A", "desc": ""}}, "id": {}}}"#,
                command.id()
            );
            flood(server, often(10), &thousand(&refused));
            server.echo();
        });
        let qmp = Client::over(socket).wait().unwrap();
        assert_eq!(qmp.execute_json("x", ()).wait().unwrap(), 1);
        let arguments = json!({"n": 3});
        let after = qmp.execute_json("y", &arguments).timeout(None);
        assert_eq!(after.wait().unwrap(), arguments);
        drop(qmp);
        server.end();
    });
}

fn commands_that_are_never_answered_are_bounded() {
    const COMMANDS: usize = 100_000;
    // In a table that doubles, which is moved to where it has room.
    costs(COMMANDS * 150, || {
        let (answer, may_answer) = mpsc::channel::<()>();
        let (socket, server) = serve(move |server| {
            server.ready();
            let mut last = server.command();
            while last.name() != "last" {
                last = server.command();
            }
            may_answer.recv().unwrap();
            server.answer(&last, "{}");
            server.command();
            server.ends();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let last = begin(qmp.execute_json("x", ()).timeout(None));
        for _ in 2..COMMANDS {
            drop(begin(qmp.execute_json("x", ()).timeout(None)));
        }
        let command = begin(qmp.execute_json("last", ()).timeout(None));
        let error = qmp.execute_json("x", ()).wait().unwrap_err();
        assert!(
            matches!(*error.failure, ExecuteFailure::Congested),
            "{error}"
        );
        told(
            &error,
            "server: command 'x' was not sent: the server does not read or answer, and the \
             queue to it is full",
        );
        // Each answered command makes room for another.
        answer.send(()).unwrap();
        command.wait().unwrap();
        drop(begin(qmp.execute_json("x", ()).timeout(None)));
        qmp.execute_json("x", ()).wait().unwrap_err();
        drop(last);
        drop(qmp);
        server.end();
    });
}

fn a_command_that_nobody_reads_costs_a_bounded_queue() {
    const LARGE: usize = 4 * MIB;
    let (leave, may_leave) = mpsc::channel::<()>();
    // The queue doubles its room; each command is there as a value of the
    // caller's, as arguments, and as a line, and those that wait are futures
    // with theirs.
    costs(3 * (32 * MIB) + 6 * 2 * LARGE, || {
        let (socket, server) = serve(move |server| {
            server.ready();
            let _ = may_leave.recv();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let filler = json!({"filler": "x".repeat(LARGE)});
        let mut sent = Vec::new();
        let error = loop {
            let mut command = begin(qmp.execute_json("x", &filler).timeout(None));
            match crate::support::poll_once(&mut command) {
                std::task::Poll::Pending => sent.push(command),
                std::task::Poll::Ready(reply) => break reply.unwrap_err(),
            }
        };
        told(
            &error,
            "server: command 'x' was not sent: the server does not read or answer, and the \
             queue to it is full",
        );
        drop((sent, qmp));
        drop(leave);
        server.end();
    });
}

fn a_job_that_changes_without_end_costs_what_is_told_of_it() {
    // The listener's queue, and the reported states.
    costs(QUEUE, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("blockdev-backup");
            server.answer(&command, "{}");
            for _ in 0..often(20) {
                // Asked for now and then, so that the listener keeps up.
                let status = |status: &str| {
                    format!(
                        r#"{{"event": "JOB_STATUS_CHANGE", "data": {{"id": "j", "status": "{status}"}}}}"#
                    )
                };
                flood(server, 1, &thousand(&status(&"x".repeat(1000))));
                server.send(status("pending"));
                let command = server.expect("job-finalize");
                server.answer(&command, "{}");
            }
            server.send(r#"{"event": "JOB_STATUS_CHANGE", "data": {"id": "j", "status": "null"}}"#);
            server.ends();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let arguments = json!({"job-id": "j", "auto-finalize": false});
        let job = qmp.run_job("blockdev-backup", arguments).timeout(None);
        let report = job.wait().unwrap();
        assert_eq!(report.states.len(), 1000);
        assert_eq!(report.states[999], "null");
        assert!(report.states.iter().all(|state| state.len() <= 64));
        drop((qmp, report));
        server.end();
    });
}

fn a_migration_that_changes_without_end_costs_what_is_told_of_it() {
    costs(QUEUE, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let names = ["migrate-set-capabilities", "query-yank", "getfd", "migrate"];
            for name in names {
                let command = server.expect(name);
                server.answer(&command, "{}");
            }
            let status = |status: &str| {
                format!(r#"{{"event": "MIGRATION", "data": {{"status": "{status}"}}}}"#)
            };
            flood(server, 5, &thousand(&status(&"x".repeat(1000))));
            server.send(status("completed"));
            let command = server.expect("query-migrate");
            server.answer(&command, r#"{"total-time": -1, "ram": []}"#);
            let command = server.expect("query-status");
            server.answer(&command, r#"{"running": false, "status": "postmigrate"}"#);
            server.ends();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let migration = qmp.migrate_over(Path::new("/dev/null")).timeout(None);
        let report = migration.wait().unwrap();
        assert_eq!(report.states.len(), 1000);
        assert_eq!(report.states[999], "completed");
        assert!(report.states.iter().all(|state| state.len() <= 64));
        assert_eq!(report.total_time, None);
        drop((qmp, report));
        server.end();
    });
}

fn events_before_the_greeting_cost_nothing() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            flood(server, often(50), &thousand(r#"{"event": "EARLY"}"#));
            server.send(GREETING);
            server.negotiate();
            server.echo();
        });
        let qmp = Client::over(socket).timeout(None).wait().unwrap();
        qmp.execute_json("x", ()).wait().unwrap();
        drop(qmp);
        server.end();
    });
}
