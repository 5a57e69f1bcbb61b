//! Hundreds of machines alive at once cost their program little. Alone in its
//! process, and one test, for it measures what the whole process takes.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_machine::{Console, Wait};
use support::{fake, fleet};

#[test]
fn a_crowd_of_machines_costs_one_thread_little_memory_and_no_wake_up() {
    let (_room, count) = fleet::room_for(312);
    let serving = fake("greet\nnegotiate\nserve").console(Console::serial());
    let threads_before = threads();
    // What is there once, for however many, is not the price of one. They stay
    // until the end: the deadlines of an end would be in the way of the rest.
    let _first = fleet::launch(8, &serving);
    let memory_before = anonymous_bytes();

    let machines = fleet::launch(count - 8, &serving);
    let each = (anonymous_bytes() - memory_before) / machines.len();
    let ours: Vec<PathBuf> = threads().difference(&threads_before).cloned().collect();
    let names: Vec<String> = ours.iter().map(|thread| name(thread)).collect();
    eprintln!("{each} bytes a machine, threads {names:?}");
    assert!(ours.len() <= 2, "{names:?}");
    assert!(each <= 128 << 10, "each machine takes {each} bytes of ours");

    // A machine that answers has nothing more to send after it.
    for vm in &machines {
        vm.monitor()
            .execute_json("x", ())
            .timeout(None)
            .wait()
            .unwrap();
    }
    // The last answer reaches us before the thread that read it sleeps again.
    // Nothing reports that, so this looks; it takes microseconds.
    while !ours.iter().all(|thread| is_asleep(thread)) {
        std::thread::yield_now();
    }
    let before: Vec<u64> = ours.iter().map(|thread| sleeps(thread)).collect();
    // Inherent: that nothing happens shows only by time that passes.
    std::thread::sleep(Duration::from_secs(5));
    let after: Vec<u64> = ours.iter().map(|thread| sleeps(thread)).collect();
    assert_eq!(before, after, "{names:?} woke up");
}

/// The folders of this process's threads.
fn threads() -> BTreeSet<PathBuf> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads.map(|thread| thread.unwrap().path()).collect()
}

fn name(thread: &Path) -> String {
    let name = std::fs::read_to_string(thread.join("comm")).unwrap();
    name.trim_end().to_owned()
}

fn is_asleep(thread: &Path) -> bool {
    field::<char>(&thread.join("status"), "State:") == 'S'
}

/// How often a thread has gone to sleep, and so was woken.
fn sleeps(thread: &Path) -> u64 {
    field(&thread.join("status"), "voluntary_ctxt_switches:")
}

/// The memory that is this process's alone, and no file's.
fn anonymous_bytes() -> usize {
    field::<usize>(Path::new("/proc/self/status"), "RssAnon:") << 10
}

fn field<T: std::str::FromStr>(file: &Path, name: &str) -> T {
    let text = std::fs::read_to_string(file).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let word = value.and_then(|value| value.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap()
}
