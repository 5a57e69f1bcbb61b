//! Tests the program from outside: by its command line and its sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// A running program, and the test's ends of its channels.
struct Peer {
    child: Child,
    monitor: BufReader<TcpStream>,
    console: TcpStream,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn launch(script: &str) -> Self {
        let (monitor, console) = (listener(), listener());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let mut child = fake_qemu()
            .args(["-display", "none", "-machine", "none", "-chardev"])
            .arg(format!(
                "socket,id=mon,host=127.0.0.1,port={}",
                port(&monitor)
            ))
            .args(["-mon", "chardev=mon,mode=control", "-chardev"])
            .arg(format!(
                "socket,id=console0,host=127.0.0.1,port={}",
                port(&console)
            ))
            .args(["-serial", "chardev:console0", "-fake-script", script])
            .spawn()
            .unwrap();
        Self {
            monitor: BufReader::new(accept(&monitor)),
            console: accept(&console),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn send(&mut self, text: &str) {
        self.monitor.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn receive(&mut self) -> String {
        line(&mut self.monitor)
    }

    /// Reads the monitor to its end.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.monitor.read_to_string(&mut rest).unwrap();
        rest
    }

    /// The exit code and stderr of a program that ends by itself.
    fn end(mut self) -> (Option<i32>, String) {
        let mut stderr = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        (self.child.wait().unwrap().code(), stderr)
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_conversation_goes_as_with_a_real_qemu() {
    let mut peer = Peer::launch("greet\nnegotiate\nserve");
    assert_eq!(
        peer.receive(),
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}, \
         \"package\": \"Debian 1:10.0.2+ds-2+deb13u1~bpo12+1\"}, \"capabilities\": [\"oob\"]}}\r\n"
    );
    peer.send("{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [\"oob\"]}}\n");
    assert_eq!(peer.receive(), "{\"return\": {}}\r\n");
    peer.send("{\"execute\": \"stop\", \"id\": {\"any\":  [1.0]}}\n");
    assert_eq!(
        peer.receive(),
        "{\"return\": {}, \"id\": {\"any\":  [1.0]}}\r\n"
    );
    peer.send("{\"execute\": \"quit\", \"id\": 2}\n");
    let shutdown = peer.receive();
    assert!(
        shutdown.starts_with("{\"timestamp\": {\"seconds\": "),
        "{shutdown}"
    );
    assert!(shutdown.ends_with(
        "}, \"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": \"host-qmp-quit\"}}\r\n"
    ));
    assert_eq!(peer.rest(), "{\"return\": {}, \"id\": 2}\r\n");
    assert_eq!(peer.end(), (Some(0), String::new()));
}

#[test]
fn replies_go_to_the_command_meant() {
    let mut peer = Peer::launch(
        "greet no-oob\nexpect a\nexpect *\nexpect c\n\
         reply-to 3 [3]\nreply 0\nerror GenericError no \"b\"\nerror-no-id X y\n\
         reply-to 1 true\nsend-line {\"id\": $2, \"x\": $id}\nevent-untimed STOP {\"n\":1}",
    );
    assert!(peer.receive().ends_with("\"capabilities\": []}}\r\n"));
    // Two and a half commands at once, then the rest.
    peer.send("{\"execute\":\"a\",\"id\":\"x\"}\n{\"exec-oob\":\"b\"}\r\n{\"execute\":");
    peer.send("\"c\",\"id\":7}\n");
    let expected = "{\"return\": [3], \"id\": 7}\r\n\
        {\"return\": 0, \"id\": 7}\r\n\
        {\"id\": 7, \"error\": {\"class\": \"GenericError\", \"desc\": \"no \\\"b\\\"\"}}\r\n\
        {\"error\": {\"class\": \"X\", \"desc\": \"y\"}}\r\n\
        {\"return\": true, \"id\": \"x\"}\r\n";
    assert_eq!(peer.rest(), expected);
    // The second command has no id to insert into a text.
    let (code, stderr) = peer.end();
    assert_eq!(
        (code, stderr.as_str()),
        (Some(65), "fake-qemu: line 10: the command has no id\n")
    );
}

#[test]
fn texts_are_sent_as_bytes_with_ids_put_in() {
    let mut peer = Peer::launch("expect *\nsend \\x00$id$1 \\x24id\\n\nevent-untimed A\nfill 3 x");
    peer.send("{\"execute\":\"a\",\"id\":\"\\u0041\"}\n");
    assert_eq!(
        peer.rest(),
        "\0\"\\u0041\"\"\\u0041\" $id\n\
         {\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, \"event\": \"A\"}\r\nxxx"
    );
    assert_eq!(peer.end().0, Some(0));
}

#[test]
fn a_flood_of_events_is_as_many_as_were_asked_for() {
    let mut peer = Peer::launch("event-fill 3000 STOP {\"a\": 1}\nevent-fill 2 RESUME");
    let rest = peer.rest();
    let lines: Vec<&str> = rest.split_terminator("\r\n").collect();
    let count = |end| lines.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!(count(r#""event": "STOP", "data": {"a": 1}}"#), 3000);
    assert_eq!(count(r#""event": "RESUME"}"#), 2);
    assert_eq!((lines.len(), peer.end().0), (3002, Some(0)));
}

#[test]
fn another_command_than_expected_ends_it() {
    let mut peer = Peer::launch("greet\nrepeat 2\nexpect a\nend");
    peer.send("{\"execute\": \"a\"}\n{\"execute\": \"b\"}\n");
    let message = "fake-qemu: line 2: line 3: expected a, got `{\\\"execute\\\": \\\"b\\\"}`\n";
    assert_eq!(peer.end(), (Some(65), message.to_owned()));

    for (sent, message) in [
        (
            "{\"exec",
            "expected a command, got the end of the stream after `{\\\"exec`",
        ),
        ("[1]\n", "expected a command, got `[1]`"),
    ] {
        let mut peer = Peer::launch("expect *");
        peer.send(sent);
        peer.monitor
            .get_mut()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        assert_eq!(
            peer.end(),
            (Some(65), format!("fake-qemu: line 1: {message}\n"))
        );
    }
}

#[test]
fn a_write_to_a_peer_that_has_gone_ends_it() {
    let (peer, other) = UnixStream::pair().unwrap();
    drop(other);
    let output = on_descriptor_3(peer, "fill forever \\xff")
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(66), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("line 1: "),
        "{output:?}"
    );
}

#[test]
fn an_inherited_descriptor_is_a_channel() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut child = on_descriptor_3(theirs, "expect a\nreply {}\nprint-fds\nwait-eof\nexit 9");
    ours.write_all(b"{\"execute\": \"a\"}\n").unwrap();
    let mut ours = BufReader::new(ours);
    assert_eq!(line(&mut ours), "{\"return\": {}}\r\n");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let fds = lines_until(&mut stdout, "fds done\n");
    assert_eq!(fds[0], "fd 0 -> /dev/null\n");
    assert!(
        fds.iter().any(|fd| fd.starts_with("fd 3 -> socket:[")),
        "{fds:?}"
    );
    assert!(!fds.iter().any(|fd| fd.contains("/proc/")), "{fds:?}");
    drop(ours);
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn unix_paths_serve_both_ways() {
    let directory = Directory::new("paths");
    let path = directory.0.join("a,b");
    let escaped = path.to_str().unwrap().replace(',', ",,");

    let listener = UnixListener::bind(&path).unwrap();
    let chardev = format!("socket,id=mon,path={escaped}");
    let child = monitored(&chardev, "send hello").spawn().unwrap();
    assert_eq!(
        std::io::read_to_string(listener.accept().unwrap().0).unwrap(),
        "hello"
    );
    assert!(child.wait_with_output().unwrap().status.success());

    // The path still exists, and is replaced.
    let chardev = format!("socket,id=mon,path={escaped},server=on,wait=off");
    let mut child = monitored(&chardev, "stdout up\\n\nsend hello")
        .spawn()
        .unwrap();
    assert_eq!(
        line(&mut BufReader::new(child.stdout.take().unwrap())),
        "up\n"
    );
    let stream = UnixStream::connect(&path).unwrap();
    assert_eq!(std::io::read_to_string(stream).unwrap(), "hello");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_console_is_written_read_and_closed() {
    let mut peer = Peer::launch(
        "console login: \nconsole-expect root\\n\nconsole-fill 0 200000 \\xff\n\
         console-expect ok\nconsole-close\nwait-eof",
    );
    let mut prompt = [0; 7];
    peer.console.read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"login: ");
    peer.console.write_all(b"ro").unwrap();
    peer.console.write_all(b"ot\nok").unwrap();
    let mut rest = Vec::new();
    peer.console.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, vec![0xff; 200_000]);
    peer.monitor
        .get_mut()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(peer.end(), (Some(0), String::new()));
}

#[test]
fn a_qtest_channel_is_written_read_and_closed() {
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let script = "qtest-expect inb 0x1\\n\nqtest OK 0x0001\\n\nqtest-fill 3 x\nqtest-close";
    let mut child = fake_qemu()
        .arg("-chardev")
        .arg(format!("socket,id=qtest,host=127.0.0.1,port={port}"))
        .args(["-fake-script", script])
        .spawn()
        .unwrap();
    let mut channel = accept(&listener);
    channel.write_all(b"inb 0x1\n").unwrap();
    assert_eq!(std::io::read_to_string(channel).unwrap(), "OK 0x0001\nxxx");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_monitor_is_closed_though_the_program_lives() {
    for step in ["monitor-close", "monitor-shutdown-write"] {
        let mut peer = Peer::launch(&format!("on-term exit 7\nsend x\n{step}\nsilent"));
        assert_eq!(peer.rest(), "x");
        assert!(peer.child.try_wait().unwrap().is_none());
        peer.signal("TERM");
        assert_eq!(peer.end(), (Some(7), String::new()), "{step}");
    }
}

#[test]
fn a_signal_ends_it_as_it_ends_qemu() {
    for name in ["TERM", "INT", "HUP"] {
        let mut peer = Peer::launch("on-term exit 0\nstdout ready\\n\nsilent");
        assert_eq!(line(&mut peer.stdout), "ready\n");
        peer.signal(name);
        let shutdown = peer.rest();
        assert!(shutdown.contains("\"data\": {\"guest\": false, \"reason\": \"host-signal\"}"));
        assert_eq!(peer.end().0, Some(0));
    }
}

#[test]
fn a_full_monitor_does_not_delay_its_end_by_a_signal() {
    let mut peer = Peer::launch("on-term exit 0\nstdout ready\\n\nfill forever x");
    assert_eq!(line(&mut peer.stdout), "ready\n");
    peer.signal("TERM");
    assert_eq!(peer.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_dies_by_the_signal_asked_for() {
    for (name, number) in [
        ("SIGSEGV", 11),
        ("SIGABRT", 6),
        ("SIGKILL", 9),
        ("SIGTERM", 15),
    ] {
        let script = format!("on-term exit 0\nignore SIGTERM\ndie {name}");
        let status = fake_qemu()
            .args(["-fake-script", &script])
            .status()
            .unwrap();
        assert_eq!(
            (status.signal(), status.core_dumped()),
            (Some(number), false),
            "{name}"
        );
    }
}

#[test]
fn an_ignored_signal_is_ignored_and_others_are_not() {
    let mut peer = Peer::launch("ignore SIGTERM\nstdout ready\\n\nsilent");
    assert_eq!(line(&mut peer.stdout), "ready\n");
    peer.signal("TERM");
    // A signal that `nohup` does not ignore.
    peer.signal("USR1");
    assert_eq!(peer.child.wait().unwrap().signal(), Some(10));
}

#[test]
fn a_stopped_program_plays_on_when_continued() {
    let directory = Directory::new("stop");
    let fifo = directory.fifo();
    let script = format!("wait-file {}\nstop\nsend on", fifo.display());
    let mut peer = Peer::launch(&script);
    std::fs::write(&fifo, "").unwrap();
    let status = waited_state(peer.child.id());
    assert_eq!(status, 'T');
    peer.signal("CONT");
    assert_eq!(peer.rest(), "on");
    assert_eq!(peer.end().0, Some(0));
}

#[test]
fn a_forked_child_holds_the_channels_after_its_parent() {
    let mut peer = Peer::launch("fork-child\nexit 0");
    let told = line(&mut peer.stdout);
    let left = Left(told.strip_prefix("child ").unwrap().trim().parse().unwrap());
    assert_eq!(peer.child.wait().unwrap().code(), Some(0));
    // These signals must not end it. SIGKILL must, which ends the monitor's stream.
    signal(left.0, "TERM");
    signal(left.0, "HUP");
    peer.monitor
        .get_mut()
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(
        peer.monitor.read(&mut [0]).is_err(),
        "the stream must not have ended"
    );
    drop(left);
    peer.monitor
        .get_mut()
        .set_read_timeout(Some(DEADLINE))
        .unwrap();
    assert_eq!(peer.rest(), "");
}

#[test]
fn it_tells_what_it_was_given() {
    let script = "print-args\nprint-env FAKE_A\nprint-env FAKE_B\nprint-cwd\nstderr \\xff";
    let output = fake_qemu()
        .args(["-name", "a b"])
        .env("FAKE_A", "x\ny")
        .env("FAKE_QEMU_SCRIPT", script)
        .env_remove("FAKE_B")
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\"-name\"\n\"a b\"\nargs done\nFAKE_A=\"x\\ny\"\nFAKE_B unset\ncwd \"/\"\n"
    );
    assert_eq!(output.stderr, b"\xff");
}

#[test]
fn a_script_may_come_from_a_file() {
    let directory = Directory::new("file");
    let path = directory.0.join("script");
    std::fs::write(&path, "# a comment\n\nexit 5\n").unwrap();
    assert_eq!(
        outcome(&["-fake-script", &format!("@{}", path.display())]).0,
        Some(5)
    );
}

#[test]
fn mistakes_of_the_test_have_their_own_code() {
    let (code, message) = outcome(&["-fake-script", "greet\nwrong step"]);
    assert_eq!(code, Some(64));
    assert!(
        message.starts_with("fake-qemu: line 2: no such step"),
        "{message}"
    );
    let no_monitor = "fake-qemu: line 1: the command line has no -mon with mode=control\n";
    assert_eq!(
        outcome(&["-fake-script", "greet"]),
        (Some(64), no_monitor.to_owned())
    );
    assert_eq!(outcome(&["-fake-script", "die SIGCHLD"]).0, Some(64));
    assert_eq!(outcome(&["-display", "none"]).0, Some(64));
}

#[test]
fn a_channel_that_cannot_be_opened_ends_it_as_it_ends_qemu() {
    for address in [
        "path=/nowhere/at/all",
        "fd=99",
        "path=/nowhere/at/all,server=on",
    ] {
        let (code, message) = outcome(&[
            "-chardev",
            &format!("socket,id=mon,{address}"),
            "-fake-script",
            "exit 0",
        ]);
        assert_eq!(code, Some(1), "{message}");
        assert!(message.starts_with("fake-qemu: chardev mon: "), "{message}");
    }
}

fn fake_qemu() -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env_remove("FAKE_QEMU_SCRIPT");
    command
}

fn monitored(chardev: &str, script: &str) -> Command {
    let mut command = fake_qemu();
    command.args(["-chardev", chardev, "-mon", "chardev=mon,mode=control"]);
    command.args(["-fake-script", script]);
    command
}

/// Std passes only the first three descriptors to a child; a shell moves one.
fn on_descriptor_3(socket: UnixStream, script: &str) -> Child {
    Command::new("sh")
        .args(["-c", "exec \"$@\" 3<&0 </dev/null", "sh", PROGRAM])
        .args([
            "-chardev",
            "socket,id=mon,fd=3",
            "-mon",
            "chardev=mon,mode=control",
        ])
        .args(["-fake-script", script])
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn outcome(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = fake_qemu().args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

fn lines_until(from: &mut impl BufRead, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != last) {
        lines.push(line(from));
        assert_ne!(lines.last().unwrap(), "", "ended without {last}");
    }
    lines
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// A process's state, when it neither runs nor waits. Std cannot wait for a stop
/// of a child, so this reads it repeatedly.
fn waited_state(pid: u32) -> char {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim()
            .chars()
            .next()
            .unwrap();
        // `D` is a wait too, for a disk.
        if !matches!(state, 'R' | 'S' | 'D') {
            return state;
        }
        std::thread::yield_now();
    }
}

/// A process that was left behind. A drop kills it.
struct Left(u32);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-KILL", &self.0.to_string()])
            .status();
    }
}

/// A directory that is removed after the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let unique = format!("fake-qemu-{name}-{}", std::process::id());
        let mut folder = std::env::temp_dir();
        // A socket's path has up to 107 bytes.
        if folder.as_os_str().len() > 57 {
            folder = PathBuf::from("/tmp");
        }
        let path = folder.join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn fifo(&self) -> PathBuf {
        let path = self.0.join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_fake-qemu");
const DEADLINE: Duration = Duration::from_secs(20);
