//! Accelerators that a real QEMU does not have on demand.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use crate::support;
use crate::support::played_qemu::{ANSWER, PlayedQemu, Player};
use crate::support::{Scratch, is_gone, scenario};
use qemu_machine::accel::AccelFinding;
use qemu_machine::error::{AccelDenial, AccelError, BestAccelError};
use qemu_machine::{Accel, Wait};

const READY: &str =
    "greet\nnegotiate\nconsole tiny guest ready\\r\\n> \nconsole-expect bench 100\\n\n";

/// A guest that runs its loop, with this result.
fn guest(answer: &str) -> String {
    format!("{READY}console {answer}\\r\\n> \nserve")
}

// P29, W15
scenario! {
    fn one_that_never_ends_is_left_after_a_small_multiple_of_the_time_of_tcg() {
        let scratch = Scratch::new("accel");
        let works = guest(ANSWER);
        let endless = format!("{READY}stderr qemu: warning: x\\nqemu: a lame processor\\n\nsilent");
        let qemu = PlayedQemu::new(&scratch, "x86_64", &[
            ("silent", Player::Fake("greet\nnegotiate\nsilent")),
            ("endless", Player::Fake(&endless)),
            ("tcg", Player::Tcg(&works)),
        ]);
        let best = run!(Accel::best(&qemu).cache_dir(scratch.path())).unwrap();
        assert_eq!(best.accel(), &Accel::TCG, "{best}");
        for pid in qemu.pids() {
            assert!(is_gone(pid), "{pid}");
        }
        let found = |name: &str| best.report().finding(&Accel::new(name)).unwrap().clone();
        let AccelFinding::Works { greeting, run } = found("tcg") else { panic!("{best}") };
        let expected = 3 * (greeting + run) + Duration::from_secs(1);
        assert!(matches!(found("silent"), AccelFinding::Silent { limit, .. } if limit == expected), "{best}");
        assert!(matches!(found("endless"), AccelFinding::TooSlow { limit, message }
            if limit == expected && message == "qemu: a lame processor"), "{best}");
        assert!(best.to_string().contains("rejected endless: too slow"), "{best}");
        // They are kept, as TCG had the time.
        run!(Accel::best(&qemu).cache_dir(scratch.path())).unwrap();
        assert_eq!(qemu.starts_with("endless"), 1);
    }
}

// P29, W15
scenario! {
    fn each_way_of_failing_is_told_and_what_works_is_best() {
        let scratch = Scratch::new("accel");
        let (works, wrong) = (guest(ANSWER), guest("bench 100 1"));
        let dies = format!("{READY}stderr qemu: warning: x\\nqemu: KVM internal error\\n\ndie SIGKILL");
        let closes = format!("{READY}console-close\nsilent");
        let busy = "echo 'ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy' >&2; exit 1";
        let qemu = PlayedQemu::new(&scratch, "x86_64", &[
            ("wrong", Player::Fake(&wrong)),
            ("dies", Player::Fake(&dies)),
            ("closes", Player::Fake(&closes)),
            ("refused", Player::Shell("echo 'qemu: invalid accelerator' >&2; exit 1")),
            ("busy", Player::Shell(busy)),
            ("qtest", Player::Shell("exit 9")),
            ("works", Player::Fake(&works)),
        ]);
        let best = run!(Accel::best(&qemu).cache_dir(scratch.path())).unwrap();
        assert_eq!(best.accel().name(), "works", "{best}");
        for pid in qemu.pids() {
            assert!(is_gone(pid), "{pid}");
        }
        let found = |name: &str| best.report().finding(&Accel::new(name)).unwrap().clone();
        for (name, words) in [
            ("wrong", "answered \"bench 100 1\""),
            ("dies", "qemu: KVM internal error"),
            ("closes", "closed the guest's console"),
            ("refused", "qemu: invalid accelerator"),
        ] {
            let finding = found(name);
            assert!(
                matches!(&finding, AccelFinding::Failed { message } if message.contains(words)),
                "{name}: {finding}"
            );
        }
        assert_eq!(found("busy"), AccelFinding::Denied(AccelDenial::Busy));
        assert_eq!(found("qtest"), AccelFinding::RunsNoGuest);
        assert_eq!(qemu.starts_with("qtest"), 0);
        let order = best.report().findings().map(|(accel, _)| accel.to_string());
        let order: Vec<String> = order.collect();
        assert_eq!(order.join(" "), "wrong dies closes refused busy qtest works");
        assert_eq!(best.rejected().count(), 6);
    }
}

// P29
scenario! {
    fn a_binary_for_another_target_is_emulated_untried() {
        let scratch = Scratch::new("accel");
        let none = Player::Shell("exit 9");
        let qemu = PlayedQemu::new(&scratch, "aarch64", &[("zoom", none), ("tcg", Player::Shell("exit 9"))]);
        let best = run!(Accel::best(&qemu).cache_dir(scratch.path())).unwrap();
        assert_eq!(best.accel(), &Accel::TCG);
        let target = "aarch64".to_owned();
        assert_eq!(best.report().finding(&Accel::TCG), Some(&AccelFinding::NotTried { target }));
        assert!(best.to_string().contains("this QEMU emulates aarch64"), "{best}");
        assert_eq!(qemu.starts_with("tcg") + qemu.starts_with("zoom"), 0);
    }
}

// W15
scenario! {
    fn where_none_works_the_error_says_why_of_each() {
        let scratch = Scratch::new("accel");
        let refused = Player::Shell("echo 'no engine' >&2; exit 1");
        let qemu = PlayedQemu::new(&scratch, "x86_64", &[("zoom", refused)]);
        let error = run!(Accel::best(&qemu).cache_dir(scratch.path())).unwrap_err();
        assert!(matches!(error, BestAccelError::NoneWorks(_)), "{error}");
        assert!(error.to_string().contains("zoom  does not work: no engine"), "{error}");
    }
}

#[test]
fn findings_are_kept_until_the_binary_is_another_and_what_failed_is_not() {
    let scratch = Scratch::new("accel");
    let works = guest(ANSWER);
    let make = || PlayedQemu::new(&scratch, "x86_64", &[("tcg", Player::Fake(&works))]);
    let qemu = make();
    let probe = || Accel::probe(&qemu).cache_dir(scratch.path());
    let findings = |probe: qemu_machine::accel::AccelProbe| {
        let report = probe.wait().unwrap();
        report.finding(&Accel::TCG).unwrap().clone()
    };
    let first = findings(probe());
    assert!(first.works(), "{first}");
    assert_eq!(findings(probe()), first);
    assert_eq!(
        Accel::best(&qemu)
            .wait()
            .unwrap()
            .report()
            .finding(&Accel::TCG),
        Some(&first)
    );
    assert_eq!((qemu.starts_with("help"), qemu.starts_with("tcg")), (1, 1));
    findings(probe().refresh());
    assert_eq!(qemu.starts_with("tcg"), 2);
    std::fs::remove_file(&qemu.binary).unwrap();
    make();
    findings(probe());
    assert_eq!(qemu.starts_with("tcg"), 3);

    let scratch = Scratch::new("accel-failed");
    let refused = Player::Shell("exit 1");
    let qemu = PlayedQemu::new(&scratch, "x86_64", &[("tcg", refused)]);
    for starts in 1..=2 {
        let report = Accel::probe(&qemu)
            .cache_dir(scratch.path())
            .wait()
            .unwrap();
        assert!(!report.finding(&Accel::TCG).unwrap().works());
        assert_eq!(qemu.starts_with("tcg"), starts);
    }
}

/// The first probe waits at its list until all the others have begun.
#[test]
fn those_who_ask_at_once_share_one_probe_whatever_comes_of_it() {
    const ASKERS: usize = 8;
    let scratch = Scratch::new("accel-shared");
    let fifo = scratch.fifo("asked");
    let held = format!("cat '{}'; exit 1", fifo.display());
    let qemu = PlayedQemu::new(&scratch, "x86_64", &[("tcg", Player::Shell(&held))]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let probe = || Accel::probe(&qemu).cache_dir(scratch.path());
    // The first poll of each has put it in the queue.
    let mut askers: Vec<_> = (0..ASKERS)
        .map(|number| {
            if number == 1 {
                probe().refresh()
            } else {
                probe()
            }
            .into_future()
        })
        .collect();
    runtime.block_on(async {
        for asker in &mut askers {
            std::future::poll_fn(|context| {
                assert!(asker.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        let askers: Vec<_> = askers.into_iter().map(|it| runtime.spawn(it)).collect();
        runtime
            .spawn_blocking(move || support::release(&fifo))
            .await
            .unwrap();
        for asker in askers {
            let report = asker.await.unwrap().unwrap();
            assert!(
                matches!(
                    report.finding(&Accel::TCG),
                    Some(AccelFinding::Failed { .. })
                ),
                "{report}"
            );
        }
    });
    assert_eq!((qemu.starts_with("help"), qemu.starts_with("tcg")), (1, 1));
}

scenario! {
    fn a_probe_ends_with_its_deadline_and_leaves_nothing() {
        const SHORT: Duration = Duration::from_millis(200);
        let scratch = Scratch::new("accel");
        let fifo = scratch.fifo("held");
        let held = format!("exec 9>'{}'; exec tail -f /dev/null", fifo.display());
        let qemu = PlayedQemu::new(&scratch, "x86_64", &[("tcg", Player::Shell(&held))]);
        // While there is a reader, nobody waits to write.
        let writer = File::options().read(true).write(true).open(&fifo).unwrap();
        let mut reader = File::open(&fifo).unwrap();
        let probe = Accel::probe(&qemu).cache_dir(scratch.path()).timeout(SHORT);
        let error = run!(probe).unwrap_err();
        let AccelError::Timeout { limit, waited_for, .. } = &error else { panic!("{error}") };
        assert_eq!(*limit, SHORT);
        // A host that is busy may not have come so far.
        assert!(waited_for.contains("tcg") || qemu.starts_with("tcg") == 0, "{error}");
        // It ends when all who could write are gone.
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        // And it can be asked again.
        let error = run!(Accel::probe(&qemu).cache_dir(scratch.path()).timeout(SHORT)).unwrap_err();
        assert!(error.to_string().contains("qemu-system-played"), "{error}");
    }
}

scenario! {
    fn what_is_no_qemu_is_told_as_such() {
        let error = run!(Accel::listed("/bin/echo")).unwrap_err();
        assert!(matches!(error, AccelError::NotListed { .. }), "{error}");
        assert!(error.to_string().contains("-accel help"), "{error}");
        let error = run!(Accel::probe("nonesuch-qemu")).unwrap_err();
        assert!(matches!(error, AccelError::Launch { .. }), "{error}");
        assert!(error.to_string().contains("nonesuch-qemu"), "{error}");
    }
}
