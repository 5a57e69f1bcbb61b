//! Templates: made once, and cloned as often as is asked for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::published::Place;
use crate::support::{Qemu, bounded, conforms, finish, json, lives, qemus, signal, text};

/// `template make` with the options of a `run`.
fn make(place: &Place, name: &str, run: &Command) -> Command {
    let mut make = place.verb(&["template", "make", name]);
    // Those of `env`, its program and the verb come before.
    make.args(run.get_args().skip_while(|it| *it != "run").skip(1));
    make
}

/// A template of the tiny guest, which is made in no time.
pub(crate) fn make_tiny(place: &Place, qemu: &Qemu, name: &str) -> Value {
    let run = qemu.run(["--memory", "16M", "--expect", "> ", "--json"]);
    let made = finish(&make(place, name, &run));
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    conforms("template", &made.stdout).remove(0)
}

/// The names of the store's templates.
fn names(place: &Place) -> Vec<String> {
    let listed = place.said(&["template", "list", "--json"]);
    let listed = listed
        .lines()
        .map(|it| conforms("template", it.as_bytes()).remove(0));
    let name = |it: Value| it["name"].as_str().unwrap().to_owned();
    listed.map(name).collect()
}

/// What is left of a store without templates: no files of a guest.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|it| it.file_name().into_string().unwrap());
    names
        .filter(|it| it != "digests" && !it.contains(".lock"))
        .collect()
}

/// Runs a command to its end, in the place's folder.
pub(super) fn finish_in(place: &Place, command: &Command) -> Output {
    let mut command = bounded(command);
    let command = command.stdin(Stdio::null());
    command.current_dir(place.folder.path()).output().unwrap()
}

/// As a line for a shell.
fn line(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words = words.map(|word| format!("'{}'", word.to_str().unwrap()));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_full_disk_fails_a_template_and_leaves_the_others_whole() {
    for qemu in qemus() {
        let place = Place::new();
        let cache = place.folder.join("cache");
        fs::create_dir(&cache).unwrap();
        let cache = cache.to_str().unwrap();
        let template = |name, memory| {
            let run = qemu.run(["--memory", memory, "--expect", "> "]);
            line(&make(&place, name, &run))
        };
        let (one, two) = (template("one", "16M"), template("two", "20M"));
        let list = line(&place.verb(&["template", "list", "-q"]));
        let step = ["--send", "echo whole\\n", "--expect", "whole"];
        let clone = line(&place.verb(&[&["clone", "one"][..], &step].concat()));
        let script = format!(
            "mount -t tmpfs -o size=60m tmpfs '{cache}' && {one} >&2 || exit 3
             files() {{ (cd '{cache}'; find . -type f ! -name '*.lock' | sort | sha1sum); }}
             dd if=/dev/zero of='{cache}/filler' bs=64k >&2; truncate -s -1M '{cache}/filler'; files
             {two}; echo \"two $?\"; files
             {list}; {clone}; echo \"clone $?\""
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        place.here(&mut unshare);
        let done = finish(&unshare);
        let (said, errors) = (text(&done.stdout), text(&done.stderr));
        let lines: Vec<_> = said.lines().collect();
        let [before, made, after, listed, cloned] = lines[..] else {
            panic!("{said}{errors}");
        };
        assert_eq!(
            (made, listed.len(), cloned),
            ("two 1", 32, "clone 0"),
            "{errors}"
        );
        assert_eq!(before, after, "files");
        assert!(errors.contains("MiB free"), "{errors}");
    }
}

#[test]
fn a_store_that_cannot_be_written_has_clones_and_is_not_pruned_in_silence() {
    // Older ones open the memory for writing.
    for qemu in qemus().iter().filter(|it| it.version != "7.2") {
        let place = Place::new();
        let made = make_tiny(&place, qemu, "one");
        make_tiny(&place, qemu, "two");
        let store = place.folder.join("cache/qemu-machine/templates");
        let store = store.to_str().unwrap();
        let step = ["--send", "echo whole\\n", "--expect", "whole"];
        let clone = line(&place.verb(&[&["clone", "one"][..], &step].concat()));
        let run = qemu.run(["--memory", "16M", "--expect", "> "]);
        let again = line(&make(&place, "one", &run));
        let list = line(&place.verb(&["template", "list", "-q"]));
        let prune = line(&place.verb(&["template", "prune", "--all"]));
        let uses = format!(
            "{clone}; echo \"clone $?\"; {again}; {prune}; echo \"prune $?\"; {list} | wc -l"
        );
        // Root has to lose its rights to be an ordinary user.
        let read_only = [
            format!("mount --bind '{store}' '{store}' && mount -o remount,bind,ro '{store}'"),
            format!("chmod -R a-w '{store}'"),
        ];
        let ordinary = "setpriv --inh-caps=-all --bounding-set=-all sh -ec";
        for (index, read_only) in read_only.iter().enumerate() {
            let script = format!("{read_only} && export USES && exec {ordinary} 'eval \"$USES\"'");
            let mut unshare = Command::new("unshare");
            unshare.args(["--map-root-user", "--mount", "sh", "-c", &script]);
            unshare.env("USES", uses.replace("; echo \"prune", " || echo \"prune"));
            place.here(&mut unshare);
            let done = finish(&unshare);
            let (said, errors) = (text(&done.stdout), text(&done.stderr));
            let key = made["key"].as_str().unwrap();
            let expected = format!("clone 0\n{key}\nprune 1\n2\n");
            assert_eq!(said, expected, "{index}: {errors}");
            // Each is tried, and told.
            let told = errors.matches("cannot remove the template").count();
            assert_eq!(told, 2, "{errors}");
        }
        let chmod = Command::new("chmod").args(["-R", "u+w", store]).status();
        assert!(chmod.unwrap().success());
    }
}

/// Prints a number that is only in this guest's memory.
const NONCE: &str = "busybox od -An -N8 -tx8 /dev/urandom | busybox tee /nonce";

#[test]
fn a_clone_goes_on_where_the_guest_was_frozen_and_is_apart_from_the_others() {
    for qemu in qemus() {
        let place = Place::new();
        let run = qemu.linux("initramfs", ["--expect", "~ # ", "--exec", NONCE]);
        let maker = make(&place, "linux", &run);
        let made = finish(&maker);
        let (key, nonce) = (text(&made.stdout), text(&made.stderr));
        assert_eq!(made.status.code(), Some(0), "{nonce}");
        assert_eq!((key.trim().len(), nonce.trim().len()), (32, 16), "{made:?}");
        // It is there: nothing is booted, and no command runs.
        let again = finish(&maker);
        assert_eq!(
            (text(&again.stdout), text(&again.stderr)),
            (key, String::new())
        );

        let clone = place.ask(&["clone", "linux", "--exec", "cat /nonce; exit 7"]);
        let stderr = text(&clone.stderr);
        let found = (clone.status.code(), text(&clone.stdout));
        assert_eq!(found, (Some(7), nonce.clone()), "{stderr}");

        let clones = ["one", "two"];
        for name in clones {
            let words = ["clone", "linux", "--detach", "--json", "--name", name];
            let detached = conforms("clone", place.said(&words).as_bytes()).remove(0);
            assert_eq!(detached["name"], name);
        }
        let in_use = place.failed(1, &["template", "remove", "linux"]);
        assert!(in_use.contains("'linux' is in use"), "{in_use}");
        let shown = place.said(&["template", "show", "linux", "--json"]);
        assert_eq!(json(shown.as_bytes())["is_in_use"], true);
        let exec =
            |name: &str, command: &str| place.said(&["exec", name, "--", "sh", "-c", command]);
        exec("one", "echo one >/mark");
        assert_eq!(exec("two", "ls /mark 2>/dev/null || echo none"), "none\n");
        let id = "cat /proc/sys/kernel/random/boot_id";
        assert_ne!(exec("one", id), exec("two", id));
        for name in clones {
            assert_eq!(exec(name, "cat /nonce"), nonce);
            assert_eq!(place.said(&["stop", name]), format!("{name}\n"));
        }
        let removed = place.said(&["template", "remove", "linux"]);
        assert_eq!(removed, text(&made.stdout));
    }
}

#[test]
fn templates_are_listed_shown_removed_and_pruned() {
    let qemu = qemus().pop().unwrap();
    let place = Place::new();
    assert_eq!(place.said(&["template", "list", "--json"]), "");
    let made = make_tiny(&place, &qemu, "one");
    assert_eq!(
        (&made["is_in_use"], &made["problem"]),
        (&false.into(), &Value::Null)
    );
    make_tiny(&place, &qemu, "two");
    let mut listed = names(&place);
    listed.sort();
    assert_eq!(listed, ["one", "two"]);

    let table = place.said(&["template", "list"]);
    assert!(table.starts_with("NAME  KEY "), "{table}");
    let row = table.lines().find(|it| it.starts_with("one "));
    let row: Vec<&str> = row.unwrap().split_whitespace().collect();
    let key = made["key"].as_str().unwrap();
    assert_eq!(
        (row[1], row[2], row[4]),
        (&key[..12], "ready", "16M"),
        "{table}"
    );
    let quiet = place.said(&["template", "list", "-q"]);
    assert!(quiet.lines().any(|it| it == key), "{quiet}");

    // By the name, the key and its beginning.
    for name in ["one", key, &key[..12]] {
        let shown = place.said(&["template", "show", name, "--json"]);
        let shown = conforms("template", shown.as_bytes()).remove(0);
        assert_eq!(
            (&shown["key"], &shown["name"]),
            (&key.into(), &"one".into())
        );
        assert_eq!(shown["machine"]["memory_bytes"], 16 << 20);
    }
    let shown = place.said(&["template", "show", "one"]);
    assert!(shown.contains(&format!("key:          {key}\n")), "{shown}");

    let removed = place.said(&["template", "remove", "one", "--json"]);
    assert_eq!(conforms("template", removed.as_bytes())[0]["key"], key);
    assert_eq!(names(&place), ["two"]);
    assert_eq!(
        place.said(&["template", "prune"]),
        "",
        "it is not too large"
    );
    let pruned = place.said(&["template", "prune", "--size", "0", "--json"]);
    assert_eq!(conforms("template", pruned.as_bytes()).len(), 1);
    make_tiny(&place, &qemu, "three");
    place.said(&["template", "remove", "--all"]);
    assert_eq!(place.said(&["template", "list", "--json"]), "");
    make_tiny(&place, &qemu, "four");
    place.said(&["template", "prune", "--all"]);
    let store = place.folder.join("cache/qemu-machine/templates");
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
}

#[test]
fn a_name_stands_for_the_template_that_was_asked_for_last() {
    let qemu = qemus().pop().unwrap();
    let place = Place::new();
    let key = |name: &str| {
        let shown = place.said(&["template", "show", name, "--json"]);
        json(shown.as_bytes())["key"].clone()
    };
    let make_with = |memory| {
        let run = qemu.run(["--memory", memory, "--expect", "> ", "--json"]);
        let made = finish(&make(&place, "web", &run));
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        json(&made.stdout)["key"].clone()
    };
    let (first, second) = (make_with("16M"), make_with("20M"));
    assert_ne!(first, second);
    assert_eq!(key("web"), second);
    // A clone is not a maker.
    let step = ["--send", "echo hi\\n", "--expect", "hi"];
    place.said(&[&["clone", first.as_str().unwrap()][..], &step].concat());
    assert_eq!(key("web"), second);
    // It is there, so nothing is booted.
    assert_eq!(make_with("16M"), first);
    assert_eq!(key("web"), first);
    // A machine that was frozen has the name now.
    place.tiny(&qemu, "other", &["--memory", "16M", "--freezable"]);
    let frozen = place.said(&["freeze", "other", "--as", "web", "--json"]);
    assert_eq!(key("web"), json(frozen.as_bytes())["key"]);
}

#[test]
fn a_template_that_is_not_there_or_was_touched_is_refused_by_name() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    for verb in [
        &["clone"][..],
        &["template", "show"],
        &["template", "remove"],
    ] {
        let none = place.failed(1, &[verb, &["one"]].concat());
        assert!(none.contains("no template 'one'"), "{none}");
        assert!(none.contains("there is none at all"), "{none}");
    }
    let nowhere = place.failed(1, &["clone", "./nonesuch"]);
    assert!(nowhere.contains("./nonesuch"), "{nowhere}");

    let made = make_tiny(&place, &qemu, "one");
    make_tiny(&place, &qemu, "two");
    let unknown = place.failed(1, &["clone", "three"]);
    assert!(unknown.contains("there are: "), "{unknown}");
    assert!(
        unknown.contains("one") && unknown.contains("two"),
        "{unknown}"
    );
    let refused = place.failed(2, &["clone", "one", "--memory", "1G"]);
    assert!(refused.contains("--memory"), "{refused}");

    let ram = Path::new(made["path"].as_str().unwrap()).join("ram");
    let ram = fs::File::options().append(true).open(ram).unwrap();
    ram.set_len(17 << 20).unwrap();
    let touched = place.failed(1, &["clone", "one"]);
    assert!(touched.contains("its file ram has changed"), "{touched}");
    let listed = place.said(&["template", "list"]);
    let row = listed.lines().find(|it| it.starts_with("one "));
    assert!(row.unwrap().contains("unusable"), "{listed}");
    let shown = place.said(&["template", "show", "one"]);
    assert!(shown.contains("its file ram has changed"), "{shown}");
    // The next maker makes it again.
    make_tiny(&place, &qemu, "one");
    place.said(&["clone", "one", "--send", "echo hi\\n", "--expect", "hi"]);
    // One failure keeps nobody from the rest.
    let removal = place.ask(&["template", "remove", "three", "two"]);
    assert_eq!(removal.status.code(), Some(1), "{removal:?}");
    assert_eq!(names(&place), ["one"]);
}

#[test]
fn a_clone_of_a_template_of_another_qemu_is_refused() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    let program = place.folder.join("qemu-system-x86_64");
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", qemu.binary.display());
    let installed = place.folder.join("installed");
    fs::write(&installed, &script).unwrap();
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(&installed, &program).unwrap();
    let options = ["--memory", "16M", "--expect", "> "];
    let make = ["template", "make", "one", "--qemu"];
    place.said(&[&make[..], &[program.to_str().unwrap()], &options].concat());
    let clone = ["clone", "one", "--send", "echo hi\\n", "--expect", "hi"];
    place.said(&clone);
    // An upgrade.
    fs::write(&installed, script + "# 2\n").unwrap();
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(&installed, &program).unwrap();
    let refused = place.failed(1, &clone);
    let advice = "qemu-system-x86_64 has changed since; make the template again";
    assert!(refused.contains(advice), "{refused}");
}

#[test]
fn a_run_that_fails_can_freeze_its_guest_for_a_clone() {
    let qemu = qemus().pop().unwrap();
    let place = Place::new();
    let kept = place.folder.join("kept");
    let rows = [["--exec", "false"], ["--expect", "nonesuch"]];
    let mut run = qemu.linux("initramfs", ["--expect", "~ # ", "--exec", "echo 1 >/mark"]);
    run.args(["--step-timeout", "60"]).args(rows[0]);
    run.arg("--freeze-on-failure").arg(&kept);
    place.here(&mut run);
    let failed = finish(&run);
    let stderr = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    let advice = format!("`qemu-machine clone {}`", kept.display());
    assert!(stderr.contains(&advice), "{stderr}");
    let mark = place.said(&["clone", kept.to_str().unwrap(), "--exec", "cat /mark"]);
    assert_eq!(mark, "1\n");
    // A clone that fails can do the same.
    let (kept, again) = (kept.to_str().unwrap(), place.folder.join("again"));
    let steps = ["--exec", "echo 2 >>/mark", "--exec", "false"];
    let failing = [
        &["clone", kept, "--freeze-on-failure"][..],
        &[again.to_str().unwrap()],
        &steps,
    ];
    place.failed(1, &failing.concat());
    let marks = place.said(&["clone", again.to_str().unwrap(), "--exec", "cat /mark"]);
    assert_eq!(marks, "1\n2\n");
    // It is kept: a run does not write over it.
    let taken = finish(&run);
    assert_eq!(taken.status.code(), Some(125));
    assert!(text(&taken.stderr).contains("kept"), "{taken:?}");

    // A path without a slash, and a failure that is no command's.
    let mut run = qemu.run(["--memory", "16M", "--expect", "> ", "--step-timeout", "1"]);
    run.args(rows[1]).args(["--freeze-on-failure", "tiny"]);
    place.here(&mut run);
    let result = place.folder.join("result.json");
    let failed = finish_in(&place, run.arg("--result").arg(&result));
    let stderr = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(124), "{stderr}");
    assert!(stderr.contains("`qemu-machine clone ./tiny`"), "{stderr}");
    conforms("run", &fs::read(result).unwrap());
    let clone = place.verb(&["clone", "./tiny", "--send", "echo hi\\n", "--expect", "hi"]);
    let clone = finish_in(&place, &clone);
    assert_eq!(clone.status.code(), Some(0), "{clone:?}");

    // A run that succeeds leaves nothing.
    let mut run = qemu.run(["--expect", "> ", "--freeze-on-failure"]);
    place.here(run.arg(place.folder.join("none")));
    assert_eq!(finish(&run).status.code(), Some(0));
    assert!(!place.folder.join("none").exists());
}

#[test]
fn a_name_that_clone_would_not_find_and_a_store_that_is_not_there_are_refused() {
    let place = Place::new();
    for name in ["a/b", ".", ""] {
        let refused = place.failed(2, &["template", "make", name, "--memory", "16M"]);
        assert!(
            refused.contains("a template's name has no slash"),
            "{refused}"
        );
    }
    let none = place.folder.join("none");
    let none = none.to_str().unwrap();
    for verb in [
        &["template", "list"][..],
        &["template", "show", "x"],
        &["template", "remove", "x"],
        &["template", "prune"],
        &["clone", "x"],
    ] {
        let refused = place.failed(1, &[verb, &["--store", none]].concat());
        assert!(
            refused.contains("there is no store of templates at"),
            "{refused}"
        );
        assert!(!Path::new(none).exists(), "{verb:?}");
    }
}

#[test]
fn a_guest_that_was_frozen_before_its_log_in_wakes_after_it() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    let asks = "while :; do busybox login; done\\n";
    let steps = ["--expect", "~ # ", "--send", asks, "--expect", "login: "];
    let run = qemu.linux("initramfs-login", steps);
    let made = finish_in(&place, &make(&place, "asks", &run));
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let asked = ["--send", "\\n", "--expect", "login: "];
    let password = place.folder.join("password");
    fs::write(&password, "secret").unwrap();
    let login = format!("root:file:{}", password.display());
    let steps = ["--login", &*login, "--exec", "id -un"];
    let said = place.said(&[&["clone", "asks", "--wake"][..], &asked, &steps].concat());
    assert!(said.ends_with("root\n"), "{said}");
}

#[test]
fn a_clone_has_another_network_if_it_is_named() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    // Nobody else has an address of this process.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from(([127, high, low, 1], 2222));
    let network = format!("user,id=net,hostfwd=tcp:{address}-:22");
    let run = qemu.linux("initramfs", ["--expect", "~ # ", "--"]);
    let mut with_network = make(&place, "net", &run);
    with_network.args(["-netdev", &network, "-device", "e1000,netdev=net"]);
    let done = finish_in(&place, &with_network);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    // The port can be forwarded once.
    let taken = TcpListener::bind(address).unwrap();
    let answers = ["--exec", "true"];
    let refused = place.verb(&[&["clone", "net"][..], &answers].concat());
    let refused = finish_in(&place, &refused);
    assert!(text(&refused.stderr).contains("hostfwd"), "{refused:?}");
    let other = [
        "clone",
        "net",
        "--netdev",
        "user,id=net,hostfwd=tcp:127.0.0.1:0-:22",
    ];
    place.said(&[&other[..], &answers].concat());
    drop(taken);
}

#[test]
fn a_machine_that_runs_is_frozen_by_its_name() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    place.tiny(&qemu, "plain", &[]);
    let refused = place.failed(1, &["freeze", "plain"]);
    assert!(refused.contains("machine 'plain'"), "{refused}");
    assert!(refused.contains("run --freezable"), "{refused}");
    place.said(&["kill", "plain"]);

    let words = ["--memory", "16M", "--freezable"];
    place.tiny(&qemu, "web", &words);
    let directory = place.folder.join("files");
    let taken = ["freeze", "web", "--directory", directory.to_str().unwrap()];
    let taken = place.failed(1, &taken);
    assert!(taken.contains("its guest was not frozen"), "{taken}");
    let elsewhere = format!("/dev/shm/elsewhere-{}", std::process::id());
    let refused = place.failed(1, &["freeze", "web", "--directory", &elsewhere]);
    assert!(
        refused.contains("is on another file system; keep the template in"),
        "{refused}"
    );
    let frozen = place.said(&["freeze", "web", "--as", "ready", "--json"]);
    let frozen = conforms("freeze", frozen.as_bytes()).remove(0);
    assert_eq!(frozen["name"], "ready");
    assert_eq!(names(&place), ["ready"]);
    let gone = place.failed(1, &["freeze", "web"]);
    assert!(gone.contains("no machine with the name 'web'"), "{gone}");
    place.said(&["clone", "ready", "--send", "echo hi\\n", "--expect", "hi"]);
    place.said(&[
        "clone",
        "ready",
        "--detach",
        "--freezable",
        "--name",
        "layer",
    ]);
    place.said(&["freeze", "layer", "--as", "frozen-again"]);
    place.said(&[
        "clone",
        "frozen-again",
        "--send",
        "echo hi\\n",
        "--expect",
        "hi",
    ]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);

    // Beside the store.
    place.tiny(&qemu, "db", &words);
    let kept = place.folder.join("kept");
    let said = place.said(&["freeze", "db", "--directory", kept.to_str().unwrap()]);
    assert_eq!(said, format!("{}\n", kept.display()));
    let clone = ["clone", kept.to_str().unwrap(), "--send", "echo hi\\n"];
    place.said(&[&clone[..], &["--expect", "hi"]].concat());
}

#[test]
fn a_maker_that_is_interrupted_or_fails_leaves_nothing() {
    let qemu = qemus().pop().unwrap();
    let place = Place::new();
    let store = place.folder.join("cache/qemu-machine/templates");
    let directory = place.folder.join("directory");
    let elsewhere = ["--directory", directory.to_str().unwrap()];
    for (words, signals) in [(&[][..], ["INT", "TERM"]), (&elsewhere, ["INT", "HUP"])] {
        for name in signals {
            let run = qemu.run(["--memory", "16M", "--console", "--expect", "nonesuch"]);
            let mut make = make(&place, "one", &run);
            let mut make = make
                .args(words)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stderr = BufReader::new(make.stderr.take().unwrap());
            let mut line = String::new();
            while !line.contains("tiny guest ready") {
                line.clear();
                assert_ne!(stderr.read_line(&mut line).unwrap(), 0);
            }
            let qemu = crate::support::child(make.id());
            signal(make.id(), name);
            let status = make.wait().unwrap().code().unwrap();
            let expected = [("INT", 130), ("TERM", 143), ("HUP", 129)];
            assert!(expected.contains(&(name, status)), "{name}: {status}");
            assert!(!lives(qemu), "{name}");
            assert_eq!(files(&store), [""; 0], "{name}");
            assert!(!directory.exists(), "{name}");
        }
    }
    let rows = [
        (&["--timeout", "1"][..], 124),
        (&["--send", "poweroff\\n"], 1),
    ];
    for (words, status) in rows {
        let steps = [&["--expect", "> "], words, &["--expect", "nonesuch"]];
        let failed = finish(&make(&place, "one", &qemu.run(steps.concat())));
        let stderr = text(&failed.stderr);
        assert_eq!(failed.status.code(), Some(status), "{words:?}: {stderr}");
        assert!(stderr.contains("error: "), "{words:?}: {stderr}");
        assert!(failed.stdout.is_empty());
        assert_eq!(files(&store), [""; 0], "{words:?}");
    }
    assert_eq!(fs::read_dir(place.folder.join("files")).unwrap().count(), 0);
}
