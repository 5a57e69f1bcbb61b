//! Accelerators of a real QEMU on this host. The tests find out what the host
//! has: it may have no KVM, or a KVM that does not work.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support;
use crate::support::played_qemu::{ANSWER, PlayedQemu, Player};
use crate::support::{Scratch, scenario};
use qemu_machine::accel::AccelFinding;
use qemu_machine::error::AccelDenial;
use qemu_machine::{Accel, Console, Machine, guests};

/// What opening KVM's device gives.
fn opened() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/kvm")
}

// P29
scenario! {
    fn what_a_binary_lists_is_asked_of_it(qemu) {
        let listed = run!(Accel::listed(&qemu.binary)).unwrap();
        // As Debian builds them.
        assert_eq!(listed, [Accel::TCG, Accel::KVM]);
    }
}

// P29
#[test]
fn kvm_is_permitted_where_its_device_opens() {
    let permitted = Accel::KVM.permitted();
    match opened().map_err(|error| error.kind()) {
        Ok(_) => assert_eq!(permitted, Ok(())),
        Err(std::io::ErrorKind::PermissionDenied) => {
            assert_eq!(permitted, Err(AccelDenial::NotPermitted));
        }
        Err(_) => assert!(permitted.is_err()),
    }
    assert_eq!(Accel::TCG.permitted(), Ok(()));
}

// P29, W15
scenario! {
    fn what_works_is_told_and_the_best_of_it_boots_a_machine(qemu) {
        let scratch = Scratch::new("accel");
        let best = run!(Accel::best(&qemu.binary).refresh().cache_dir(scratch.path())).unwrap();
        let report = best.report();
        let of_tcg = report.finding(&Accel::TCG).unwrap();
        let AccelFinding::Works { run: by_tcg, .. } = of_tcg else { panic!("{report}") };
        // What opens may work, or not; what does not open is denied for that.
        let of_kvm = report.finding(&Accel::KVM).unwrap();
        let expected = match (opened().map_err(|error| error.kind()), of_kvm) {
            (Ok(_), AccelFinding::Works { run, .. }) if run < by_tcg => Accel::KVM,
            (Ok(_), AccelFinding::Denied(AccelDenial::NotPermitted | AccelDenial::NotLoaded)) => {
                panic!("{report}")
            }
            (Ok(_), _) => Accel::TCG,
            (Err(std::io::ErrorKind::PermissionDenied), finding) => {
                assert_eq!(finding, &AccelFinding::Denied(AccelDenial::NotPermitted));
                Accel::TCG
            }
            (Err(_), finding) => {
                assert!(matches!(finding, AccelFinding::Denied(_)), "{report}");
                Accel::TCG
            }
        };
        assert_eq!(best.accel(), &expected, "{best}");
        for other in best.rejected() {
            assert!(best.to_string().contains(&format!("rejected {other}")), "{best}");
        }
        let builder = Machine::builder(&qemu.binary)
            .accel([best])
            .firmware(guests::tiny())
            .console(Console::serial());
        let vm = run!(builder.launch()).unwrap();
        run!(vm.console().expect("tiny guest ready")).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

// P29
scenario! {
    fn what_works_and_beats_tcg_is_best(qemu) {
        let scratch = Scratch::new("accel");
        let zoom = format!(
            "greet\nnegotiate\nconsole tiny guest ready\\r\\n> \n\
             console-expect bench 100\\n\nconsole {ANSWER}\\r\\n> \nserve"
        );
        let played = PlayedQemu::new(&scratch, "x86_64", &[
            ("tcg", Player::Real(&qemu.binary)),
            ("zoom", Player::Fake(&zoom)),
        ]);
        let best = run!(Accel::best(&played).cache_dir(scratch.path())).unwrap();
        assert_eq!(best.accel().name(), "zoom", "{best}");
        let other = best.rejected().next().unwrap();
        assert!(other.accel == Accel::TCG && other.finding.works(), "{best}");
        assert!(best.to_string().contains("rejected tcg: slower"), "{best}");
    }
}

/// Runs the example in a `/dev` that has nothing but `null`, and what this
/// script puts into `$dev`; without any privilege over files.
fn in_another_dev(scratch: &Scratch, script: &str, qemu: &Path) -> String {
    let script = format!(
        "set -e; dev=$1; shift; mount -t tmpfs tmpfs \"$dev\"; \
         touch \"$dev/null\"; mount --bind /dev/null \"$dev/null\"; {script}; \
         mount --rbind \"$dev\" /dev; \
         exec setpriv --inh-caps=-all --bounding-set=-all \"$@\""
    );
    let dev = scratch.join("dev");
    std::fs::create_dir_all(&dev).unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(&dev)
        .arg(example())
        .arg(qemu)
        .env("XDG_CACHE_HOME", scratch.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    support::text(&output.stdout)
}

/// The example `accel`, which cargo builds beside the tests.
fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/accel")
}

// W15: the host is checked each time, even if the rest is in the cache of
// another process.
#[test]
fn each_way_of_having_no_kvm_is_told_with_what_to_do() {
    for qemu in support::qemus() {
        let scratch = Scratch::new("accel-denied");
        let told = |script| in_another_dev(&scratch, script, &qemu.binary);
        for (script, reason, advice) in [
            (":", "kvm  unavailable: this host has no KVM", "advice: "),
            (
                "touch \"$dev/kvm\"; chmod 0 \"$dev/kvm\"",
                "kvm  unavailable: KVM is not permitted",
                "advice: join the group of /dev/kvm",
            ),
        ] {
            let told = told(script);
            for words in [reason, advice, "best: tcg", "ready, with tcg"] {
                assert!(told.contains(words), "no {words:?} in:\n{told}");
            }
        }
        // It opens, but is no KVM: QEMU itself says so.
        let told = told("touch \"$dev/kvm\"; chmod 666 \"$dev/kvm\"");
        assert!(told.contains("kvm  does not work: "), "{told}");
        assert!(told.contains("best: tcg"), "{told}");
    }
}

#[test]
fn what_one_process_has_found_the_next_one_knows() {
    let scratch = Scratch::new("accel-known");
    for qemu in support::qemus() {
        // Nothing but TCG, which does not fail.
        let played = PlayedQemu::new(&scratch, "x86_64", &[("tcg", Player::Real(&qemu.binary))]);
        let told = || {
            let mut example = Command::new(example());
            example
                .arg(&played.binary)
                .env("XDG_CACHE_HOME", scratch.path());
            support::text(&example.output().unwrap().stdout)
        };
        let first = told();
        assert!(first.contains("tcg  works"), "{first}");
        let lists = played.starts_with("help");
        assert_eq!(told(), first);
        assert_eq!(played.starts_with("help"), lists);
        std::fs::remove_file(&played.binary).unwrap();
    }
}
