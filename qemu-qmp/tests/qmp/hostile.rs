//! A server that breaks the protocol, floods, or does not read.

use std::future::IntoFuture;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::support::{GREETING, UNREADABLE, begin, poll_once, scenario, serve};
use qemu_qmp::error::{EventError, ExecuteFailure, ProtocolError};
use qemu_qmp::{Client, Disconnected, Wait};
use serde_json::json;
use serde_json::value::RawValue;

/// The errors of all waiters when the server sends `line`: two commands, a listener,
/// and a later command.
macro_rules! told_of {
    ($line:expr) => {{
        let line: Vec<u8> = $line;
        let (socket, server) = serve(move |server| {
            server.ready();
            server.command();
            server.command();
            server.event("BEFORE", "{}");
            server.send_bytes(&line);
            server.ends();
        });
        let qmp = run!(Client::over(socket).line_limit_bytes(1000)).unwrap();
        let mut events = qmp.events();
        let pending = [(); 2].map(|()| begin(qmp.execute_json("never", ()).timeout(None)));
        let mut causes = Vec::new();
        for command in pending {
            match *run!(command).unwrap_err().failure {
                ExecuteFailure::Interrupted { cause } => causes.push(cause),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(run!(events.next().timeout(None)).unwrap().name(), "BEFORE");
        match run!(events.next().timeout(None)).unwrap_err() {
            EventError::Ended { cause, .. } => causes.push(cause),
            other => panic!("{other:?}"),
        }
        causes.push(qmp.disconnected().unwrap());
        let first = causes[0].to_string();
        for cause in &causes {
            assert_eq!(cause.to_string(), first);
        }
        server.end();
        match causes.remove(0) {
            Disconnected::Protocol(error) => error,
            other => panic!("{other:?}"),
        }
    }};
}

// P21
scenario! {
    fn each_breach_of_the_protocol_is_told_to_everyone_by_its_own_error() {
        let error = told_of!(b"qemu-system-x86_64: oops\r\n".to_vec());
        assert!(matches!(&error, ProtocolError::NotJson { line, .. } if line == "qemu-system-x86_64: oops"));
        assert!(error.to_string().contains("oops"), "{error}");
        let error = told_of!(b"{\"return\": \"\xff\xfe\"}\r\n".to_vec());
        assert!(matches!(error, ProtocolError::NotJson { .. }), "{error:?}");
        let error = told_of!(b"[\"return\", {}]\r\n".to_vec());
        assert!(matches!(error, ProtocolError::NotAnObject { .. }), "{error:?}");
        let error = told_of!(b"{\"hello\": \"world\", \"id\": 2}\r\n".to_vec());
        assert!(matches!(&error, ProtocolError::Malformed { line, .. } if line.contains("world")));
        let error = told_of!(b"{\"return\": 1, \"error\": {}, \"id\": 2}\r\n".to_vec());
        assert!(matches!(error, ProtocolError::Malformed { .. }), "{error:?}");
        let error = told_of!(format!("{UNREADABLE}\r\n").into_bytes());
        assert!(matches!(error, ProtocolError::UnattributedError { in_flight: 2, .. }), "{error:?}");
    }
}

// D14
scenario! {
    fn a_line_over_the_limit_set_is_an_error_that_names_the_limit() {
        let fits = |over: usize| 1000 - r#"{"return": "", "id": 2}"#.len() + over;
        let answer = move |over| {
            serve(move |server| {
                server.ready();
                let command = server.expect("long");
                let text = "x".repeat(fits(over));
                server.answer(&command, format_args!("{text:?}"));
                server.ends();
            })
        };
        // The line's end counts as long as it is not known to be one.
        let (socket, server) = answer(0);
        let qmp = run!(Client::over(socket).line_limit_bytes(1001)).unwrap();
        assert_eq!(run!(qmp.execute_json("long", ())).unwrap().as_str().unwrap().len(), fits(0));
        drop(qmp);
        server.end();
        let (socket, server) = answer(2);
        let qmp = run!(Client::over(socket).line_limit_bytes(1001)).unwrap();
        let error = run!(qmp.execute_json("long", ())).unwrap_err();
        assert!(
            matches!(
                error.disconnected(),
                Some(Disconnected::Protocol(ProtocolError::LineTooLong { limit_bytes: 1001 }))
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("a line longer than 1001 bytes"), "{error}");
        server.end();
        // A line without any end is ended there as well.
        let error = told_of!(vec![b' '; 2000]);
        assert!(matches!(error, ProtocolError::LineTooLong { limit_bytes: 1000 }), "{error:?}");
    }
}

// D14
scenario! {
    fn a_reply_of_64_mib_arrives() {
        const SIZE: usize = 64 << 20;
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("long");
            let mut reply = format!(r#"{{"id": {}, "return": ""#, command.id()).into_bytes();
            reply.resize(reply.len() + SIZE, b'x');
            reply.extend_from_slice(b"\"}\r\n");
            server.send_bytes(&reply);
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let long = qmp.execute_json("long", ()).returning::<Box<RawValue>>();
        assert_eq!(run!(long).unwrap().get().len(), SIZE + 2);
        assert_eq!(run!(qmp.execute_json("after", json!({"n": 1}))).unwrap(), json!({"n": 1}));
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_reply_nested_too_deep_for_its_type_costs_only_itself() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let expected = deep.clone();
        let (socket, server) = serve(move |server| {
            server.ready();
            for _ in 0..2 {
                let command = server.expect("deep");
                server.answer(&command, &deep);
            }
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let error = run!(qmp.execute_json("deep", ())).unwrap_err();
        assert!(matches!(*error.failure, ExecuteFailure::Shape { .. }), "{error:?}");
        let raw = qmp.execute_json("deep", ()).returning::<Box<RawValue>>();
        assert_eq!(run!(raw).unwrap().get(), expected);
        assert_eq!(run!(qmp.execute_json("after", json!({"n": 1}))).unwrap(), json!({"n": 1}));
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn messages_in_pieces_and_many_at_once_are_the_same() {
        let (socket, server) = serve(|server| {
            server.event("A", "{}");
            for byte in format!("{GREETING}\r\n").as_bytes().chunks(1) {
                server.send_bytes(byte);
            }
            server.negotiate();
            let command = server.expect("go");
            let line = format!(
                "\r\n{{\"event\": \"B\"}}\n{{\"return\": 7, \"id\": {}}}\r\n\r\n{{\"event\": \"C\"}}\r\n",
                command.id()
            );
            let (one, two) = line.as_bytes().split_at(20);
            server.send_bytes(one);
            server.send_bytes(two);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        assert_eq!(run!(qmp.execute_json("go", ())).unwrap(), 7);
        for name in ["B", "C"] {
            assert_eq!(run!(events.next()).unwrap().name(), name);
        }
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_server_that_leaves_in_the_middle_of_a_reply_has_not_replied() {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("half");
            server.send_bytes(format!(r#"{{"id": {}, "return": {{}}}}"#, command.id()).as_bytes());
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let error = run!(qmp.execute_json("half", ()).timeout(None)).unwrap_err();
        assert!(matches!(error.disconnected(), Some(Disconnected::ByServer)), "{error:?}");
        server.end();
    }
}

// D4
scenario! {
    fn a_server_that_does_not_read_costs_a_command_its_deadline_and_nothing_else() {
        let (reads, may_read) = mpsc::channel::<()>();
        let (socket, server) = serve(move |server| {
            server.ready();
            may_read.recv().unwrap();
            for n in 0..4 {
                let command = server.expect("large");
                assert_eq!(command.arguments()["n"], n);
                let filler = command.arguments()["filler"].as_str().unwrap();
                assert!(filler.len() == 1 << 20 && filler.bytes().all(|byte| byte == b'a' + n));
                server.answer(&command, "{}");
            }
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let limit = Duration::from_millis(20);
        for n in 0..4u8 {
            let filler = char::from(b'a' + n).to_string().repeat(1 << 20);
            let began = Instant::now();
            let command = qmp.execute_json("large", json!({"n": n, "filler": filler}));
            let error = run!(command.timeout(limit)).unwrap_err();
            assert!(matches!(*error.failure, ExecuteFailure::Timeout { .. }), "{error:?}");
            let took = began.elapsed();
            assert!(took >= limit && took < Duration::from_secs(15), "{took:?}");
        }
        reads.send(()).unwrap();
        assert_eq!(run!(qmp.execute_json("after", json!({"n": 1}))).unwrap(), json!({"n": 1}));
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn what_waits_for_a_server_that_does_not_read_is_bounded() {
        let (reads, may_read) = mpsc::channel::<()>();
        let (socket, server) = serve(move |server| {
            server.ready();
            may_read.recv().unwrap();
            let mut read = 0;
            loop {
                let command = server.command();
                if command.name() == "last" {
                    break;
                }
                server.answer(&command, "{}");
                read += 1;
            }
            // The refused command is not in flight, so this error is the other's.
            server.send(UNREADABLE);
            server.ends();
            read
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let large = json!({"filler": "x".repeat(4 << 20)});
        let mut sent = Vec::new();
        let refused = loop {
            let mut command = qmp.execute_json("large", &large).timeout(None).into_future();
            match poll_once(&mut command) {
                Poll::Pending => sent.push(command),
                Poll::Ready(reply) => break reply.unwrap_err(),
            }
        };
        assert!(
            matches!(*refused.failure, ExecuteFailure::Congested) && refused.command == "large",
            "{refused:?}"
        );
        // 16 MiB may wait, besides what the kernel holds and the last one.
        let count = sent.len();
        assert!((4..=6).contains(&count), "{count}");
        reads.send(()).unwrap();
        for command in sent {
            run!(command).unwrap();
        }
        let error = run!(qmp.execute_json("last", ())).unwrap_err();
        assert!(error.reply().is_some(), "{error:?}");
        drop(qmp);
        assert_eq!(server.end(), count);
    }
}

// D4
scenario! {
    fn a_flood_of_events_does_not_keep_a_deadline_from_coming() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("never");
            let flood = "{\"event\": \"FLOOD\"}\r\n".repeat(1000);
            // Until the client closes.
            while server.try_send_bytes(flood.as_bytes()) {}
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let (began, limit) = (Instant::now(), Duration::from_millis(50));
        let mut events = qmp.events();
        let never = begin(qmp.execute_json("never", ()).timeout(limit));
        let error = run!(never).unwrap_err();
        assert!(matches!(*error.failure, ExecuteFailure::Timeout { .. }), "{error:?}");
        let error = loop {
            // The listener may lag. The wait reports that, and starts again.
            match run!(events.next_named("NEVER").timeout(limit)).unwrap_err() {
                EventError::Lagged { .. } if began.elapsed() < Duration::from_secs(1) => {}
                other => break other,
            }
        };
        assert!(!matches!(error, EventError::Ended { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(15));
        qmp.close();
        server.end();
    }
}

// D4
scenario! {
    fn an_event_for_each_look_at_one_does_not_keep_a_deadline_from_coming() {
        let (socket, server) = serve(|server| {
            server.ready();
            loop {
                let command = server.command();
                server.event("OTHER", "{}");
                server.answer(&command, "{}");
                if command.name() == "enough" {
                    break server.ends();
                }
            }
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("more", ())).unwrap();
        let other = qmp.clone();
        let never = events.next_where("one that never comes", move |_| {
            other.execute_json("more", ()).wait().unwrap();
            false
        });
        let error = run!(never.timeout(Duration::from_millis(50))).unwrap_err();
        assert!(matches!(error, EventError::Timeout { .. }), "{error:?}");
        run!(qmp.execute_json("enough", ())).unwrap();
        drop((events, qmp));
        server.end();
    }
}

scenario! {
    fn a_server_that_leaves_with_commands_unread_has_closed_the_connection() {
        let (leave, left) = mpsc::channel::<()>();
        let (socket, server) = serve(move |server| {
            server.ready();
            left.recv().unwrap();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let unread = begin(qmp.execute_json("unread", json!({"x": "y".repeat(1 << 20)})).timeout(None));
        leave.send(()).unwrap();
        let error = run!(unread).unwrap_err();
        assert!(matches!(error.disconnected(), Some(Disconnected::ByServer)), "{error:?}");
        let error = run!(qmp.execute_json("after", ()).timeout(None)).unwrap_err();
        assert!(matches!(error.disconnected(), Some(Disconnected::ByServer)), "{error:?}");
        server.end();
    }
}

#[test]
fn large_commands_of_several_threads_do_not_mix_while_the_server_reads() {
    const SIZE: usize = 512 << 10;
    let (socket, server) = serve(|server| {
        server.ready();
        for _ in 0..64 {
            let command = server.expect("large");
            let thread = command.arguments()["thread"].as_u64().unwrap();
            let filler = command.arguments()["filler"].as_str().unwrap();
            let own = b'a' + u8::try_from(thread).unwrap();
            assert!(filler.len() == SIZE && filler.bytes().all(|byte| byte == own));
            server.answer(&command, thread);
        }
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let qmp = qmp.clone();
            scope.spawn(move || {
                let filler = char::from(b'a' + thread).to_string().repeat(SIZE);
                let arguments = json!({"thread": thread, "filler": filler});
                for _ in 0..8 {
                    let reply = qmp.execute_json("large", &arguments).wait();
                    assert_eq!(reply.unwrap(), thread);
                }
            });
        }
    });
    drop(qmp);
    server.end();
}
