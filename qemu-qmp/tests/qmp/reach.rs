//! A server that does not listen yet, does not accept, or serves another client:
//! what passes is waited for, and the deadline's error says what it was.
use std::future::IntoFuture;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

use crate::support::{Play, Scratch, Server, poll_once, scenario};
use qemu_qmp::Client;
use qemu_qmp::agent::GuestAgent;
use qemu_qmp::connect::{ConnectStage, Listener};
use qemu_qmp::error::ConnectError;
use socket2::{Domain, SockAddr, Socket, Type};

const SHORT: Duration = Duration::from_millis(50);

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn session(server: &mut Server) {
    server.ready();
    server.echo();
}

/// What was waited for, and the error's text.
fn waited_for(error: &ConnectError) -> (ConnectStage, String) {
    match error {
        ConnectError::Timeout { limit, stage, .. } => {
            assert_eq!(*limit, SHORT);
            (*stage, error.to_string())
        }
        other => panic!("{other}"),
    }
}

/// Connects to a socket until its queue takes no more; those who wait in it.
fn fill(path: &SockAddr) -> Vec<Socket> {
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(path) {
            Ok(()) => waiting.push(socket),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                return waiting;
            }
        }
    }
}

// R6
scenario! {
    fn a_server_whose_queue_of_connections_is_full_is_waited_for() {
        let scratch = Scratch::new();
        let path = SockAddr::unix(scratch.socket()).unwrap();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&path).unwrap();
        listener.listen(1).unwrap();
        let waiting = fill(&path);

        // Whether or not it must listen: it does.
        for connect in [
            Client::connect_unix(scratch.socket()),
            Client::connect_unix(scratch.socket()).already_listening(),
        ] {
            let error = run!(connect.timeout(SHORT)).unwrap_err();
            let (stage, text) = waited_for(&error);
            assert_eq!(stage, ConnectStage::QueueFull);
            assert!(text.contains(scratch.socket().to_str().unwrap()), "{text}");
            assert!(text.ends_with("queue of connections is full, because it does not accept them"), "{text}");
        }
        let agent = GuestAgent::connect_unix(scratch.socket()).timeout(SHORT);
        let (stage, _) = waited_for(&run!(agent).unwrap_err());
        assert_eq!(stage, ConnectStage::QueueFull);

        let mut connect = Client::connect_unix(scratch.socket()).into_future();
        assert!(poll_once(&mut connect).is_pending());
        let given_up = waiting.len();
        drop(waiting);
        let accept = move || {
            for _ in 0..given_up {
                drop(listener.accept().unwrap());
            }
            listener.accept().unwrap().0
        };
        let server = Play::accepted(accept, session);
        let qmp = run!(connect).unwrap();
        drop(qmp);
        server.end();
    }
}

// R6
scenario! {
    fn a_server_that_is_about_to_make_its_socket_is_waited_for() {
        let scratch = Scratch::new();
        let error = run!(Client::connect_unix(scratch.socket()).timeout(SHORT)).unwrap_err();
        let (stage, text) = waited_for(&error);
        assert_eq!(stage, ConnectStage::NoSocket);
        assert!(text.ends_with("nothing listens there yet, and the path does not exist"), "{text}");
        let agent = GuestAgent::connect_unix(scratch.socket()).timeout(SHORT);
        assert_eq!(waited_for(&run!(agent).unwrap_err()).0, ConnectStage::NoSocket);

        // Also where the file of a server that has ended is there.
        drop(UnixListener::bind(scratch.socket()).unwrap());
        let error = run!(Client::connect_unix(scratch.socket()).timeout(SHORT)).unwrap_err();
        let (stage, text) = waited_for(&error);
        assert_eq!(stage, ConnectStage::NothingListens);
        assert!(text.ends_with("nothing listens there yet"), "{text}");

        let mut connect = Client::connect_unix(scratch.socket()).into_future();
        assert!(poll_once(&mut connect).is_pending());
        std::fs::remove_file(scratch.socket()).unwrap();
        let listener = UnixListener::bind(scratch.socket()).unwrap();
        let server = Play::accepted(move || listener.accept().unwrap().0.into(), session);
        let qmp = run!(connect).unwrap();
        drop(qmp);
        server.end();
    }
}

// R6
scenario! {
    fn a_server_that_is_about_to_listen_on_its_port_is_waited_for() {
        let at = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
        let error = run!(Client::connect_tcp(at).timeout(SHORT)).unwrap_err();
        let (stage, text) = waited_for(&error);
        assert_eq!(stage, ConnectStage::NothingListens);
        assert!(text.contains(&at.to_string()), "{text}");

        let mut connect = Client::connect_tcp(at).into_future();
        assert!(poll_once(&mut connect).is_pending());
        let listener = TcpListener::bind(at).unwrap();
        let server = Play::accepted(move || listener.accept().unwrap().0.into(), session);
        let qmp = run!(connect).unwrap();
        drop(qmp);
        server.end();
    }
}

// R6
scenario! {
    fn what_does_not_pass_by_itself_is_an_error_at_once() {
        let scratch = Scratch::new();
        let file = scratch.socket();
        std::fs::write(&file, "no socket").unwrap();
        let datagrams = file.with_extension("datagrams");
        let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
        let nowhere = file.with_extension("nowhere").join("qmp.sock");
        let within_a_file = file.join("qmp.sock");
        for (path, words) in [
            (file.as_path(), "the file is not a socket"),
            (datagrams.as_path(), ""),
            (nowhere.as_path(), "its directory does not exist"),
            (within_a_file.as_path(), ""),
        ] {
            let begun = Instant::now();
            let error = run!(Client::connect_unix(path)).unwrap_err();
            assert!(matches!(error, ConnectError::Address { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.ends_with(words), "{text}");
            assert!(begun.elapsed() < Duration::from_secs(15), "{text}");
        }
    }
}

// R6
scenario! {
    fn a_client_that_is_never_greeted_is_told_that_another_may_be_connected() {
        let scratch = Scratch::new();
        // It is in the queue, as QEMU's second client.
        let _listener = UnixListener::bind(scratch.socket()).unwrap();
        let error = run!(Client::connect_unix(scratch.socket()).timeout(SHORT)).unwrap_err();
        let (stage, text) = waited_for(&error);
        assert_eq!(stage, ConnectStage::Greeting { may_serve_another: true });
        assert!(text.starts_with("connected to /"), "{text}");
        assert!(text.ends_with("serves one client at a time, and another may be connected"), "{text}");

        let guest = run!(GuestAgent::connect_unix(scratch.socket())).unwrap();
        let text = run!(guest.ping().timeout(SHORT)).unwrap_err().to_string();
        assert!(text.contains("another client may be connected"), "{text}");
    }
}

// R6
scenario! {
    fn a_listener_to_which_nobody_connects_says_so() {
        let scratch = Scratch::new();
        let accept = Listener::unix(scratch.socket()).unwrap().accept().timeout(SHORT);
        let (stage, text) = waited_for(&run!(accept).unwrap_err());
        assert_eq!(stage, ConnectStage::Accept);
        assert!(text.starts_with("no server connected to /"), "{text}");
    }
}
