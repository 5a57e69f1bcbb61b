//! The guest agent, played by a script.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::agent::{COMPLAINT, decode, encode};
use crate::support::{Play, Scratch, Server, begin, scenario, serve};
use qemu_qmp::Disconnected;
use qemu_qmp::agent::{AgentFailure, GuestAgent, ShutdownMode};
use qemu_qmp::error::ErrorClass;
use qemu_qmp::error::{ConnectError, ProtocolError};
use qemu_qmp::wire::Port;
use serde_json::json;

const SHORT: Duration = Duration::from_millis(20);

macro_rules! failure {
    ($operation:expr, $pattern:pat) => {
        let error = run!($operation).unwrap_err();
        assert!(matches!(*error.failure, $pattern), "{error:?}");
    };
}

scenario! {
    fn the_agent_is_synced_before_the_first_command_whatever_came_before() {
        let (socket, agent) = serve(|agent| {
            agent.send_bytes(b"{\"return\": \"for somebody before us\"}\n\xff{\"ret");
            let number = agent.asked_to_sync();
            agent.send(COMPLAINT);
            agent.answer_sync(7);
            agent.answer_sync(number);
            let (_, fence) = agent.agent_line();
            agent.answer_sync(fence["arguments"]["id"].as_u64().unwrap());
            let ping = agent.asked_and_replies("guest-ping", "{}");
            assert_eq!(ping.command.0, json!({"execute": "guest-ping"}));
            let info = r#"{"version": "7.2.0", "supported_commands": [
                {"name": "guest-shutdown", "enabled": true, "success-response": false},
                {"name": "guest-exec", "enabled": false, "success-response": true}
            ]}"#.replace('\n', "");
            agent.asked_and_replies("guest-info", info);
            agent.ends();
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        run!(guest.ping()).unwrap();
        let info = run!(guest.info()).unwrap();
        assert_eq!((info.version.as_str(), info.commands.len()), ("7.2.0", 2));
        assert!(info.has("guest-shutdown") && !info.has("guest-exec") && !info.has("x"));
        assert!(!info.commands[0].replies && info.commands[1].replies);
        drop(guest);
        agent.end();
    }
}

scenario! {
    fn commands_are_answered_refused_and_told_apart_by_their_errors() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            let asked = agent.asked("guest-fsfreeze-freeze-list");
            assert_eq!(asked.command.arguments(), &json!({"mountpoints": ["/"]}));
            agent.reply(&asked, "1");
            let asked = agent.asked("nonesuch");
            agent.send(r#"{"error": {"class": "CommandNotFound", "desc": "no such"}}"#);
            agent.answer_sync(asked.fence);
            agent.asked_and_replies("guest-info", "7");
            let asked = agent.asked("guest-suspend-ram");
            agent.answer_sync(asked.fence);
            let asked = agent.asked("guest-odd");
            agent.send("what?");
            agent.answer_sync(asked.fence);
            agent.sync();
            agent.asked_and_replies("guest-ping", "{}");
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let frozen = guest.execute_json("guest-fsfreeze-freeze-list", json!({"mountpoints": ["/"]}));
        assert_eq!(run!(frozen).unwrap(), 1);
        let error = run!(guest.execute_json("nonesuch", ())).unwrap_err();
        assert_eq!(error.reply().unwrap().class, ErrorClass::CommandNotFound);
        assert_eq!(
            error.to_string(),
            "server, guest agent: command 'nonesuch' failed: no such (CommandNotFound)"
        );
        failure!(guest.info(), AgentFailure::Shape { .. });
        failure!(guest.execute_json("guest-suspend-ram", ()), AgentFailure::NoReply);
        failure!(guest.execute_json("guest-odd", [1]), AgentFailure::Arguments { .. });
        failure!(
            guest.execute_json("guest-odd", ()),
            AgentFailure::NotUnderstood { error: ProtocolError::NotJson { .. } }
        );
        run!(guest.ping()).unwrap();
        agent.end();
    }
}

// D6
scenario! {
    fn the_late_reply_of_a_command_that_nobody_waits_for_reaches_nobody_else() {
        let (socket, agent) = serve(|agent| {
            agent.ready_agent();
            let slow = agent.asked("slow");
            let number = agent.asked_to_sync();
            agent.reply(&slow, r#""late""#);
            agent.send(COMPLAINT);
            agent.answer_sync(number);
            agent.asked_and_replies("next", r#""its own""#);
            // The same for one whose future was dropped.
            agent.fence();
            let dropped = agent.asked("dropped");
            let number = agent.asked_to_sync();
            agent.reply(&dropped, r#""late""#);
            agent.answer_sync(number);
            agent.asked_and_replies("last", r#""its own""#);
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        let began = Instant::now();
        failure!(guest.execute_json("slow", ()).timeout(SHORT), AgentFailure::Timeout { limit: SHORT });
        assert!(began.elapsed() >= SHORT);
        assert_eq!(run!(guest.execute_json("next", ())).unwrap(), "its own");
        run!(guest.wait_until_ready()).unwrap();
        drop(begin(guest.execute_json("dropped", ())));
        assert_eq!(run!(guest.execute_json("last", ())).unwrap(), "its own");
        agent.end();
    }
}

scenario! {
    fn an_agent_that_never_answers_costs_the_deadline_and_is_told_from_a_busy_one() {
        let (begin_to_answer, may_answer) = mpsc::channel::<()>();
        let (socket, agent) = serve(move |agent| {
            let first = agent.asked_to_sync();
            may_answer.recv().unwrap();
            // Those who had given up by now are not asked for.
            let mut number = first;
            for _ in 0..2 {
                number = agent.asked_to_sync();
            }
            agent.answer_sync(first);
            agent.answer_sync(number);
            let busy = agent.asked("busy");
            may_answer.recv().unwrap();
            agent.reply(&busy, "{}");
            agent.asked_and_replies("guest-ping", "{}");
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let error = run!(guest.wait_until_ready().timeout(SHORT)).unwrap_err();
        assert!(
            matches!(*error.failure, AgentFailure::NotReady { limit: SHORT, port: Port::Unknown, .. }),
            "{error:?}"
        );
        failure!(guest.execute_json("never", ()).timeout(SHORT), AgentFailure::NotReady { .. });
        begin_to_answer.send(()).unwrap();
        let busy = begin(guest.execute_json("busy", ()));
        // It is sent when the sync is answered, by nobody's poll.
        let waits = guest.ping().timeout(Duration::from_millis(200));
        let error = run!(waits).unwrap_err();
        assert!(
            matches!(*error.failure, AgentFailure::Busy { .. } | AgentFailure::NotReady { .. }),
            "{error:?}"
        );
        begin_to_answer.send(()).unwrap();
        run!(busy).unwrap();
        run!(guest.ping()).unwrap();
        agent.end();
    }
}

scenario! {
    fn a_future_that_nobody_polls_holds_up_nobody() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            for n in 0..3 {
                agent.asked_and_replies("guest-ping", n);
            }
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let unpolled = [(); 2].map(|()| begin(guest.ping()));
        run!(guest.ping()).unwrap();
        for ping in unpolled {
            run!(ping).unwrap();
        }
        agent.end();
    }
}

scenario! {
    fn the_end_of_the_channel_is_told_to_everyone_who_waits_and_comes_later() {
        let (socket, agent) = serve(|agent| {
            agent.ready_agent();
            agent.asked("never");
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        let sent = begin(guest.execute_json("never", ()).timeout(None));
        let queued = begin(guest.ping().timeout(None));
        let error = run!(sent).unwrap_err();
        assert!(
            matches!(*error.failure, AgentFailure::Interrupted { was_sent: true, cause: Disconnected::ByServer }),
            "{error:?}"
        );
        for later in [queued, begin(guest.ping())] {
            let error = run!(later).unwrap_err();
            assert!(matches!(*error.failure, AgentFailure::Interrupted { was_sent: false, .. }), "{error:?}");
        }
        assert!(matches!(guest.disconnected(), Some(Disconnected::ByServer)));
        agent.end();

        let (socket, agent) = serve(|agent| {
            agent.asked_to_sync();
            agent.ends();
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let waits = begin(guest.wait_until_ready().timeout(None));
        guest.close();
        failure!(waits, AgentFailure::Interrupted { cause: Disconnected::ByClient, .. });
        agent.end();
    }
}

scenario! {
    fn a_program_is_run_to_its_end_with_its_input_and_output() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            let exec = agent.asked_and_replies("guest-exec", r#"{"pid": 42}"#);
            assert_eq!(
                exec.command.arguments(),
                &json!({
                    "path": "sort", "arg": ["-r", "-u"], "env": ["LANG=C", "A="],
                    "input-data": "YgphCg==", "capture-output": true,
                })
            );
            for _ in 0..3 {
                agent.asked_and_replies("guest-exec-status", r#"{"exited": false}"#);
            }
            let ended = agent.asked_and_replies(
                "guest-exec-status",
                r#"{"exited": true, "exitcode": 3, "out-data": "YgphCg==", "out-truncated": true}"#,
            );
            assert_eq!(ended.command.arguments(), &json!({"pid": 42}));
            let exec = agent.asked_and_replies("guest-exec", r#"{"pid": 43}"#);
            assert_eq!(exec.command.arguments(), &json!({"path": "x", "capture-output": true}));
            agent.asked_and_replies(
                "guest-exec-status",
                r#"{"exited": true, "signal": 9, "err-data": "/w=="}"#,
            );
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let sort = guest.exec("sort").arg("-r").args(["-u"]);
        let sort = sort.env("LANG", "C").env("A", "").input("b\na\n");
        let output = run!(sort).unwrap();
        assert_eq!((output.code, output.signal, output.success()), (Some(3), None, false));
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"b\na\n"[..], &b""[..]));
        assert!(output.stdout_truncated && !output.stderr_truncated);
        let output = run!(guest.exec("x")).unwrap();
        assert_eq!((output.code, output.signal, output.stderr), (None, Some(9), vec![0xff]));
        agent.end();
    }
}

scenario! {
    fn a_program_that_does_not_end_is_told_with_its_process() {
        let (socket, agent) = serve(|agent| {
            agent.ready_agent();
            agent.asked_and_replies("guest-exec", r#"{"pid": 42}"#);
            while let Some(asked) = agent.asked_again("guest-exec-status")
                && agent.try_reply(&asked, r#"{"exited": false}"#)
            {}
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        let error = run!(guest.exec("sleep").arg("60").timeout(Duration::from_millis(300))).unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::StillRunning { pid: 42, .. }), "{error:?}");
        drop(guest);
        agent.end();
    }
}

scenario! {
    fn a_deadline_between_a_question_and_its_answer_is_the_program_s() {
        let (socket, agent) = serve(|agent| {
            agent.ready_agent();
            agent.asked_and_replies("guest-exec", r#"{"pid": 42}"#);
            agent.asked_and_replies("guest-exec-status", r#"{"exited": false}"#);
            // It reads the next question, and does not answer.
            agent.asked("guest-exec-status");
            assert!(agent.asked_again("guest-exec-status").is_none());
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        let begun = Instant::now();
        let error = run!(guest.exec("sleep").timeout(Duration::from_millis(300))).unwrap_err();
        let AgentFailure::StillRunning { pid: 42, unanswered_for: Some(silence), .. } = *error.failure
        else {
            panic!("{error:?}");
        };
        assert!(silence <= begun.elapsed(), "{silence:?}");
        let said = error.to_string();
        assert!(said.contains("did not exit within 300ms; it is process 42 in the guest"), "{said}");
        assert!(said.contains("; the agent has not answered for the last "), "{said}");
        drop(guest);
        agent.end();
    }
}

scenario! {
    fn a_program_that_was_started_is_asked_for_and_waited_for_by_its_handle() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            let exec = agent.asked_and_replies("guest-exec", r#"{"pid": 42}"#);
            assert_eq!(exec.command.arguments(), &json!({"path": "daemon", "capture-output": false}));
            let asked = agent.asked_and_replies("guest-exec-status", r#"{"exited": false}"#);
            assert_eq!(asked.command.arguments(), &json!({"pid": 42}));
            agent.asked_and_replies("guest-ping", "{}");
            while let Some(asked) = agent.asked_again("guest-exec-status")
                && agent.try_reply(&asked, r#"{"exited": false}"#)
            {}
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let process = run!(guest.exec("daemon").capture_output(false).spawn()).unwrap();
        assert_eq!(process.pid(), 42);
        assert_eq!(run!(process.status()).unwrap(), None);
        // It holds up nobody.
        run!(guest.ping()).unwrap();
        let error = run!(process.wait_for_exit().timeout(Duration::from_millis(300))).unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::StillRunning { pid: 42, .. }), "{error:?}");
        drop((guest, process));
        agent.end();
    }
}

scenario! {
    fn the_end_of_a_program_is_told_to_all_who_ask_though_the_agent_tells_it_once() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            agent.asked_and_replies("guest-exec", r#"{"pid": 42}"#);
            agent.asked_and_replies("guest-exec-status", r#"{"exited": false}"#);
            let ended = r#"{"exited": true, "exitcode": 0, "out-data": "YgphCg=="}"#;
            agent.asked_and_replies("guest-exec-status", ended);
            // The other caller may have asked before the exit was reported.
            if let Some(asked) = agent.asked_again("guest-exec-status") {
                agent.send(r#"{"error": {"class": "GenericError", "desc": "PID 42 does not exist"}}"#);
                agent.answer_sync(asked.fence);
            }
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        let process = run!(guest.exec("sort").spawn()).unwrap();
        let clone = process.clone();
        let waits = [process.wait_for_exit(), clone.wait_for_exit()].map(begin);
        for waits in waits {
            assert_eq!(run!(waits).unwrap().stdout, b"b\na\n");
        }
        // Nobody asks the agent again.
        assert!(run!(clone.status()).unwrap().unwrap().success());
        assert_eq!(run!(process.wait_for_exit()).unwrap().stdout, b"b\na\n");
        drop((guest, process, clone));
        agent.end();
    }
}

scenario! {
    fn an_end_that_comes_when_the_one_who_asked_has_gone_is_kept() {
        let (go_on, gone) = mpsc::channel::<()>();
        let (socket, agent) = serve(move |agent| {
            agent.ready_agent();
            agent.asked_and_replies("guest-exec", r#"{"pid": 42}"#);
            let asked = agent.asked("guest-exec-status");
            gone.recv().unwrap();
            agent.reply(&asked, r#"{"exited": true, "exitcode": 7}"#);
            agent.asked_and_replies("guest-ping", "{}");
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        let process = run!(guest.exec("x").spawn()).unwrap();
        drop(begin(process.status()));
        go_on.send(()).unwrap();
        run!(guest.ping()).unwrap();
        assert_eq!(run!(process.status()).unwrap().unwrap().code, Some(7));
        agent.end();
    }
}

scenario! {
    fn a_file_is_written_and_read_in_chunks_and_closed() {
        let bytes: Vec<u8> = (0..600_000u32).map(|n| (n * 7 / 3).to_le_bytes()[0]).collect();
        let expected = bytes.clone();
        let (socket, agent) = serve(move |agent| {
            agent.sync();
            let open = agent.asked_and_replies("guest-file-open", "1000");
            assert_eq!(open.command.arguments(), &json!({"path": "/f", "mode": "wb"}));
            let mut file = Vec::new();
            // Less than was asked for is written at first.
            let mut least = 1;
            while file.len() < expected.len() {
                let write = agent.asked("guest-file-write");
                assert_eq!(write.command.arguments()["handle"], 1000);
                let chunk = decode(write.command.arguments()["buf-b64"].as_str().unwrap());
                let count = chunk.len().min(least);
                least *= 1000;
                file.extend_from_slice(&chunk[..count]);
                agent.reply(&write, format_args!(r#"{{"count": {count}, "eof": false}}"#));
            }
            assert!(file == expected);
            agent.asked_and_replies("guest-file-close", "{}");
            let open = agent.asked_and_replies("guest-file-open", "1001");
            assert_eq!(open.command.arguments(), &json!({"path": "/f", "mode": "rb"}));
            for chunk in file.chunks(200_000) {
                let read = agent.asked("guest-file-read");
                assert_eq!(read.command.arguments()["handle"], 1001);
                let (count, text) = (chunk.len(), encode(chunk));
                agent.reply(&read, format_args!(r#"{{"count": {count}, "eof": false, "buf-b64": "{text}"}}"#));
            }
            agent.asked_and_replies("guest-file-read", r#"{"count": 0, "eof": true, "buf-b64": ""}"#);
            let close = agent.asked_and_replies("guest-file-close", "{}");
            assert_eq!(close.command.arguments(), &json!({"handle": 1001}));
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.write_file("/f", bytes.as_slice())).unwrap();
        assert!(run!(guest.read_file("/f")).unwrap() == bytes);
        agent.end();
    }
}

scenario! {
    fn a_file_is_closed_in_the_guest_whatever_fails() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            let read = |agent: &mut Server, reply: &str| {
                agent.asked_and_replies("guest-file-open", "5");
                agent.asked_and_replies("guest-file-read", reply);
                let close = agent.asked_and_replies("guest-file-close", "{}");
                assert_eq!(close.command.arguments(), &json!({"handle": 5}));
            };
            read(agent, r#"{"count": 3, "eof": false, "buf-b64": "Zm9v"}"#);
            read(agent, r#"{"count": 4, "eof": false, "buf-b64": "Zm9v"}"#);
            read(agent, r#"{"count": 3, "eof": false, "buf-b64": "Zm9"}"#);
            read(agent, r#"{"count": 0, "eof": false, "buf-b64": ""}"#);
            for reply in [r#"{"count": 4}"#, r#"{"count": 0}"#, r#"{"count": -1}"#, "{}"] {
                agent.asked_and_replies("guest-file-open", "6");
                agent.asked_and_replies("guest-file-write", reply);
                agent.asked_and_replies("guest-file-close", "{}");
            }
            // A close that fails is not repeated.
            agent.asked_and_replies("guest-file-open", "7");
            let close = agent.asked("guest-file-close");
            agent.send(r#"{"error": {"class": "GenericError", "desc": "disk full"}}"#);
            agent.answer_sync(close.fence);
            agent.asked_and_replies("guest-file-open", r#""odd""#);
            agent.asked_and_replies("guest-ping", "{}");
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        failure!(guest.read_file("/f").limit_bytes(2), AgentFailure::FileTooLarge { limit_bytes: 2 });
        for _ in 0..3 {
            failure!(guest.read_file("/f"), AgentFailure::Shape { .. });
        }
        for _ in 0..4 {
            failure!(guest.write_file("/f", "foo"), AgentFailure::Shape { .. });
        }
        let error = run!(guest.write_file("/f", "")).unwrap_err();
        assert_eq!((error.command.as_str(), error.reply().unwrap().desc.as_str()), ("guest-file-close", "disk full"));
        failure!(guest.read_file("/f"), AgentFailure::Shape { .. });
        run!(guest.ping()).unwrap();
        agent.end();
    }
}

scenario! {
    fn a_file_is_closed_in_the_guest_though_nobody_waits_any_more() {
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (at, is_at) = smol::channel::bounded(1);
        let (socket, agent) = serve(move |agent| {
            // Its reader leaves while it is opened,
            agent.ready_agent();
            let open = agent.asked("guest-file-open");
            may_go_on.recv().unwrap();
            agent.reply(&open, "5");
            let close = agent.asked_and_replies("guest-file-close", "{}");
            assert_eq!(close.command.arguments(), &json!({"handle": 5}));
            at.send_blocking(()).unwrap();
            // or while it is read.
            agent.asked_and_replies("guest-file-open", "6");
            let read = agent.asked("guest-file-read");
            at.send_blocking(()).unwrap();
            let number = agent.asked_to_sync();
            agent.reply(&read, r#"{"count": 0, "eof": true}"#);
            agent.answer_sync(number);
            let close = agent.asked_and_replies("guest-file-close", "{}");
            assert_eq!(close.command.arguments(), &json!({"handle": 6}));
            at.send_blocking(()).unwrap();
            agent.asked_and_replies("guest-ping", "{}");
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        drop(begin(guest.read_file("/f")));
        go_on.send(()).unwrap();
        run!(is_at.recv()).unwrap();

        let reading = async { guest.read_file("/f").await.is_ok() };
        let left = async { is_at.recv().await.is_err() };
        assert!(!run!(smol::future::or(reading, left)));
        run!(is_at.recv()).unwrap();
        run!(guest.ping()).unwrap();
        agent.end();
    }
}

scenario! {
    fn a_shutdown_has_succeeded_when_the_agent_goes_on_or_is_gone() {
        let (socket, agent) = serve(|agent| {
            agent.sync();
            let asked = agent.asked("guest-shutdown");
            assert_eq!(asked.command.arguments(), &json!({"mode": "halt"}));
            agent.answer_sync(asked.fence);
            let asked = agent.asked("guest-shutdown");
            agent.send(r#"{"error": {"class": "GenericError", "desc": "child process has failed"}}"#);
            agent.answer_sync(asked.fence);
            let asked = agent.asked("guest-shutdown");
            assert_eq!(asked.command.arguments(), &json!({"mode": "powerdown"}));
        });
        let guest = run!(GuestAgent::over(socket)).unwrap();
        run!(guest.shutdown(ShutdownMode::Halt)).unwrap();
        failure!(guest.shutdown(ShutdownMode::Reboot), AgentFailure::Refused { .. });
        run!(guest.shutdown(ShutdownMode::Powerdown)).unwrap();
        failure!(guest.shutdown(ShutdownMode::Powerdown), AgentFailure::Interrupted { was_sent: false, .. });
        agent.end();
    }
}

scenario! {
    fn an_agent_is_reached_by_a_path_too() {
        let scratch = Scratch::new();
        let listener = std::os::unix::net::UnixListener::bind(scratch.socket()).unwrap();
        let agent = Play::accepted(
            move || listener.accept().unwrap().0.into(),
            |agent| {
                agent.sync();
                agent.asked_and_replies("guest-ping", "{}");
                agent.ends();
            },
        );
        let guest = run!(GuestAgent::connect_unix(scratch.socket())).unwrap();
        run!(guest.ping()).unwrap();
        assert!(guest.server().contains("server at "), "{}", guest.server());
        // The last handle closes it.
        drop(guest);
        agent.end();
        let connect = GuestAgent::connect_unix(scratch.socket()).already_listening();
        let error = run!(connect).unwrap_err();
        assert!(matches!(error, ConnectError::Address { .. }), "{error:?}");
    }
}

scenario! {
    fn an_agent_that_floods_costs_a_known_amount_and_the_deadline() {
        let (socket, agent) = serve(|agent| {
            agent.ready_agent();
            agent.asked("long");
            // A line without an end, until the client is out of patience with it.
            agent.send_bytes(&vec![b'x'; 2000]);
            // What it sends while nobody listens is passed over.
            let number = agent.asked_to_sync();
            let flood = "{\"return\": 1}\n".repeat(10_000);
            for _ in 0..20 {
                agent.send_bytes(flood.as_bytes());
            }
            agent.answer_sync(number);
            let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
            agent.asked_and_replies("deep", deep);
            let asked = agent.asked("events");
            for _ in 0..1000 {
                agent.event("NONSENSE", "{}");
            }
            agent.reply(&asked, "2");
            agent.fence();
            agent.asked("never");
            while agent.try_send_bytes(b"\xff{\"return\": 1}\n\xff\xff{\"event\": \"X\"}\n") {}
        });
        let guest = run!(GuestAgent::over(socket).line_limit_bytes(1000)).unwrap();
        run!(guest.wait_until_ready()).unwrap();
        failure!(
            guest.execute_json("long", ()),
            AgentFailure::NotUnderstood { error: ProtocolError::LineTooLong { limit_bytes: 1000 } }
        );
        // Too deep for a value, but not for the channel.
        failure!(guest.execute_json("deep", ()), AgentFailure::Shape { .. });
        assert_eq!(run!(guest.execute_json("events", ())).unwrap(), 2);
        run!(guest.wait_until_ready()).unwrap();
        let began = Instant::now();
        failure!(guest.execute_json("never", ()).timeout(SHORT), AgentFailure::Timeout { .. });
        failure!(guest.ping().timeout(SHORT), AgentFailure::NotReady { .. });
        assert!(began.elapsed() < Duration::from_secs(15));
        drop(guest);
        agent.end();
    }
}
