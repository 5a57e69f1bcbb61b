//! A guest that is saved, loaded or moved is whole, and is what it was before: it
//! runs if it ran, and is paused if it was paused.
use std::future::IntoFuture;
use std::path::Path;
use std::time::Duration;

use crate::support::boot_sector::{self, goes_on};
use crate::support::{Qemu, Scratch, scenario};
use qemu_machine::error::MoveError;
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::qmp::error::MigrationError;
use qemu_machine::{Machine, MachineBuilder, Wait};
use serde_json::json;

/// A machine whose guest compares its memory and its disk with what it wrote.
/// The same machine again has the same disk.
fn checking(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    boot_sector::boots(qemu, "memory", scratch)
}

/// A machine with that guest, which is writing. Where its memory is sent while it
/// runs, all that QEMU knows to be written is sent again before it is stopped.
fn writing(machine: &MachineBuilder) -> Machine {
    let vm = machine.clone().launch().wait().unwrap();
    goes_on(&vm);
    let slowly = json!({"downtime-limit": 1, "max-bandwidth": 64 << 20});
    let set = vm.monitor().execute_json("migrate-set-parameters", slowly);
    set.wait().unwrap();
    vm
}

fn status(vm: &Machine) -> String {
    vm.monitor().execute(QueryStatus).wait().unwrap().status
}

scenario! {
    fn a_guest_saved_while_it_writes_is_whole_when_it_is_loaded(qemu) {
        let scratch = Scratch::new("whole");
        let (machine, path) = (checking(&qemu, &scratch), scratch.join("saved"));
        let mut vm = writing(&machine);
        // A page that was missed may be made up for by chance.
        for _ in 0..2 {
            let mut events = vm.monitor().events_named(["MIGRATION", "STOP"]);
            run!(vm.save_to(&path)).unwrap();
            assert_eq!(run!(events.next()).unwrap().name(), "STOP", "before it is saved");
            assert_eq!(status(&vm), "postmigrate");
            run!(vm.shutdown()).unwrap();
            vm = run!(machine.clone().incoming().launch()).unwrap();
            run!(vm.load_from(&path)).unwrap();
            goes_on(&vm);
        }
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_guest_moved_while_it_writes_is_whole_and_has_its_disk_with_it(qemu) {
        let scratch = Scratch::new("moved");
        let machine = checking(&qemu, &scratch);
        let from = writing(&machine);
        let to = run!(machine.clone().incoming().launch()).unwrap();
        let mut events = from.monitor().events_named(["MIGRATION", "STOP"]);
        run!(from.migrate_to(&to)).unwrap();
        assert_eq!(run!(events.next()).unwrap().name(), "STOP", "before it is moved");
        goes_on(&to);
        assert_eq!(status(&from), "postmigrate");
        // It has no hold on the disk any more.
        run!(from.monitor().execute_json("cont", ())).unwrap_err();
        run!(from.shutdown()).unwrap();
        goes_on(&to);
        run!(to.shutdown()).unwrap();
    }
}

scenario! {
    fn a_guest_is_saved_and_moved_live_where_it_stays_whole(qemu) {
        let scratch = Scratch::new("live");
        let (machine, path) = (checking(&qemu, &scratch), scratch.join("saved"));
        let vm = writing(&machine);
        let to = run!(machine.clone().incoming().launch()).unwrap();
        let major = qemu.version.split('.').next().unwrap();
        if major.parse::<u32>().unwrap() < 9 {
            std::fs::write(&path, "not lost").unwrap();
            let saved = run!(vm.save_to(&path).live());
            for error in [saved.unwrap_err(), run!(vm.migrate_to(&to).live()).unwrap_err()] {
                assert!(matches!(error, MoveError::NotLive { .. }), "{error}");
                assert!(error.to_string().contains("remove 'live()'"), "{error}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"not lost");
            assert_eq!(status(&to), "inmigrate");
            goes_on(&vm);
        } else {
            let mut stop = vm.monitor().events_named(["STOP"]);
            converges_late(&vm, || vm.save_to(&path).live().wait()).unwrap();
            assert!(stop.try_next().is_some(), "it stops at the end");
            run!(vm.shutdown()).unwrap();
            run!(to.load_from(&path)).unwrap();
            goes_on(&to);
            let vm = to;
            let to = run!(machine.clone().incoming().launch()).unwrap();
            converges_late(&vm, || vm.migrate_to(&to).live().wait()).unwrap();
            assert_eq!(status(&vm), "postmigrate");
            goes_on(&to);
        }
    }
}

/// Saves or moves a guest that writes faster than QEMU may send, until QEMU has
/// looked for written pages several times.
fn converges_late<T: Send>(vm: &Machine, moved: impl FnOnce() -> T + Send) -> T {
    let may_pause = |millis: u32| {
        let downtime = json!({"downtime-limit": millis});
        let set = vm
            .monitor()
            .execute_json("migrate-set-parameters", downtime);
        set.wait().unwrap();
    };
    may_pause(1);
    let mut events = vm.monitor().events_named(["MIGRATION", "MIGRATION_PASS"]);
    std::thread::scope(|scope| {
        let moved = scope.spawn(moved);
        while let Ok(event) = events.next().wait() {
            let data: serde_json::Value = event.data().unwrap();
            if data["pass"].as_u64() >= Some(5) {
                may_pause(1000);
            }
            if data["status"] == "completed" {
                break;
            }
        }
        moved.join().unwrap()
    })
}

scenario! {
    fn a_guest_is_what_it_was_when_it_is_loaded(qemu) {
        let scratch = Scratch::new("as-it-was");
        let path = scratch.join("saved");
        for runs in [true, false] {
            let vm = run!(qemu.tiny().launch()).unwrap();
            run!(vm.console().expect("tiny guest ready")).unwrap();
            if !runs {
                run!(vm.monitor().execute_json("stop", ())).unwrap();
            }
            run!(vm.save_to(&path)).unwrap();
            run!(vm.shutdown()).unwrap();
            let vm = run!(qemu.tiny().incoming().launch()).unwrap();
            run!(vm.load_from(&path)).unwrap();
            assert_eq!(status(&vm), if runs { "running" } else { "paused" });
            run!(vm.shutdown()).unwrap();

            let vm = run!(qemu.tiny().incoming().launch()).unwrap();
            run!(vm.load_from(&path).paused()).unwrap();
            assert_eq!(status(&vm), "paused");
            run!(vm.monitor().execute_json("cont", ())).unwrap();
            run!(vm.console().send("again\n")).unwrap();
            run!(vm.console().expect("error: unknown command")).unwrap();
            run!(vm.shutdown()).unwrap();
        }
    }
}

scenario! {
    fn a_guest_is_what_it_was_on_the_other_machine(qemu) {
        for runs in [true, false] {
            let from = run!(qemu.tiny().launch()).unwrap();
            run!(from.console().expect("tiny guest ready")).unwrap();
            if !runs {
                run!(from.monitor().execute_json("stop", ())).unwrap();
            }
            let to = run!(qemu.tiny().incoming().launch()).unwrap();
            run!(from.migrate_to(&to)).unwrap();
            assert_eq!(status(&to), if runs { "running" } else { "paused" });
            run!(from.shutdown()).unwrap();
            run!(to.shutdown()).unwrap();
        }
    }
}

scenario! {
    fn a_saved_file_and_one_of_qemu_s_own_are_loaded_by_each_other(qemu) {
        let scratch = Scratch::new("plain");
        let ours = scratch.join("ours");
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect("tiny guest ready")).unwrap();
        run!(vm.save_to(&ours)).unwrap();
        run!(vm.monitor().execute_json("cont", ())).unwrap();

        let plain = run!(qemu.tiny().incoming().launch()).unwrap();
        let mut completed = plain.monitor().events_matching([("MIGRATION", json!({"status": "completed"}))]);
        let events = json!({"capabilities": [{"capability": "events", "state": true}]});
        run!(plain.monitor().execute_json("migrate-set-capabilities", events)).unwrap();
        let from = json!({"uri": format!("exec:cat {}", ours.display())});
        run!(plain.monitor().execute_json("migrate-incoming", from)).unwrap();
        run!(completed.next()).unwrap();
        run!(plain.monitor().execute_json("cont", ())).unwrap();
        run!(plain.console().send("plain\n")).unwrap();
        run!(plain.console().expect("error: unknown command")).unwrap();
        run!(plain.shutdown()).unwrap();

        for runs in [true, false] {
            let theirs = scratch.join("theirs");
            let command = if runs { "cont" } else { "stop" };
            run!(vm.monitor().execute_json(command, ())).unwrap();
            let file = std::fs::File::create(&theirs).unwrap();
            run!(vm.monitor().migrate_over(file)).unwrap();
            let again = run!(qemu.tiny().incoming().launch()).unwrap();
            run!(again.load_from(&theirs)).unwrap();
            assert_eq!(status(&again), if runs { "running" } else { "paused" });
            run!(again.shutdown()).unwrap();
            let again = run!(qemu.tiny().incoming().launch()).unwrap();
            run!(again.load_from(&theirs).paused()).unwrap();
            assert_eq!(status(&again), "paused");
            run!(again.shutdown()).unwrap();
            run!(vm.monitor().execute_json("cont", ())).unwrap();
        }
        run!(vm.shutdown()).unwrap();
    }
}

/// Waits for the end of what the engine does for a caller who has left.
fn restored(vm: &Machine, events: &mut qemu_machine::qmp::Events, expected: &str) {
    if status(vm) != expected {
        events.next_named("RESUME").wait().unwrap();
    }
    assert_eq!(status(vm), expected);
}

scenario! {
    fn a_save_that_fails_or_is_given_up_leaves_the_guest_as_it_was(qemu) {
        let scratch = Scratch::new("not-saved");
        let machine = checking(&qemu, &scratch);
        let vm = writing(&machine);
        let failed = run!(vm.save_to("/dev/full")).unwrap_err();
        let MoveError::Migration(MigrationError::Failed { .. }) = failed else {
            panic!("{failed}");
        };
        assert_eq!(status(&vm), "running");

        // So slow that it has not ended by any deadline.
        let slow = json!({"max-bandwidth": 100_000});
        run!(vm.monitor().execute_json("migrate-set-parameters", slow)).unwrap();
        let late = vm.save_to(scratch.join("late")).timeout(Duration::from_millis(100));
        let late = run!(late).unwrap_err();
        assert!(matches!(late, MoveError::Timeout { .. }), "{late}");
        assert_eq!(status(&vm), "running");

        let mut events = vm.monitor().events();
        let mut dropped = vm.save_to(scratch.join("dropped")).into_future();
        // Dropped in the middle.
        let active = |save: &mut _| polled_until_active(save, &vm);
        active(&mut dropped);
        assert_ne!(status(&vm), "running");
        drop(dropped);
        restored(&vm, &mut events, "running");
        goes_on(&vm);

        // A guest that its user has paused stays paused.
        run!(vm.monitor().execute_json("stop", ())).unwrap();
        run!(vm.save_to("/dev/full")).unwrap_err();
        let late = vm.save_to(scratch.join("late")).timeout(Duration::from_millis(100));
        run!(late).unwrap_err();
        assert_eq!(status(&vm), "paused");

        let fast = json!({"max-bandwidth": 1 << 30});
        run!(vm.monitor().execute_json("migrate-set-parameters", fast)).unwrap();
        run!(vm.save_to(scratch.join("saved"))).unwrap();
        run!(vm.monitor().execute_json("cont", ())).unwrap();
        goes_on(&vm);
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_move_that_fails_or_is_given_up_leaves_the_guest_as_it_was(qemu) {
        let scratch = Scratch::new("not-moved");
        let machine = checking(&qemu, &scratch);
        let vm = writing(&machine);
        let other = run!(machine.clone().memory("64M").incoming().launch()).unwrap();
        run!(vm.migrate_to(&other)).unwrap_err();
        assert_eq!(status(&vm), "running");
        run!(other.wait_for_exit()).unwrap();
        let no_other = run!(qemu.tiny().launch()).unwrap();
        run!(vm.migrate_to(&no_other)).unwrap_err();
        assert_eq!((status(&vm), status(&no_other)), ("running".into(), "running".into()));

        let slow = json!({"max-bandwidth": 100_000});
        run!(vm.monitor().execute_json("migrate-set-parameters", slow)).unwrap();
        let other = run!(machine.clone().incoming().launch()).unwrap();
        let late = run!(vm.migrate_to(&other).timeout(Duration::from_millis(100))).unwrap_err();
        assert!(matches!(late, MoveError::Timeout { .. }), "{late}");
        assert_eq!(status(&vm), "running");
        run!(other.wait_for_exit()).unwrap();

        let mut events = vm.monitor().events();
        let other = run!(machine.clone().incoming().launch()).unwrap();
        let mut dropped = vm.migrate_to(&other).into_future();
        polled_until_active(&mut dropped, &vm);
        drop(dropped);
        restored(&vm, &mut events, "running");
        run!(other.wait_for_exit()).unwrap();
        goes_on(&vm);

        // The other machine dies in the middle.
        let other = run!(machine.clone().incoming().launch()).unwrap();
        let mut moved = vm.migrate_to(&other).into_future();
        polled_until_active(&mut moved, &vm);
        run!(other.kill()).unwrap();
        run!(moved).unwrap_err();
        assert_eq!(status(&vm), "running");
        goes_on(&vm);
        run!(vm.shutdown()).unwrap();
    }
}

/// Polls an operation once, and waits until QEMU has begun to migrate.
fn polled_until_active<F: Future + Unpin>(operation: &mut F, vm: &Machine) {
    let mut events = vm.monitor().events_named(["MIGRATION"]);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(
        std::pin::Pin::new(operation)
            .poll(&mut context)
            .is_pending()
    );
    loop {
        let event = events.next().wait().unwrap();
        if event.data::<serde_json::Value>().unwrap()["status"] == "active" {
            return;
        }
    }
}

scenario! {
    fn saves_of_one_guest_at_once_come_one_after_the_other(qemu) {
        let scratch = Scratch::new("at-once");
        let machine = checking(&qemu, &scratch);
        let vm = writing(&machine);
        let saved = |name: &str| {
            let saved = vm.save_to(scratch.join(name)).wait();
            // QEMU saves no guest twice that has not gone on in between.
            vm.monitor().execute_json("cont", ()).wait().unwrap();
            saved
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| saved("one"));
            let outcomes = [saved("two"), other.join().unwrap()];
            assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        });
        run!(vm.shutdown()).unwrap();
        for name in ["one", "two"] {
            let path = scratch.join(name);
            if !has_guest(&path) {
                continue;
            }
            let vm = run!(machine.clone().incoming().launch()).unwrap();
            run!(vm.load_from(&path)).unwrap();
            run!(vm.shutdown()).unwrap();
        }
    }
}

fn has_guest(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.len() > 0)
}
