//! What a peer can do to a connection beside sending bytes.

use std::io::{self, IoSlice, PipeReader, Read};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::{Client, Wait};
use socket2::{MsgHdr, Socket};
use testbed::trials;

use crate::support::{PATIENCE, Play, begin, serve};
use crate::{costs, often, told};

pub(crate) fn trials() -> Vec<testbed::Named> {
    trials![
        descriptors_that_nobody_asked_for_are_closed,
        one_that_closes_what_it_sends_by_has_closed_the_connection,
        one_that_closes_what_it_reads_by_has_closed_the_connection,
        one_that_stops_reading_with_a_command_queued_costs_its_deadline,
        a_reset_is_told_as_a_close,
    ]
}

const CLOSED: &str = "server: command 'x' was interrupted: the server closed the connection";

fn descriptors_that_nobody_asked_for_are_closed() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("x");
            let (reader, writer) = io::pipe().unwrap();
            for _ in 0..often(100) {
                let event = b"{\"event\": \"LADEN\"}\r\n";
                send_laden(server.socket(), event, &[writer.as_raw_fd(); 100]);
            }
            server.answer(&command, "{}");
            reader
        });
        let qmp = Client::over(socket).wait().unwrap();
        qmp.execute_json("x", ()).wait().unwrap();
        // The peer's own end went with its thread.
        ends(server.end());
        drop(qmp);

        let (socket, server) = serve(|agent| {
            let (reader, writer) = io::pipe().unwrap();
            for _ in 0..often(100) {
                send_laden(agent.socket(), b"\xff", &[writer.as_raw_fd(); 100]);
            }
            agent.ready_agent();
            reader
        });
        let agent = GuestAgent::over(socket).wait().unwrap();
        agent.wait_until_ready().wait().unwrap();
        ends(server.end());
    });
}

/// Nobody has the writing end any more.
fn ends(mut reader: PipeReader) {
    let flags = socket2::SockRef::from(&reader);
    // A pipe takes this as any descriptor does.
    flags.set_nonblocking(true).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

/// Sends bytes and descriptors, as `unix(7)` and `cmsg(3)` have it.
fn send_laden(socket: &Socket, bytes: &[u8], descriptors: &[RawFd]) {
    let header = size_of::<usize>() + 2 * size_of::<i32>();
    let length = header + size_of_val(descriptors);
    let mut control = length.to_ne_bytes().to_vec();
    control.extend(
        [libc::SOL_SOCKET, libc::SCM_RIGHTS]
            .map(i32::to_ne_bytes)
            .as_flattened(),
    );
    for descriptor in descriptors {
        control.extend(descriptor.to_ne_bytes());
    }
    control.resize(length.next_multiple_of(size_of::<usize>()), 0);
    let pieces = [IoSlice::new(bytes)];
    let message = MsgHdr::new().with_buffers(&pieces).with_control(&control);
    let deadline = Instant::now() + PATIENCE;
    let sent = loop {
        match socket.sendmsg(&message, 0) {
            // A user other than root may have as many descriptors in flight as
            // open, and nothing reports an arrival.
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                assert!(Instant::now() < deadline, "{error}");
                thread::yield_now();
            }
            sent => break sent,
        }
    };
    assert_eq!(sent.unwrap(), bytes.len());
}

fn one_that_closes_what_it_sends_by_has_closed_the_connection() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("x");
            server.event("LAST", "{}");
            server.socket().shutdown(Shutdown::Write).unwrap();
            server.ends();
        });
        let qmp = Client::over(socket).wait().unwrap();
        let mut events = qmp.events();
        let error = qmp.execute_json("x", ()).timeout(None).wait().unwrap_err();
        told(&error, CLOSED);
        assert_eq!(events.next().wait().unwrap().name(), "LAST");
        let error = events.next().timeout(None).wait().unwrap_err();
        told(
            &error,
            "server: no more events: the server closed the connection",
        );
        server.end();
    });
}

fn one_that_closes_what_it_reads_by_has_closed_the_connection() {
    costs(0, || {
        let (closed, is_closed) = mpsc::channel::<()>();
        let (socket, server) = serve(move |server| {
            server.ready();
            let command = server.expect("y");
            server.event("LAST", "{}");
            server.answer(&command, "{}");
            server.socket().shutdown(Shutdown::Read).unwrap();
            closed.send(()).unwrap();
            // Until the client has closed its side too.
            while server.try_send_bytes(b"\r\n") {}
        });
        let qmp = Client::over(socket).wait().unwrap();
        let mut events = qmp.events();
        qmp.execute_json("y", ()).wait().unwrap();
        is_closed.recv().unwrap();
        let error = qmp.execute_json("x", ()).timeout(None).wait().unwrap_err();
        told(&error, CLOSED);
        assert_eq!(events.next().wait().unwrap().name(), "LAST");
        server.end();

        let (closed, is_closed) = mpsc::channel::<()>();
        let (socket, server) = serve(move |agent| {
            agent.socket().shutdown(Shutdown::Read).unwrap();
            closed.send(()).unwrap();
            while agent.try_send_bytes(b"\r\n") {}
        });
        let agent = GuestAgent::over(socket).wait().unwrap();
        is_closed.recv().unwrap();
        let error = agent.wait_until_ready().timeout(None).wait().unwrap_err();
        told(&error, "was interrupted: the server closed the connection");
        server.end();
    });
}

fn one_that_stops_reading_with_a_command_queued_costs_its_deadline() {
    costs(8 << 20, || {
        let (close, may_close) = mpsc::channel::<()>();
        let (socket, server) = serve(move |server| {
            server.ready();
            may_close.recv().unwrap();
            server.socket().shutdown(Shutdown::Read).unwrap();
            while server.try_send_bytes(b"\r\n") {}
        });
        let qmp = Client::over(socket).wait().unwrap();
        let arguments = serde_json::json!({"x": "x".repeat(1 << 20)});
        let command = qmp.execute_json("x", arguments);
        let command = begin(command.timeout(Duration::from_millis(500)));
        close.send(()).unwrap();
        // Of a socket that is full the kernel does not tell.
        let error = command.wait().unwrap_err();
        told(&error, "server: command 'x' failed: no reply within 500ms");
        drop(qmp);
        server.end();
    });
}

fn a_reset_is_told_as_a_close() {
    costs(0, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accept = move || listener.accept().unwrap().0.into();
        let server = Play::accepted(accept, |server| {
            server.ready();
            server.expect("x");
            server.send_bytes(b"{\"return\": ");
            server.socket().set_linger(Some(Duration::ZERO)).unwrap();
        });
        let qmp = Client::connect_tcp(address).wait().unwrap();
        let error = qmp.execute_json("x", ()).timeout(None).wait().unwrap_err();
        told(
            &error,
            &format!(
                "server at {address}: command 'x' was interrupted: the server closed the connection"
            ),
        );
        server.end();
    });
}
