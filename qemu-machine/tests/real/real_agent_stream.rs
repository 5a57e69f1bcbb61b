//! Output of a guest's program that is read while the program runs: by Debian's
//! `qemu-ga` in a real guest.

use std::time::Duration;

use crate::real_agent::{BOOT, linux};
use crate::support::{by_await, by_wait, qemus, text};
use qemu_machine::error::ErrorKind;
use qemu_machine::qmp::agent::{AgentFailure, Exec, GuestAgent, OutputPiece, StreamedProgram};

fn shell(agent: &GuestAgent, script: &str) -> Exec {
    agent
        .exec("/bin/sh")
        .args(["-c", script])
        .env("PATH", "/bin")
}

/// Ends when streams have left no directory in the guest.
const GONE: &str = "until ! ls -d /tmp/qemu-qmp-* /run/qemu-qmp-* 2>/dev/null; do :; done";

#[test]
fn more_than_any_agent_keeps_comes_whole_and_apart() {
    const TIMES: usize = 17;
    const BYTES: usize = 2 << 20;
    let vm = by_wait!(linux(&qemus().pop().unwrap()).launch()).unwrap();
    let agent = vm.guest_agent();
    by_wait!(agent.wait_until_ready().timeout(BOOT)).unwrap();
    let made = shell(
        agent,
        "cd /root; for f in f g; do head -c 2097152 /dev/urandom >$f; done",
    );
    assert!(by_wait!(made).unwrap().success());
    let [out, err] = ["/root/f", "/root/g"].map(|it| by_wait!(agent.read_file(it)).unwrap());
    let script = "cd /root; i=0; while [ $i -lt 17 ]; do cat f; cat g >&2; i=$((i + 1)); done";
    let mut program = by_wait!(shell(agent, script).stream()).unwrap();
    let mut printed = [0, 0];
    while let Some(piece) = by_wait!(program.next_piece()).unwrap() {
        let (stream, expected, bytes) = match &piece {
            OutputPiece::Stdout(bytes) => (0, &out, bytes),
            OutputPiece::Stderr(bytes) => (1, &err, bytes),
        };
        let mut rest = bytes.as_slice();
        assert!(rest.len() <= 1 << 20, "the host's memory is bounded");
        while !rest.is_empty() {
            let at = printed[stream] % BYTES;
            let count = rest.len().min(BYTES - at);
            assert!(rest[..count] == expected[at..at + count], "stream {stream}");
            printed[stream] += count;
            rest = &rest[count..];
        }
    }
    assert_eq!(printed, [TIMES * BYTES; 2]);
    assert!(by_wait!(program.wait_for_exit()).unwrap().success());
    assert!(by_wait!(shell(agent, GONE)).unwrap().success());
    by_wait!(vm.kill()).unwrap();
}

/// All that a program prints, each stream by itself.
async fn read(program: &mut StreamedProgram) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = program.next_piece().await.unwrap() {
        match piece {
            OutputPiece::Stdout(bytes) => out.extend(bytes),
            OutputPiece::Stderr(bytes) => err.extend(bytes),
        }
    }
    (text(&out), text(&err))
}

#[tokio::test]
async fn a_stream_is_live_has_an_input_and_leaves_nothing_in_the_guest() {
    let vm = by_await!(linux(&qemus().remove(0)).launch()).unwrap();
    let agent = vm.guest_agent();
    by_await!(agent.wait_until_ready().timeout(BOOT)).unwrap();

    // Its input, its environment, its end.
    let script = "cat; echo $WORD >&2; kill -9 $$";
    let mut program = shell(agent, script)
        .env("WORD", "to err")
        .input("in\0put")
        .stream()
        .await
        .unwrap();
    assert_eq!(
        read(&mut program).await,
        ("in\0put".into(), "to err\n".into())
    );
    let end = program.wait_for_exit().await.unwrap();
    assert_eq!((end.code, end.signal), (None, Some(9)));
    let mut program = agent.exec("nonesuch").arg("a b").stream().await.unwrap();
    let (out, err) = read(&mut program).await;
    assert!(out.is_empty() && err.contains("nonesuch"), "{err}");
    assert_eq!(program.wait_for_exit().await.unwrap().code, Some(127));

    // A line comes while the program runs, and a read that was given up loses none.
    by_await!(shell(agent, "mkfifo /root/go")).unwrap();
    let mut program = shell(agent, "echo one; read x </root/go; echo $x")
        .stream()
        .await
        .unwrap();
    assert_eq!(
        program.next_piece().await.unwrap(),
        Some(OutputPiece::Stdout(b"one\n".to_vec()))
    );
    let error = program
        .next_piece()
        .timeout(Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    shell(agent, "echo two >/root/go").await.unwrap();
    assert_eq!(read(&mut program).await, ("two\n".into(), String::new()));
    assert!(program.wait_for_exit().await.unwrap().success());
    assert!(shell(agent, GONE).await.unwrap().success());

    // A stream that is dropped ends a program that goes on writing.
    let mut program = shell(agent, "(while echo y; do :; done); echo $? >/root/ended")
        .stream()
        .await
        .unwrap();
    program.next_piece().await.unwrap();
    drop(program);
    let gone = format!("until [ -s /root/ended ]; do :; done; {GONE}");
    assert!(shell(agent, &gone).await.unwrap().success());

    // A program ends when its stream is cancelled, also while it is silent.
    let script = "trap 'echo TERM >/root/trapped; exit' TERM; echo set; while :; do :; done";
    let mut program = shell(agent, script).stream().await.unwrap();
    program.next_piece().await.unwrap();
    program.cancel().await.unwrap();
    assert!(shell(agent, GONE).await.unwrap().success());
    let ended = "until [ -s /root/trapped ]; do :; done";
    assert!(shell(agent, ended).await.unwrap().success());

    // Streams that a program closes end before it, and it has no child.
    let script = "echo one; exec >/dev/null 2>&1; read x </root/go";
    let mut program = shell(agent, script).stream().await.unwrap();
    assert_eq!(read(&mut program).await, ("one\n".into(), String::new()));
    shell(agent, "echo >/root/go").await.unwrap();
    assert!(program.wait_for_exit().await.unwrap().success());
    assert!(shell(agent, GONE).await.unwrap().success());

    // An input of any length, and nowhere to keep output.
    let input = vec![b'x'; 3 << 20];
    let mut program = shell(agent, "wc -c").input(input).stream().await.unwrap();
    assert_eq!(read(&mut program).await.0.trim(), "3145728");
    assert!(program.wait_for_exit().await.unwrap().success());
    assert!(shell(agent, GONE).await.unwrap().success());
    let mounted = "for d in /root /run /dev/shm; do mount -t proc none $d; done";
    shell(agent, mounted).await.unwrap();
    let mut program = shell(agent, "echo no").stream().await.unwrap();
    let error = program.next_piece().await.unwrap_err();
    let failure = &*error.failure;
    assert!(matches!(failure, AgentFailure::NoStream { .. }), "{error}");
    shell(agent, "umount /root /run /dev/shm").await.unwrap();

    // Without the script, the output is lost, and that is reported.
    let mut program = shell(agent, "read x </root/go").stream().await.unwrap();
    let kill = "cd /run; until set qemu-qmp-*/*pid && [ -s $1 -a -s \"$2\" ]; do :; done; \
                kill -9 $(cat qemu-qmp-*/*pid)";
    assert!(shell(agent, kill).await.unwrap().success());
    let error = program.next_piece().await.unwrap_err();
    assert!(
        matches!(*error.failure, AgentFailure::OutputLost { .. }),
        "{error}"
    );
    drop(program);
    assert!(shell(agent, GONE).await.unwrap().success());
    by_await!(vm.kill()).unwrap();
}
