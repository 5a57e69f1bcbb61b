//! What takes its time in QEMU, followed to its end: jobs and migrations.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Qemu, Scratch, scenario};
use qemu_machine::error::MoveError;
use qemu_machine::qmp::client::JobReport;
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::qmp::error::{JobFailure, MigrationError};
use qemu_machine::{Machine, MachineBuilder, Wait};
use serde_json::json;

const DISK_BYTES: u32 = 4 << 20;

fn data() -> Vec<u8> {
    std::iter::repeat_n(7, DISK_BYTES.try_into().unwrap()).collect()
}

/// A machine with a node `disk`, and one of the same size, `copy`.
fn with_disks(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let node = |name: &str| {
        let path = scratch.join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(DISK_BYTES.into()).unwrap();
        format!(
            "driver=raw,node-name={name},file.driver=file,file.filename={}",
            path.display()
        )
    };
    let [disk, copy] = ["disk", "copy"].map(node);
    qemu.bare()
        .machine("none")
        .args(["-blockdev", &disk, "-blockdev", &copy])
}

scenario! {
    fn a_job_is_followed_over_all_its_states_with_its_progress(qemu) {
        let scratch = Scratch::new("job");
        let vm = run!(with_disks(&qemu, &scratch).launch()).unwrap();
        std::fs::write(scratch.join("disk"), data()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watched = Arc::clone(&seen);
        // So slow that it is seen on its way.
        let arguments = json!({
            "job-id": "b", "device": "disk", "target": "copy", "sync": "full", "speed": 2 << 20,
        });
        let backup = vm
            .monitor()
            .run_job("blockdev-backup", arguments)
            .on_progress(Duration::from_millis(50), move |progress| watched.lock().unwrap().push(progress));
        let report = run!(backup).unwrap();
        let states = ["created", "running", "waiting", "pending", "concluded", "null"];
        assert_eq!(states_of(&report), states);
        assert_eq!((report.progress.current, report.progress.total), (DISK_BYTES.into(), DISK_BYTES.into()));
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.iter().any(|it| it.current < DISK_BYTES.into()), "{seen:?}");
        assert_eq!(std::fs::read(scratch.join("copy")).unwrap(), data());
        assert_eq!(run!(vm.monitor().execute_json("query-jobs", ())).unwrap(), json!([]));

        // A job that waits to be completed, and then to be finalized.
        let arguments = json!({
            "job-id": "m", "device": "disk", "target": "copy", "sync": "full", "auto-finalize": false,
        });
        let report = run!(vm.monitor().run_job("blockdev-mirror", arguments)).unwrap();
        let states = ["created", "running", "ready", "waiting", "pending", "concluded", "null"];
        assert_eq!(states_of(&report), states);
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_job_that_fails_says_why_however_it_is_dismissed(qemu) {
        let scratch = Scratch::new("failing");
        // Every write fails for want of space.
        let blkdebug = "driver=blkdebug,node-name=bad,image=copy,inject-error.0.event=none,\
                        inject-error.0.iotype=write,inject-error.0.errno=28";
        let vm = run!(with_disks(&qemu, &scratch).args(["-blockdev", blkdebug]).launch()).unwrap();
        std::fs::write(scratch.join("disk"), data()).unwrap();
        for dismissed in [json!(null), json!(true), json!(false)] {
            let mut arguments = json!({
                "job-id": "b", "device": "disk", "target": "bad", "sync": "full",
            });
            if !dismissed.is_null() {
                arguments["auto-dismiss"] = dismissed;
            }
            let error = run!(vm.monitor().run_job("blockdev-backup", arguments)).unwrap_err();
            let JobFailure::Failed { reason } = &*error.failure else {
                panic!("{error}");
            };
            assert_eq!(reason, "No space left on device");
            assert!(error.report.states.contains(&"aborting".to_owned()), "{error}");
            assert_eq!(run!(vm.monitor().execute_json("query-jobs", ())).unwrap(), json!([]));
        }
        // A job that is not even started.
        let wrong = json!({"job-id": "w", "device": "nonesuch", "target": "copy", "sync": "full"});
        let error = run!(vm.monitor().run_job("blockdev-backup", wrong)).unwrap_err();
        assert!(matches!(*error.failure, JobFailure::Execute(_)), "{error}");
        let error = run!(vm.monitor().run_job("blockdev-backup", json!({}))).unwrap_err();
        assert!(error.to_string().contains("job-id"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_job_past_its_deadline_goes_on_and_its_machine_s_end_ends_who_follows(qemu) {
        let scratch = Scratch::new("slow");
        let vm = run!(with_disks(&qemu, &scratch).launch()).unwrap();
        std::fs::write(scratch.join("disk"), data()).unwrap();
        let slow = |id| json!({
            "job-id": id, "device": "disk", "target": "copy", "sync": "full", "speed": 1,
        });
        let follow = vm.monitor().run_job("blockdev-backup", slow("s")).timeout(Duration::from_millis(50));
        let error = run!(follow).unwrap_err();
        assert!(matches!(*error.failure, JobFailure::Timeout { .. }), "{error}");
        let jobs = run!(vm.monitor().execute_json("query-jobs", ())).unwrap();
        assert_eq!(jobs[0]["id"], "s");

        let concluded = ("JOB_STATUS_CHANGE", json!({"id": "s", "status": "concluded"}));
        let mut events = vm.monitor().events_matching([concluded]);
        run!(vm.monitor().execute_json("job-cancel", json!({"id": "s"}))).unwrap();
        run!(events.next()).unwrap();
        run!(vm.monitor().execute_json("job-dismiss", json!({"id": "s"}))).unwrap();

        let mut events = vm.monitor().events_matching([("JOB_STATUS_CHANGE", json!({"status": "running"}))]);
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| vm.monitor().run_job("blockdev-backup", slow("t")).wait());
            events.next().wait().unwrap();
            let report = vm.kill().wait().unwrap();
            let error = follower.join().unwrap().unwrap_err();
            assert!(error.to_string().contains(&report.to_string()), "{error}");
        });
    }
}

/// The states but that 10.0 pauses a job while it changes what is around it.
fn states_of(report: &JobReport) -> Vec<&str> {
    let states = report.states.iter().map(String::as_str);
    let mut states: Vec<&str> = states.filter(|&state| state != "paused").collect();
    states.dedup();
    states
}

/// Speaks with the tiny guest of a machine.
fn guest_says(vm: &Machine, words: &str) {
    vm.console().send(format!("{words}\n")).wait().unwrap();
    vm.console()
        .expect("error: unknown command")
        .wait()
        .unwrap();
}

// W3
scenario! {
    fn a_guest_moves_to_another_machine_and_goes_on_there(qemu) {
        let (from, to) = (qemu.tiny(), qemu.tiny().incoming());
        let from = run!(from.launch()).unwrap();
        run!(from.console().expect("tiny guest ready")).unwrap();
        let to = run!(to.launch()).unwrap();
        let report = run!(from.migrate_to(&to)).unwrap();
        assert_eq!(report.states.last().unwrap(), "completed");
        assert!(report.transferred_bytes.unwrap() > 0);
        assert_eq!(run!(from.monitor().execute(QueryStatus)).unwrap().status, "postmigrate");
        guest_says(&to, "moved");
        // What was said there is not said here.
        assert!(!to.console().tail().starts_with(b"tiny guest ready"));
        run!(from.shutdown()).unwrap();
        run!(to.shutdown()).unwrap();
    }
}

// W3
scenario! {
    fn a_guest_is_saved_to_a_file_and_goes_on_from_there_twice(qemu) {
        let scratch = Scratch::new("saved");
        let path = scratch.join("guest, saved");
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect("tiny guest ready")).unwrap();
        run!(vm.save_to(&path)).unwrap();
        run!(vm.monitor().execute_json("cont", ())).unwrap();
        guest_says(&vm, "here");
        run!(vm.shutdown()).unwrap();
        for _ in 0..2 {
            let vm = run!(qemu.tiny().incoming().launch()).unwrap();
            run!(vm.load_from(&path)).unwrap();
            guest_says(&vm, "again");
            run!(vm.shutdown()).unwrap();
        }

        let vm = run!(qemu.tiny().launch()).unwrap();
        let missing = run!(vm.load_from(scratch.join("missing"))).unwrap_err();
        assert!(matches!(missing, MoveError::File { .. }), "{missing}");
        let busy = run!(vm.load_from(&path)).unwrap_err();
        assert!(matches!(busy, MoveError::Migration(MigrationError::Execute(_))), "{busy}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_guest_that_cannot_be_taken_in_is_told_on_both_sides(qemu) {
        // Another machine than the one it is of.
        let from = run!(qemu.tiny().launch()).unwrap();
        let to = run!(qemu.tiny().memory("64M").incoming().launch()).unwrap();
        let error = run!(from.migrate_to(&to)).unwrap_err();
        let MoveError::Migration(error) = error else {
            panic!("{error}");
        };
        assert!(!matches!(error, MigrationError::Timeout { .. }), "{error}");
        // The guest goes on where it is.
        run!(from.console().expect("tiny guest ready")).unwrap();
        run!(from.shutdown()).unwrap();
        let report = run!(to.wait_for_exit()).unwrap();
        assert_eq!(report.status.code(), Some(1), "{report}");
        assert!(report.to_string().contains("load of migration failed"), "{report}");

        let path = std::path::Path::new("/dev/full");
        let vm = run!(qemu.tiny().launch()).unwrap();
        let error = run!(vm.save_to(path)).unwrap_err();
        assert!(matches!(error, MoveError::Migration(MigrationError::Failed { .. })), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_migration_that_is_refused_leaves_no_descriptor_and_its_other_side_ends(qemu) {
        // It waits for a guest itself, so it has none to give away.
        let from = run!(qemu.tiny().incoming().launch()).unwrap();
        let to = run!(qemu.tiny().incoming().launch()).unwrap();
        let before = descriptors(&from);
        let error = run!(from.migrate_to(&to)).unwrap_err();
        let MoveError::Migration(MigrationError::Execute(error)) = error else {
            panic!("{error}");
        };
        assert!(error.reply().is_some(), "{error}");
        // When it answers the next command, it has done the last one.
        run!(from.monitor().execute(QueryStatus)).unwrap();
        assert_eq!(descriptors(&from), before);
        let report = run!(to.wait_for_exit()).unwrap();
        assert_eq!(report.status.code(), Some(1), "{report}");

        // A machine that waits for no guest refuses an incoming one.
        let other = run!(qemu.tiny().launch()).unwrap();
        let before = descriptors(&other);
        run!(from.migrate_to(&other)).unwrap_err();
        run!(other.monitor().execute(QueryStatus)).unwrap();
        assert_eq!(descriptors(&other), before);
        run!(other.console().expect("tiny guest ready")).unwrap();
        run!(other.shutdown()).unwrap();
        run!(from.shutdown()).unwrap();
    }
}

scenario! {
    fn what_a_guest_cannot_be_kept_in_is_refused_at_once(qemu) {
        let scratch = Scratch::new("no-file");
        let vm = run!(qemu.tiny().incoming().launch()).unwrap();
        for path in [scratch.fifo("pipe"), scratch.path().to_owned()] {
            for refused in [run!(vm.save_to(&path)), run!(vm.load_from(&path))] {
                let error = refused.unwrap_err();
                assert!(matches!(error, MoveError::File { .. }), "{error}");
            }
        }
        let error = run!(vm.load_from(scratch.join("pipe"))).unwrap_err();
        assert!(error.to_string().contains("it is a pipe"), "{error}");
        // It still waits for a guest.
        assert_eq!(run!(vm.monitor().execute(QueryStatus)).unwrap().status, "inmigrate");
        run!(vm.shutdown()).unwrap();
    }
}

/// How many descriptors QEMU has.
fn descriptors(vm: &Machine) -> usize {
    let folder = format!("/proc/{}/fd", vm.pid().unwrap());
    std::fs::read_dir(folder).unwrap().count()
}
