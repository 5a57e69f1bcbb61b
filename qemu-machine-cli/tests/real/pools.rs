//! Pools: machines that are ready, and are handed out once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::published::Place;
use super::templates::{finish_in, make_tiny};
use crate::support::{conforms, json, qemus, signal, text};

const SOON: Duration = Duration::from_secs(20);

/// Starts a pool in the background, with machines that have done a step.
fn start(place: &Place, words: &[&str]) -> Value {
    let step = ["--send", "echo warm\\n", "--expect", "warm"];
    let start = ["pool", "start", "one", "--detach", "--json"];
    let started = place.said(&[&start[..], &step, words].concat());
    conforms("pool", started.as_bytes()).remove(0)
}

/// The process of a machine of this place.
fn process(place: &Place, name: &str) -> u32 {
    let entry = place.folder.join("qemu-machine").join(name);
    let entry = json(&fs::read(entry.join("machine.json")).unwrap());
    u32::try_from(entry["pid"].as_u64().unwrap()).unwrap()
}

fn has_ended(pid: u32) -> bool {
    testbed::wait_for_end(pid, Instant::now() + SOON)
}

/// The only pool.
fn listed(place: &Place) -> Value {
    let listed = place.said(&["pool", "list", "--json"]);
    conforms("pool", listed.as_bytes()).remove(0)
}

#[test]
fn each_machine_of_a_pool_is_handed_out_once_and_ends_with_it() {
    let qemu = qemus().pop().unwrap();
    let place = Place::new();
    make_tiny(&place, &qemu, "one");
    let started = start(&place, &["--size", "2", "--name", "p"]);
    assert_eq!(
        (&started["name"], &started["ready"]),
        (&"p".into(), &2.into())
    );
    let pool = listed(&place);
    assert_eq!(
        (&pool["size"], &pool["owner_pid"]),
        (&2.into(), &started["owner_pid"])
    );
    assert_eq!(place.said(&["pool", "list", "-q"]), "p\n");
    let taken = place.failed(1, &["pool", "start", "one", "--name", "p"]);
    assert!(
        taken.contains("a pool with the name 'p' is running"),
        "{taken}"
    );

    // More takers than machines, all at once.
    let take = || place.said(&["pool", "take", "p"]).trim().to_owned();
    let names: BTreeSet<String> = thread::scope(|scope| {
        let takers: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        let names = takers.into_iter().map(|it| it.join().unwrap());
        names.collect()
    });
    assert_eq!(names.len(), 4, "{names:?}");
    let pids: Vec<u32> = names.iter().map(|name| process(&place, name)).collect();
    let pool = listed(&place);
    for name in &names {
        let status = place.said(&["qmp", name, "query-status"]);
        assert_eq!(json(status.as_bytes())["status"], "running");
        let mut taken = pool["taken"].as_array().unwrap().iter();
        assert!(taken.any(|it| it == name), "{name}: {pool}");
    }
    let first = names.first().unwrap();
    place.said(&["stop", first]);
    // Those that are ready are the pool's. `stop --all` goes by the same, but would
    // end the machines of other tests and of the user.
    let listed = place.said(&["ps", "--json"]);
    let machines = conforms("ps", listed.as_bytes());
    let of_pool = machines
        .iter()
        .filter(|it| it["owner_pid"] == started["owner_pid"]);
    let (ready, taken): (Vec<_>, Vec<_>) = of_pool.partition(|it| it["pool"] == "p");
    let taken: BTreeSet<&str> = taken
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let rest: BTreeSet<&str> = names.iter().skip(1).map(String::as_str).collect();
    assert_eq!(taken, rest);
    assert!(!ready.is_empty(), "{listed}");

    // A taker that is killed before it has the name.
    let socket = place.folder.join("qemu-machine/.pools/p/pool");
    let mut client = BufReader::new(UnixStream::connect(socket).unwrap());
    client.get_mut().write_all(b"take\n").unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    let lost = json(answer.as_bytes())["return"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!names.contains(&lost), "{lost}");
    let lost = process(&place, &lost);
    drop(client);
    assert!(has_ended(lost));

    let in_use = place.failed(1, &["template", "remove", "one"]);
    assert!(in_use.contains("'one' is in use"), "{in_use}");
    let stopped = place.said(&["pool", "stop", "p", "--json"]);
    assert_eq!(conforms("pool", stopped.as_bytes())[0]["name"], "p");
    // The template is free at once.
    place.said(&["template", "remove", "one"]);
    assert!(pids.into_iter().all(has_ended));
    let none = place.failed(1, &["pool", "take", "p"]);
    assert!(
        none.contains("no pool with the name 'p': no pool runs"),
        "{none}"
    );
}

#[test]
fn a_pool_whose_owner_is_killed_or_interrupted_leaves_nothing() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    make_tiny(&place, &qemu, "one");
    let started = start(&place, &["--size", "1"]);
    assert_eq!(started["name"], "one", "the template's name");
    let taken = place.said(&["pool", "take", "one", "--json"]);
    let taken = conforms("pool", taken.as_bytes()).remove(0);
    let process = |name: &str| u32::try_from(taken[name].as_u64().unwrap()).unwrap();
    assert_eq!(taken["owner_pid"], started["owner_pid"]);
    signal(process("owner_pid"), "KILL");
    assert!(has_ended(process("owner_pid")) && has_ended(process("pid")));
    assert_eq!(place.said(&["pool", "list", "--json"]), "");
    let swept = place.said(&["sweep"]);
    assert!(swept.lines().any(|it| it == "one"), "{swept}");

    let mut pool = place.verb(&["pool", "start", "one", "--size", "1"]);
    pool.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut pool = pool.spawn().unwrap();
    let mut stdout = BufReader::new(pool.stdout.take().unwrap());
    let mut name = String::new();
    stdout.read_line(&mut name).unwrap();
    assert_eq!(name, "one\n");
    signal(pool.id(), "INT");
    assert_eq!(pool.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(place.folder.join("files")).unwrap().count(), 0);

    // A warm-up that fails is no pool.
    let words = ["pool", "start", "one", "--send", "poweroff\\n"];
    let expect = ["--expect", "nonesuch", "--detach"];
    let failed = place.ask(&[&words[..], &expect].concat());
    let stderr = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nonesuch"), "{stderr}");
    assert!(failed.stdout.is_empty());
}

#[test]
fn a_machine_that_was_taken_is_frozen_by_its_name() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    make_tiny(&place, &qemu, "one");
    start(&place, &["--size", "1", "--name", "plain"]);
    let plain = place.said(&["pool", "take", "plain"]);
    let refused = place.failed(1, &["freeze", plain.trim()]);
    assert!(
        refused.contains("--freezable` (or `clone`, `pool start`)"),
        "{refused}"
    );
    place.said(&["pool", "stop", "plain"]);

    start(&place, &["--size", "1", "--name", "p", "--freezable"]);
    let [first, second] = [(); 2].map(|()| place.said(&["pool", "take", "p"]));
    let frozen = place.said(&["freeze", first.trim(), "--as", "failed", "--json"]);
    assert_eq!(json(frozen.as_bytes())["name"], "failed");
    // The pool has only the other one, which is as it was.
    assert_eq!(listed(&place)["taken"], serde_json::json!([second.trim()]));
    let status = place.said(&["qmp", second.trim(), "query-status"]);
    assert_eq!(json(status.as_bytes())["status"], "running");
    // The pool ends in the middle of a freeze, or before it.
    let freeze = place.verb(&["freeze", second.trim(), "--as", "late"]);
    let frozen = thread::scope(|scope| {
        let freeze = scope.spawn(|| finish_in(&place, &freeze));
        place.said(&["pool", "stop", "p"]);
        freeze.join().unwrap()
    });
    let late = place.ask(&["clone", "late", "--send", "echo hi\\n", "--expect", "hi"]);
    assert_eq!(
        late.status.success(),
        frozen.status.success(),
        "{frozen:?}\n{late:?}"
    );
    place.said(&["clone", "failed", "--send", "echo hi\\n", "--expect", "hi"]);
    assert_eq!(fs::read_dir(place.folder.join("files")).unwrap().count(), 0);
}
