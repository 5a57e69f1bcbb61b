//! Signals at random moments of a run: nothing is left. A program for itself,
//! because it counts its children, and adopts all that a run leaves.

mod support;

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use support::{Scratch, qemus, signal};

/// Moments from before the launch until some time after the guest's greeting.
struct Moments(u32);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_micros(u64::from(self.0 >> 8) % 300_000)
    }
}

/// Runs four at a time, each with this signal at another moment. The result is
/// how many received it and ended their machine.
fn interrupt(name: &str, times: usize, scratch: &Scratch, published: &Scratch) -> usize {
    let mut softly = 0;
    let qemus = qemus();
    let mut moments = Moments(16);
    for batch in 0..times / 4 {
        let start = |number: usize| -> Child {
            let qemu = &qemus[number % qemus.len()];
            let mut run = qemu.run(["--expect", "nonesuch"]);
            run.env("TMPDIR", scratch.path())
                .env("XDG_RUNTIME_DIR", published.path())
                .stdin(std::process::Stdio::null());
            run.spawn().unwrap()
        };
        let begun = Instant::now();
        let mut runs: Vec<(Duration, Child)> = (0..4)
            .map(|number| (moments.next(), start(number)))
            .collect();
        runs.sort_by_key(|(moment, _)| *moment);
        for (moment, run) in &runs {
            // It does not end by itself before.
            assert!(
                !testbed::wait_for_end(run.id(), begun + *moment),
                "it ended early"
            );
            signal(run.id(), name);
        }
        for (moment, mut run) in runs {
            let ended = testbed::wait_for_end(run.id(), Instant::now() + Duration::from_secs(10));
            assert!(
                ended,
                "batch {batch}: it lives 10 s after {name} at {moment:?}"
            );
            let status = run.wait().unwrap().code();
            // Before it waits for signals, a signal ends it: nothing runs then.
            assert!(
                [None, Some(130)].contains(&status),
                "{status:?} at {moment:?}"
            );
            softly += usize::from(status == Some(130));
        }
        let soon = Instant::now() + Duration::from_secs(20);
        if let Err(left) = testbed::wait_for_children(&BTreeSet::new(), soon) {
            panic!("batch {batch}: left are {left:?}");
        }
        if name == "INT" {
            assert!(
                scratch.names().is_empty(),
                "batch {batch}: {:?}",
                scratch.names()
            );
            assert_eq!(names_in(published), [] as [String; 0], "batch {batch}");
        }
    }
    softly
}

/// The folders of published machines.
fn names_in(published: &Scratch) -> Vec<String> {
    let folder = std::fs::read_dir(published.join("qemu-machine")).unwrap();
    let names = folder.map(|it| it.unwrap().file_name());
    names.map(|it| it.into_string().unwrap()).collect()
}

#[test]
fn nothing_is_left_of_a_run_that_a_signal_ended() {
    testbed::adopt_orphans();
    let scratch = Scratch::new();
    let published = Scratch::new();
    let softly = interrupt("INT", 100, &scratch, &published);
    assert!(softly >= 50, "only {softly} of 100 were there in time");
    interrupt("KILL", 100, &scratch, &published);
    // What a killed run left on disk, the next one removes.
    let qemu = qemus().remove(0);
    let mut run = qemu.run(["--expect", "> "]);
    run.env("TMPDIR", scratch.path())
        .env("XDG_RUNTIME_DIR", published.path());
    assert!(run.status().unwrap().success());
    assert_eq!(names_in(&published), [] as [String; 0]);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}
