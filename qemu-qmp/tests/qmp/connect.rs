//! How a connection comes about, or does not, and how it ends.

use std::future::IntoFuture;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{
    GREETING, GREETING_WITHOUT_OOB, PATIENCE, Play, Scratch, Server, note_warnings, poll_once,
    scenario, serve, serve_on, warned,
};
use qemu_qmp::connect::{Listener, ServerAddress};
use qemu_qmp::error::{ConnectError, EventError, ProtocolError};
use qemu_qmp::supervise::{self, PeerContext, Reader, ReadySignal};
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Deadlines, Disconnected, Wait};
use qemu_qmp_engine::Engine;
use serde_json::json;

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Supervises a QEMU, and knows what it is called and has printed.
struct Supervisor;

impl PeerContext for Supervisor {
    fn name(&self) -> String {
        "machine 'one'".to_owned()
    }

    fn seen(&self) -> String {
        "\n  it printed this".to_owned()
    }
}

fn supervised(socket: UnixStream) -> std::io::Result<(Client, Reader, ReadySignal)> {
    let deadlines = Deadlines::new(Some(Duration::from_millis(50)));
    supervise::monitor(
        socket.into(),
        Settings::default(),
        deadlines,
        Arc::new(Supervisor),
        None,
    )
}

/// Gets ready and echoes until the client leaves.
fn session(server: &mut Server) {
    server.ready();
    server.echo();
}

fn port(listener: &Listener) -> SocketAddr {
    match listener.address() {
        ServerAddress::Tcp(address) => *address,
        ServerAddress::Unix(path) => panic!("{}", path.display()),
    }
}

/// That the client answers, and that its server sees it leave.
macro_rules! assert_works {
    ($qmp:expr, $server:expr) => {{
        let qmp: Client = $qmp;
        let reply = run!(qmp.execute_json("echo", json!({"n": 1}))).unwrap();
        assert_eq!(reply, json!({"n": 1}));
        drop(qmp);
        $server.end();
    }};
}

// P19
scenario! {
    fn a_client_takes_over_a_socket_of_any_kind_that_is_connected() {
        let (socket, server) = serve(session);
        let qmp = run!(Client::over(socket)).unwrap();
        let greeting = qmp.greeting().unwrap();
        assert_eq!(greeting.version.as_ref().unwrap().to_string(), "10.0.2");
        assert_eq!(greeting.capabilities, ["oob"]);
        assert_works!(qmp, server);

        let (socket, server) = serve(session);
        assert_works!(run!(Client::over(OwnedFd::from(socket))).unwrap(), server);

        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = serve_on(listener.accept().unwrap().0, session);
        assert_works!(run!(Client::over(socket)).unwrap(), server);
    }
}

// P19
scenario! {
    fn a_client_connects_to_a_path_or_a_port() {
        let scratch = Scratch::new();
        let listener = UnixListener::bind(scratch.socket()).unwrap();
        let connect = Client::connect_unix(scratch.socket()).into_future();
        let server = Play::accepted(move || listener.accept().unwrap().0.into(), session);
        assert_works!(run!(connect).unwrap(), server);

        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let connect = Client::connect_tcp(listener.local_addr().unwrap()).into_future();
        let server = Play::accepted(move || listener.accept().unwrap().0.into(), session);
        assert_works!(run!(connect).unwrap(), server);
    }
}

// P19
scenario! {
    fn a_listener_on_a_path_accepts_a_server_and_removes_the_path() {
        let scratch = Scratch::new();
        let listener = Listener::unix(scratch.socket()).unwrap();
        assert_eq!(listener.address().to_string(), scratch.socket().to_str().unwrap());
        let server = serve_on(UnixStream::connect(scratch.socket()).unwrap(), session);
        let qmp = run!(listener.accept()).unwrap();
        assert!(!scratch.socket().exists());
        assert_works!(qmp, server);
    }
}

// P19
scenario! {
    fn a_listener_on_a_port_accepts_a_server() {
        let listener = Listener::tcp(ANY_PORT).unwrap();
        let at = port(&listener);
        assert_ne!(at.port(), 0);
        let server = serve_on(TcpStream::connect(at).unwrap(), session);
        assert_works!(run!(listener.accept()).unwrap(), server);
    }
}

// P8, D27
scenario! {
    fn a_port_is_listened_on_again_when_its_connection_has_ended() {
        let listener = Listener::tcp(ANY_PORT).unwrap();
        let at = port(&listener);
        let server = serve_on(TcpStream::connect(at).unwrap(), session);
        // We close first, so the system remembers the connection on our side.
        assert_works!(run!(listener.accept()).unwrap(), server);
        let listener = Listener::tcp(at).unwrap();
        let server = serve_on(TcpStream::connect(at).unwrap(), session);
        assert_works!(run!(listener.accept()).unwrap(), server);
    }
}

// P19
scenario! {
    fn surplus_connections_are_dropped_and_see_the_end() {
        note_warnings();
        let scratch = Scratch::new();
        let listener = Listener::unix(scratch.socket()).unwrap();
        let server = serve_on(UnixStream::connect(scratch.socket()).unwrap(), session);
        let surplus = [(); 3].map(|()| UnixStream::connect(scratch.socket()).unwrap());
        let qmp = run!(listener.accept()).unwrap();
        for mut socket in surplus {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0);
        }
        assert!(warned(scratch.socket().to_str().unwrap()));
        assert_works!(qmp, server);
    }
}

// P19
scenario! {
    fn a_listening_path_is_removed_however_the_listener_ends() {
        let scratch = Scratch::new();
        let path = scratch.socket();
        let listener = Listener::unix(&path).unwrap();
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists(), "dropped");

        let mut accept = Listener::unix(&path).unwrap().accept().into_future();
        assert!(poll_once(&mut accept).is_pending());
        assert!(path.exists());
        drop(accept);
        assert!(!path.exists(), "given up");

        let accept = Listener::unix(&path).unwrap().accept();
        let limit = Duration::from_millis(1);
        let error = run!(accept.timeout(limit)).unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
        assert!(!path.exists(), "timed out");
    }
}

// P19
#[test]
fn an_existing_path_is_an_error_and_stays_as_it_is() {
    let scratch = Scratch::new();
    std::fs::write(scratch.socket(), "mine").unwrap();
    let error = Listener::unix(scratch.socket()).unwrap_err();
    let ConnectError::Address { action, cause, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((*action, cause.kind()), ("listen on", ErrorKind::AddrInUse));
    assert!(
        error
            .to_string()
            .contains(scratch.socket().to_str().unwrap())
    );
    assert_eq!(std::fs::read(scratch.socket()).unwrap(), b"mine");
}

// P19
#[test]
fn a_path_that_somebody_else_has_put_there_meanwhile_is_left_alone() {
    let scratch = Scratch::new();
    let listener = Listener::unix(scratch.socket()).unwrap();
    std::fs::rename(scratch.socket(), scratch.socket().with_extension("moved")).unwrap();
    std::fs::write(scratch.socket(), "theirs").unwrap();
    drop(listener);
    assert_eq!(std::fs::read(scratch.socket()).unwrap(), b"theirs");
}

#[test]
fn a_path_too_long_for_a_socket_is_an_error_that_names_it() {
    let path = format!("/tmp/{}", "x".repeat(200));
    let error = Listener::unix(&path).unwrap_err();
    assert!(error.to_string().contains(&path), "{error}");
}

// P19
scenario! {
    fn the_greeting_can_be_turned_off() {
        let (socket, server) = serve(|server| {
            let capabilities = server.expect("qmp_capabilities");
            server.answer(&capabilities, "{}");
            server.echo();
        });
        let qmp = run!(Client::over(socket).no_greeting()).unwrap();
        assert!(qmp.greeting().is_none());
        assert_works!(qmp, server);
    }
}

// P19
scenario! {
    fn the_negotiation_can_be_left_to_the_caller() {
        let (socket, server) = serve(|server| {
            server.send(GREETING);
            assert_eq!(server.echo(), ["qmp_capabilities", "echo"]);
        });
        let qmp = run!(Client::over(socket).no_negotiation()).unwrap();
        assert!(qmp.greeting().unwrap().offers_oob());
        run!(qmp.execute_json("qmp_capabilities", json!({}))).unwrap();
        assert_works!(qmp, server);

        // With neither, nothing is waited for.
        let (socket, server) = serve(|server| {
            assert_eq!(server.echo(), ["echo"]);
        });
        let qmp = run!(Client::over(socket).no_greeting().no_negotiation()).unwrap();
        assert_works!(qmp, server);

        let scratch = Scratch::new();
        let listener = Listener::unix(scratch.socket()).unwrap();
        let server = serve_on(UnixStream::connect(scratch.socket()).unwrap(), |server| {
            server.echo();
        });
        let qmp = run!(listener.accept().no_greeting().no_negotiation()).unwrap();
        assert_works!(qmp, server);
    }
}

// P20
scenario! {
    fn a_failed_connect_tells_its_cause_and_the_same_works_later() {
        let scratch = Scratch::new();
        let cause = |error: ConnectError| match error {
            ConnectError::Address { action: "connect to", address, cause } => {
                assert_eq!(address, scratch.socket().to_str().unwrap());
                cause.kind()
            }
            other => panic!("{other:?}"),
        };
        let error = run!(Client::connect_unix(scratch.socket()).already_listening()).unwrap_err();
        assert_eq!(cause(error), ErrorKind::NotFound);
        drop(UnixListener::bind(scratch.socket()).unwrap());
        let error = run!(Client::connect_unix(scratch.socket()).already_listening()).unwrap_err();
        assert_eq!(cause(error), ErrorKind::ConnectionRefused);

        std::fs::remove_file(scratch.socket()).unwrap();
        let listener = UnixListener::bind(scratch.socket()).unwrap();
        let server = Play::accepted(move || listener.accept().unwrap().0.into(), session);
        assert_works!(run!(Client::connect_unix(scratch.socket())).unwrap(), server);
    }
}

// P20
scenario! {
    fn a_port_where_nobody_listens_is_an_error_with_its_cause() {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let error = run!(Client::connect_tcp(at).already_listening()).unwrap_err();
        assert!(
            matches!(&error, ConnectError::Address { cause, .. } if cause.kind() == ErrorKind::ConnectionRefused),
            "{error:?}"
        );
        assert!(error.to_string().contains(&at.to_string()), "{error}");
    }
}

/// A deadline that the server has nothing to do before.
const SHORT: Duration = Duration::from_millis(50);

/// A deadline before which the server says something.
const SPOKEN: Duration = Duration::from_secs(2);

/// That a connect, to be given as an expression, ends by its deadline, and
/// closes the connection.
macro_rules! assert_times_out {
    ($connect:expr, $limit:expr, $server:expr) => {{
        let (began, limit) = (Instant::now(), $limit);
        let error = run!($connect.timeout(limit)).unwrap_err();
        assert!(
            matches!(&error, ConnectError::Timeout { limit: told, .. } if *told == limit),
            "{error:?}"
        );
        let took = began.elapsed();
        assert!(took >= limit && took < Duration::from_secs(15), "{took:?}");
        $server.end();
    }};
}

// P20, D3
scenario! {
    fn a_server_that_never_greets_times_out_and_is_left() {
        let (socket, server) = serve(Server::ends);
        assert_times_out!(Client::over(socket), SHORT, server);
        // Events are no greeting.
        let (socket, server) = serve(|server| {
            server.event("EARLY", "{}");
            server.ends();
        });
        assert_times_out!(Client::over(socket), SPOKEN, server);
        let listener = Listener::tcp(ANY_PORT).unwrap();
        let server = serve_on(TcpStream::connect(port(&listener)).unwrap(), Server::ends);
        assert_times_out!(listener.accept(), SHORT, server);
    }
}

// P20, D3
scenario! {
    fn a_server_that_never_answers_the_negotiation_times_out_and_is_left() {
        let (socket, server) = serve(|server| {
            server.send(GREETING);
            server.expect("qmp_capabilities");
            server.event("EARLY", "{}");
            server.send(r#"{"return": {}, "id": 99}"#);
            server.ends();
        });
        assert_times_out!(Client::over(socket), SPOKEN, server);
    }
}

// P20
scenario! {
    fn a_server_that_refuses_the_negotiation_is_an_error_with_its_words() {
        let (socket, server) = serve(|server| {
            server.send(GREETING);
            let capabilities = server.expect("qmp_capabilities");
            server.refuse(&capabilities, "GenericError", "not today");
            server.ends();
        });
        let error = run!(Client::over(socket)).unwrap_err();
        assert!(
            matches!(
                &error,
                ConnectError::Disconnected(Disconnected::Protocol(
                    ProtocolError::NegotiationRefused { reply }
                )) if reply.desc == "not today"
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("not today"), "{error}");
        server.end();
    }
}

// P20, D3
scenario! {
    fn a_server_that_leaves_before_it_is_ready_is_an_error_at_once() {
        let scripts: [fn(&mut Server); 3] = [
            |_| {},
            |server| server.send_bytes(b"{\"QMP\": {"),
            |server| {
                server.send(GREETING);
                server.expect("qmp_capabilities");
            },
        ];
        for script in scripts {
            let (socket, server) = serve(script);
            let error = run!(Client::over(socket).timeout(None)).unwrap_err();
            assert!(
                matches!(error, ConnectError::Disconnected(Disconnected::ByServer)),
                "{error:?}"
            );
            server.end();
        }
    }
}

scenario! {
    fn what_is_no_qmp_server_is_told_so() {
        let (socket, server) = serve(|server| {
            server.send("SSH-2.0-OpenSSH_9.2");
            server.ends();
        });
        let error = run!(Client::over(socket)).unwrap_err();
        assert!(
            matches!(
                &error,
                ConnectError::Disconnected(Disconnected::Protocol(ProtocolError::NotJson { .. }))
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("SSH-2.0"), "{error}");
        server.end();
        let (socket, server) = serve(|server| {
            server.send(r#"{"return": {}}"#);
            server.ends();
        });
        let error = run!(Client::over(socket)).unwrap_err();
        assert!(
            matches!(
                &error,
                ConnectError::Disconnected(Disconnected::Protocol(ProtocolError::NoGreeting { .. }))
            ),
            "{error:?}"
        );
        server.end();
    }
}

// D25
scenario! {
    fn a_greeting_with_what_is_unknown_is_a_greeting() {
        let (socket, server) = serve(|server| {
            server.send(r#"{"x": 0, "QMP": {"version": "eleven", "capabilities": ["oob", "x-new", {"k": 1}], "x": []}}"#);
            server.negotiate();
            server.send(GREETING_WITHOUT_OOB);
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        assert_eq!(qmp.greeting().unwrap().version, None);
        assert_eq!(qmp.greeting().unwrap().capabilities, ["oob", "x-new"]);
        assert_works!(qmp, server);
    }
}

// P20
scenario! {
    fn giving_up_a_connect_closes_the_connection() {
        let (socket, server) = serve(Server::ends);
        let mut connect = Client::over(socket).timeout(None).into_future();
        assert!(poll_once(&mut connect).is_pending());
        drop(connect);
        server.end();

        let (told, greeted) = std::sync::mpsc::channel();
        let (socket, server) = serve(move |server| {
            server.send(GREETING);
            server.expect("qmp_capabilities");
            told.send(()).unwrap();
            server.ends();
        });
        let mut connect = Client::over(socket).timeout(None).into_future();
        assert!(poll_once(&mut connect).is_pending());
        greeted.recv().unwrap();
        drop(connect);
        server.end();
    }
}

// D27
scenario! {
    fn dropping_every_handle_closes_the_connection_and_a_server_accepts_the_next() {
        let scratch = Scratch::new();
        let listener = UnixListener::bind(scratch.socket()).unwrap();
        let server = std::thread::spawn(move || {
            // One after the other, as QEMU does.
            for _ in 0..3 {
                session(&mut Server::new(listener.accept().unwrap().0));
            }
        });
        for _ in 0..3 {
            let qmp = run!(Client::connect_unix(scratch.socket())).unwrap();
            let (other, mut events) = (qmp.clone(), qmp.events());
            let unsent = qmp.execute_json("never", ());
            drop(qmp);
            let reply = run!(other.execute_json("still", json!({"there": true}))).unwrap();
            assert_eq!(reply, json!({"there": true}));
            drop((other, unsent));
            let error = run!(events.next().timeout(None)).unwrap_err();
            assert!(
                matches!(error, EventError::Ended { cause: Disconnected::ByClient, .. }),
                "{error:?}"
            );
        }
        server.join().unwrap();
    }
}

// D27
#[test]
fn dropping_the_client_closes_its_descriptor() {
    let (socket, server) = serve(session);
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let before = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
    let (qmp, reader, mut ready) = supervised(socket).unwrap();
    let task = Engine::start().unwrap().spawn(async move {
        reader.run().await;
        reader.finish();
    });
    assert!(ready.wait().wait());
    drop(qmp);
    server.end();
    let _ = task.wait();
    let after = std::fs::read_link(format!("/proc/self/fd/{descriptor}"));
    // Another test may have got the number since, but not the socket.
    assert!(after.is_err() || after.unwrap() != before);
}

// P13, P21
scenario! {
    fn who_supervises_the_server_says_why_it_ended() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("slow");
            server.expect("pending");
            server.event("LAST", "{}");
        });
        let (qmp, reader, mut ready) =
            supervised(socket).unwrap();
        let mut events = qmp.events_named(["LAST"]);
        let task = Engine::start().unwrap().spawn(async move {
            let cause = reader.run().await;
            assert!(matches!(cause, Some(Disconnected::ByServer)));
            let end: Box<dyn std::error::Error + Send + Sync> = "QEMU died of signal 9".into();
            reader.end(&Disconnected::ServerEnded(end.into())).notify();
        });
        assert!(run!(Box::pin(ready.wait())));
        // Deadlines are those of the connection, and say what was seen.
        let error = run!(qmp.execute_json("slow", ())).unwrap_err();
        assert_eq!(error.to_string(), "machine 'one': command 'slow' failed: no reply within 50ms\n  it printed this");
        let error = run!(events.next()).unwrap_err();
        assert_eq!(error.to_string(), "machine 'one': no event within 50ms\n  it printed this");
        let error = run!(qmp.execute_json("pending", ()).timeout(None)).unwrap_err();
        assert_eq!(error.to_string(), "machine 'one': command 'pending' was interrupted: QEMU died of signal 9");
        assert_eq!(run!(events.next().timeout(None)).unwrap().name(), "LAST");
        let error = run!(events.next().timeout(None)).unwrap_err();
        assert_eq!(error.to_string(), "machine 'one': no more events: QEMU died of signal 9");
        server.end();
        drop(task);
    }
}

#[test]
fn a_connect_that_is_never_waited_for_touches_nothing() {
    let scratch = Scratch::new();
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    listener.set_nonblocking(true).unwrap();
    drop(Client::connect_unix(scratch.socket()).into_future());
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
