//! The ways in which the command is started: from cron, as process 1, with a
//! closed standard input.

use std::process::Command;

use crate::support::{Scratch, command, qemus};

#[test]
fn a_start_without_an_environment_and_as_process_1_ends_cleanly() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new();
    let run = qemu.run(["--expect", "> "]);
    let words: Vec<_> = run.get_args().skip(1).map(ToOwned::to_owned).collect();
    // As from cron: no PATH, no HOME, no TERM.
    let mut bare = Command::new("env");
    bare.arg("-i")
        .arg("--default-signal=INT,TERM,HUP")
        .args(&words);
    let bare = bare.current_dir(scratch.path()).output().unwrap();
    assert_eq!(bare.status.code(), Some(0), "{bare:?}");
    assert!(bare.stdout.is_empty() && bare.stderr.is_empty(), "{bare:?}");
    // As process 1, if this host permits that.
    let mut may = Command::new("unshare");
    if may
        .args(["-pf", "--mount-proc", "true"])
        .status()
        .is_ok_and(|it| it.success())
    {
        let mut first = Command::new("unshare");
        first.args(["-pf", "--mount-proc"]).args(&words);
        let first = first.output().unwrap();
        assert_eq!(first.status.code(), Some(0), "{first:?}");
        assert!(first.stderr.is_empty(), "{first:?}");
    }
    // A closed standard input is that of nobody.
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$@\" <&-", "sh"]).args(&words);
    let closed = closed.output().unwrap();
    assert_eq!(closed.status.code(), Some(0), "{closed:?}");
    let mut help = command();
    assert!(help.arg("--help").output().unwrap().status.success());
}
