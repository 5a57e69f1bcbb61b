//! What a real QEMU does not do on demand, done by the scripted peer.

mod support;

use std::process::Stdio;

use support::{Scratch, release, run_fake, signal, text};

#[test]
fn one_interrupt_ends_a_launch_that_hangs_and_nothing_is_left() {
    let (fifos, left) = (Scratch::new(), Scratch::new());
    let there = fifos.fifo("there");
    for stage in ["", "greet\n", "greet\nexpect qmp_capabilities\n"] {
        let script = format!(
            "ignore SIGTERM\n{stage}wait-file {}\nsilent",
            there.display()
        );
        let mut run = run_fake(&script, &["--expect", "nonesuch"]);
        run.env("TMPDIR", left.path());
        let mut run = run
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        release(&there);
        let peer = support::child(run.id());
        assert!(!left.names().is_empty());
        signal(run.id(), "INT");
        assert_eq!(run.wait().unwrap().code(), Some(130));
        assert_eq!(left.names(), [] as [&str; 0]);
        assert!(!support::lives(peer));
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut run.stderr.take().unwrap(), &mut said).unwrap();
        assert_eq!(text(&said), "");
    }
}
