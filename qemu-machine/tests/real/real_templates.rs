//! A guest that is frozen goes on in each of its clones, whole and apart from the
//! others.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::boot_sector::{boots, goes_on};
use crate::support::{Qemu, Scratch, linux_guest, scenario};
use qemu_machine::error::{LaunchFailure, TemplateError};
use qemu_machine::template::{Identity, Template, TemplateStore};
use qemu_machine::{Console, Machine, MachineBuilder, Wait};

/// A machine whose guest compares its memory and its disk with what it wrote.
fn checking(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let private = scratch.join("private");
    std::fs::create_dir_all(&private).unwrap();
    boots(qemu, "memory", scratch)
        .memory("64M")
        .freezable_in(&private)
        .base_dir(&private)
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

scenario! {
    fn a_frozen_guest_goes_on_whole_in_each_clone(qemu) {
        let scratch = Scratch::new("whole");
        let private = scratch.join("private");
        let vm = run!(checking(&qemu, &scratch).launch()).unwrap();
        goes_on(&vm);
        let template = run!(vm.freeze()).unwrap();
        assert!(!vm.is_running());
        assert_eq!(template.version().split('.').next(), qemu.version.split('.').next());
        let clones: Vec<Machine> = (0..3)
            .map(|_| template.machine().launch().wait().unwrap())
            .collect();
        for clone in &clones {
            goes_on(clone);
        }
        drop(template);
        // The machines keep the files.
        goes_on(&clones[0]);
        for clone in clones {
            run!(clone.shutdown()).unwrap();
        }
        drop(vm);
        assert!(is_empty(&private), "{private:?}");
    }
}

scenario! {
    fn a_clone_s_load_does_not_wait_for_the_negotiation(qemu) {
        let scratch = Scratch::new("together");
        let vm = run!(checking(&qemu, &scratch).launch()).unwrap();
        let template = run!(vm.freeze()).unwrap();
        let path = scratch.join("session.jsonl");
        let clone = run!(template.machine().transcript(&path).launch()).unwrap();
        goes_on(&clone);
        run!(clone.kill()).unwrap();
        let session = std::fs::read_to_string(path).unwrap();
        let (before, _) = session.split_once("\\\"return").unwrap();
        let commands = ["qmp_capabilities", "migrate-set-capabilities", "getfd", "migrate-incoming"];
        for command in commands {
            assert!(before.contains(command), "{command} is not in:\n{before}");
        }
    }
}

fn linux(qemu: &Qemu, private: &Path) -> MachineBuilder {
    let guest = linux_guest();
    qemu.bare()
        .memory("256M")
        .kernel(guest.join("vmlinux"))
        .initrd(guest.join("initramfs"))
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120))
        .freezable_in(private)
}

#[test]
fn linux_goes_on_with_what_it_had_in_memory_alone() {
    for qemu in crate::support::qemus() {
        let scratch = Scratch::new("linux");
        let kept = scratch.join("kept");
        let vm = linux(&qemu, scratch.path()).launch().wait().unwrap();
        vm.console().expect("~ # ").wait().unwrap();
        let mut shell = vm.console().shell().wait().unwrap();
        let nonce = "nonce=$(cat /proc/sys/kernel/random/uuid); echo $nonce";
        let nonce = shell.run(nonce).wait().unwrap().text();
        let begun = std::time::Instant::now();
        let template = vm.freeze().keep_at(&kept).wait().unwrap();
        eprintln!("frozen in {:?}", begun.elapsed());
        let memory = std::fs::read(kept.join("ram")).unwrap();
        drop((vm, template));
        let template = Template::open(&kept, &linux(&qemu, scratch.path())).unwrap();
        let begun = std::time::Instant::now();
        let clones = ["a", "b"].map(|name| template.machine().name(name).launch().wait().unwrap());
        eprintln!("two clones in {:?}", begun.elapsed());
        for clone in &clones {
            let begun = std::time::Instant::now();
            let mut shell = clone.console().shell().wait().unwrap();
            let name = clone.name();
            let script = format!("echo $nonce; echo {name} > /own; sync");
            assert_eq!(shell.run(script).wait().unwrap().text(), nonce);
            eprintln!("answered in {:?}", begun.elapsed());
        }
        for clone in clones {
            let mut shell = clone.console().shell().wait().unwrap();
            let own = shell.run("cat /own").wait().unwrap().text();
            assert_eq!(own, clone.name());
            clone.shutdown().wait().unwrap();
        }
        assert!(
            memory == std::fs::read(kept.join("ram")).unwrap(),
            "the memory has changed"
        );
    }
}

#[test]
fn a_clone_with_a_kernel_of_its_command_line_boots_again_after_a_reset() {
    for (qemu, kernel) in crate::support::qemus()
        .iter()
        .flat_map(|qemu| ["vmlinux", "vmlinuz"].map(|kernel| (qemu, kernel)))
    {
        let scratch = Scratch::new("reset");
        let vm = linux(qemu, scratch.path()).kernel(linux_guest().join(kernel));
        let vm = vm.launch().wait().unwrap();
        vm.console().expect("~ # ").wait().unwrap();
        let mut shell = vm.console().shell().wait().unwrap();
        shell.run("echo old > /own; nonce=old").wait().unwrap();
        let template = vm.freeze().wait().unwrap();
        for _ in 0..2 {
            let clone = template.machine().launch().wait().unwrap();
            let mut shell = clone.console().shell().wait().unwrap();
            let own = shell.run("cat /own; echo $nonce").wait().unwrap();
            assert_eq!(own.text(), "old\nold");
            clone.reset().wait().unwrap();
            // The prompt of the new boot.
            clone.console().expect("~ # ").wait().unwrap();
            let mut shell = clone.console().shell().wait().unwrap();
            let own = shell.run("test -e /own || echo $nonce new").wait().unwrap();
            assert_eq!(own.text(), "new", "{kernel}");
            clone.shutdown().wait().unwrap();
        }
    }
}

#[test]
fn a_clone_s_environment_has_huge_pages_unless_the_caller_says_otherwise() {
    let qemu = crate::support::qemus().remove(0);
    let scratch = Scratch::new("tunables");
    let template = |machine: MachineBuilder| {
        let vm = machine.launch().wait().unwrap();
        goes_on(&vm);
        vm.freeze().wait().unwrap()
    };
    let tunables = |machine: MachineBuilder| {
        let vm = machine.launch().wait().unwrap();
        let path = format!("/proc/{}/environ", vm.pid().unwrap());
        let environment = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
        let mut words = environment.split('\0');
        words
            .find_map(|word| word.strip_prefix("GLIBC_TUNABLES="))
            .map(str::to_owned)
    };
    let usual = template(checking(&qemu, &scratch));
    assert_eq!(tunables(usual.machine()).unwrap(), "glibc.malloc.hugetlb=1");
    let without = usual.machine().env_remove("GLIBC_TUNABLES");
    assert_eq!(tunables(without), None);
    let own = "glibc.malloc.check=0";
    let other = template(checking(&qemu, &scratch).env("GLIBC_TUNABLES", own));
    assert_eq!(tunables(other.machine()).unwrap(), own);
}

#[test]
fn what_cannot_be_a_clone_is_refused_before_the_launch() {
    let qemu = crate::support::qemus().remove(0);
    let scratch = Scratch::new("refused");
    let machine = checking(&qemu, &scratch);
    let plain = boots(&qemu, "memory", &scratch).launch().wait().unwrap();
    let error = plain.freeze().wait().unwrap_err();
    assert!(
        matches!(error, TemplateError::NotFreezable { .. }),
        "{error}"
    );
    drop(plain);

    let kept = scratch.join("kept");
    let vm = machine.launch().wait().unwrap();
    goes_on(&vm);
    let template = vm.freeze().keep_at(&kept).wait().unwrap();
    let refused = |builder: MachineBuilder| match *builder.launch().wait().unwrap_err().failure {
        LaunchFailure::NotOfTemplate { reason } => reason,
        other => panic!("{other}"),
    };
    let more = refused(template.machine().smp(2));
    assert!(more.contains("this machine has '-smp'"), "{more}");
    let state = kept.join("state");
    let whole = std::fs::read(&state).unwrap();
    let stamp = std::fs::metadata(&state).unwrap().modified().unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    for (bytes, said) in [(&damaged[..], "damaged"), (&whole[..100], "has changed")] {
        std::fs::write(&state, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&state).unwrap();
        file.set_modified(stamp).unwrap();
        let reason = refused(template.machine());
        assert!(reason.contains(said), "{reason}");
        let error = Template::open(&kept, &machine).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    std::fs::write(&state, &whole).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&state)
        .unwrap()
        .set_modified(stamp)
        .unwrap();
    goes_on(&template.machine().launch().wait().unwrap());
}

/// What a guest has that its siblings must not have.
const SELF: &str = "cat /etc/machine-id /proc/sys/kernel/random/boot_id \
     /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx8; hostname; \
     cat /sys/class/net/eth0/address 2>/dev/null";

#[test]
fn a_clone_that_woke_is_its_own_machine_with_the_right_time() {
    for (qemu, initrd) in crate::support::qemus()
        .into_iter()
        .flat_map(|qemu| [(qemu.clone(), "initramfs"), (qemu, "initramfs-agent")])
    {
        let scratch = Scratch::new("own");
        let mut machine = linux(&qemu, scratch.path());
        if initrd == "initramfs-agent" {
            let card = "virtio-net-pci,netdev=net,mac=02:00:00:00:00:01";
            let with_agent = machine.initrd(linux_guest().join(initrd)).guest_agent();
            machine = with_agent.args(["-netdev", "user,id=net", "-device", card]);
        }
        let vm = machine.launch().wait().unwrap();
        vm.console().expect("~ # ").wait().unwrap();
        let mut shell = vm.console().shell().wait().unwrap();
        let set_up = shell.run("mkdir -p /etc /tmp; echo 1 > /etc/machine-id");
        assert!(set_up.wait().unwrap().success());
        let has_card = initrd == "initramfs-agent";
        if has_card {
            // The drivers are loaded beside the shell. Nothing notifies a shell.
            let card = "until [ -e /sys/class/net/eth0 ]; do usleep 10000; done; \
                        ifconfig eth0 10.0.2.15 up && cat /sys/class/net/eth0/address";
            let address = shell.run(card).wait().unwrap().text();
            assert_eq!(address, "02:00:00:00:00:01");
        }
        vm.prepare_wake().wait().unwrap();
        let template = vm.freeze().wait().unwrap();
        let mut seen = std::collections::HashSet::new();
        for number in 0..3 {
            let clone = template.machine().launch().wait().unwrap();
            let identity = Identity::random()
                .unwrap()
                .hostname(format!("node-{number}"));
            if number == 2 {
                // The shell has lost what was prepared, so all of it is typed.
                let mut shell = clone.console().shell().wait().unwrap();
                shell.run("unset -f _qw").wait().unwrap();
            }
            let own = clone.wake().identity(identity).wait().unwrap();
            let typed = String::from_utf8_lossy(&clone.console().tail()).into_owned();
            let is_prepared = number < 2 || initrd == "initramfs-agent";
            assert_ne!(typed.contains("urandom"), is_prepared, "{typed}");
            let mut shell = clone.console().shell().wait().unwrap();
            let facts = shell.run(SELF).wait().unwrap().text();
            assert!(facts.starts_with(&own.machine_id()), "{facts}");
            assert!(facts.contains(&format!("node-{number}")), "{facts}");
            for fact in facts.lines() {
                assert!(seen.insert(fact.to_owned()), "{fact} is there twice");
            }
            if has_card {
                // The guest and its QEMU have the clone's address, and the card works.
                assert!(facts.ends_with(&own.mac(0)), "{facts}");
                let filter = clone.monitor().execute_json("query-rx-filter", ());
                let filter: serde_json::Value = filter.wait().unwrap();
                assert_eq!(filter[0]["main-mac"], own.mac(0), "{filter}");
                let ping = shell.run("ping -c 1 -W 10 10.0.2.2").wait().unwrap();
                assert!(ping.success(), "{}", ping.text());
            }
            // The clock has the time of a change in the file system.
            let now = || {
                let now = std::time::SystemTime::now();
                now.duration_since(std::time::UNIX_EPOCH).unwrap()
            };
            let before = now();
            let touched = "echo >/tmp/now && stat -c %y /tmp/now && date -r /tmp/now +%s";
            let told = shell.run(touched).wait().unwrap().text();
            let fraction = told.split(['.', ' ']).nth(2).unwrap();
            let seconds = told.lines().last().unwrap();
            let told: f64 = format!("{seconds}.{fraction}").parse().unwrap();
            let (before, after) = (before.as_secs_f64(), now().as_secs_f64());
            assert!(
                (before - 0.5..=after + 0.5).contains(&told),
                "{told} between {before} and {after}"
            );
        }
    }
}

#[test]
fn a_store_boots_once_for_all_who_ask_and_again_for_what_differs() {
    let qemu = crate::support::qemus().remove(0);
    let scratch = Scratch::new("store");
    let store = TemplateStore::at(scratch.join("store")).unwrap();
    let machine = boots(&qemu, "memory", &scratch).memory("64M");
    let made = Arc::new(AtomicUsize::new(0));
    let open = |machine: &MachineBuilder, version: &str| {
        let made = Arc::clone(&made);
        let template = store.template(machine).version(version);
        let template = template.set_up(move |vm| async move {
            made.fetch_add(1, Ordering::Relaxed);
            vm.console().expect(".").await?;
            Ok(())
        });
        template.wait()
    };
    // Two at the same time: one boots, the other waits for it.
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| open(&machine, "1").unwrap()));
        for template in both {
            let vm = template.join().unwrap().machine().launch().wait().unwrap();
            goes_on(&vm);
            vm.shutdown().wait().unwrap();
        }
    });
    assert_eq!(made.load(Ordering::Relaxed), 1);
    let kept = open(&machine, "1").unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 1);
    open(&machine, "2").unwrap();
    open(&machine.clone().smp(2), "1").unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 3);
    // The template in use stays.
    let listed = store.list().unwrap();
    assert_eq!(listed.iter().filter(|it| it.is_in_use).count(), 1);
    assert_eq!(store.prune(0).unwrap().len(), 2);
    assert_eq!(store.list().unwrap().len(), 1);
    goes_on(&kept.machine().launch().wait().unwrap());
    drop(kept);
    // A damaged one is made again.
    let state = store.list().unwrap()[0].path.join("state");
    std::fs::write(state, "x").unwrap();
    goes_on(
        &open(&machine, "1")
            .unwrap()
            .machine()
            .launch()
            .wait()
            .unwrap(),
    );
    assert_eq!(made.load(Ordering::Relaxed), 4);
    // A set-up that fails leaves nothing.
    let failed = store.template(&machine).version("3");
    let failed = failed.set_up(|_| async { Err("no luck".into()) });
    let error = failed.wait().unwrap_err();
    assert!(
        error.to_string().contains("the set-up failed: no luck"),
        "{error}"
    );
    // Who keeps a frozen machine here makes room for it.
    assert!(!store.unused_path().unwrap().exists());
    assert_eq!(store.list().unwrap().len(), 1);
    let full = store.clone().limit_bytes(0);
    assert!(!full.unused_path().unwrap().exists());
    assert_eq!(store.list().unwrap().len(), 0);
    let left = std::fs::read_dir(store.path()).unwrap().flatten();
    let left = left
        .map(|it| it.path())
        .filter(|it| it.extension().is_none_or(|it| it != "lock") && !it.ends_with("digests"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_pool_replaces_a_clone_that_ends_before_it_is_taken() {
    let qemu = crate::support::qemus().remove(0);
    let scratch = Scratch::new("replaced");
    let vm = checking(&qemu, &scratch).launch().wait().unwrap();
    goes_on(&vm);
    let template = vm.freeze().wait().unwrap();
    let (made, next) = std::sync::mpsc::channel();
    let pool = template.pool(1).warm_up(move |vm| {
        made.send(vm.pid().unwrap()).unwrap();
        async { Ok(()) }
    });
    let pool = pool.start().unwrap();
    let limit = Duration::from_secs(60);
    let first = next.recv_timeout(limit).unwrap();
    pool.wait_until_filled().wait();
    let pid = first.to_string();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .status();
    assert!(killed.unwrap().success());
    let second = next.recv_timeout(limit).unwrap();
    pool.wait_until_filled().wait();
    let vm = pool.take().wait().unwrap();
    assert_eq!(vm.pid(), Some(second));
    goes_on(&vm);
}

// A pool hands out each clone once, and refills.
scenario! {
    fn a_pool_hands_out_clones_that_are_ready_and_ends_the_rest(qemu) {
        let scratch = Scratch::new("pool");
        let private = scratch.join("private");
        let vm = run!(checking(&qemu, &scratch).launch()).unwrap();
        goes_on(&vm);
        let template = run!(vm.freeze()).unwrap();
        drop(vm);
        let warmed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&warmed);
        let pool = template.pool(2).warm_up(move |vm| {
            let count = Arc::clone(&count);
            async move {
                vm.console().expect(".").await?;
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        });
        let pool = pool.start().unwrap();
        assert_eq!(run!(pool.wait_until_filled()), 2);
        assert_eq!(warmed.load(Ordering::Relaxed), 2);
        let mut pids = Vec::new();
        for _ in 0..5 {
            let vm = run!(pool.take()).unwrap();
            goes_on(&vm);
            pids.push(vm.pid().unwrap());
            run!(vm.kill()).unwrap();
        }
        pids.dedup();
        assert_eq!(pids.len(), 5, "{pids:?}");
        run!(pool.wait_until_filled());
        drop((pool, template));
        // The clones that were not handed out have ended.
        assert!(is_empty(&private), "{private:?}");
    }
}
