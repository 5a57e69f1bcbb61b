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

#[test]
fn one_interrupt_ends_the_search_for_an_accelerator_and_nothing_is_left() {
    let (files, left) = (Scratch::new(), Scratch::new());
    let there = files.fifo("there");
    let hangs = format!("echo >'{}'; exec sleep 100", there.display());
    let lists = "echo 'Accelerators supported in QEMU binary:'; echo tcg; exit";
    for (name, at_the_list) in [("list", &*hangs), ("trial", lists)] {
        let script = format!("#!/bin/sh\ncase \"$*\" in *help*) {at_the_list};; esac\n{hangs}\n");
        let program = files.program(name, &script);
        let mut run = support::command();
        run.args(["run", "--accel", "best", "--qemu"]).arg(program);
        run.env("TMPDIR", left.path())
            .env("XDG_CACHE_HOME", files.path());
        let mut run = run.stdin(Stdio::null()).spawn().unwrap();
        // It opens the pipe once it hangs.
        drop(std::fs::read(&there).unwrap());
        assert!(!left.names().is_empty(), "{name}");
        let peer = support::child(run.id());
        signal(run.id(), "INT");
        assert_eq!(run.wait().unwrap().code(), Some(130), "{name}");
        assert_eq!(left.names(), [] as [&str; 0], "{name}");
        assert!(!support::lives(peer), "{name}");
    }
}

#[test]
fn a_doctor_looks_for_what_guests_with_another_processor_need() {
    let script = "greet\nnegotiate\nexpect query-target\nreply {\"arch\": \"aarch64\"}\n\
                  expect query-kvm\nreply {\"present\": false, \"enabled\": false}\nserve";
    let mut doctor = support::command();
    doctor.args(["doctor", "--qemu"]).arg(support::fake_qemu());
    let doctor = support::finish(doctor.env("FAKE_QEMU_SCRIPT", script));
    let said = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(0), "{said}");
    for expected in [
        "warning  kvm: this QEMU has none for guests with the processor aarch64\n",
        "firmware: ",
        "UEFI for 64-bit ARM",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_doctor_shows_what_a_program_that_is_no_qemu_prints() {
    let files = Scratch::new();
    let script = "#!/bin/sh\nprintf 'this is \\033[31mno QEMU\\n'\nseq 2 9\nexit 3\n";
    let mut doctor = support::command();
    doctor.args(["doctor", "--qemu"]);
    let program = files.program("junk", script);
    let doctor = support::finish(doctor.arg(&program));
    let said = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{said}");
    let program = program.display();
    let ends = format!("; '{program}' exited with code 3\n");
    let shown = "\n           this is \\u{1b}[31mno QEMU\n           2\n           3\n           \
                 4\n           5\n           ...\n";
    assert!(said.contains(&ends) && said.contains(shown), "{said}");
}

#[test]
fn any_event_is_waited_for_if_there_is_no_schema() {
    let scratch = Scratch::new();
    let socket = scratch.join("qmp");
    let script = "greet\nnegotiate\nexpect query-qmp-schema\nerror CommandNotFound none\nsilent";
    let mut peer = std::process::Command::new(support::fake_qemu());
    let at = format!("socket,id=mon,server=on,path={}", socket.display());
    peer.args(["-mon", "chardev=mon,mode=control", "-chardev", &at]);
    let mut peer = peer.args(["-fake-script", script]).spawn().unwrap();
    while !socket.exists() {
        std::thread::yield_now();
    }
    let mut events = support::command();
    events.arg("events").arg(&socket);
    let events = support::finish(events.args(["VENDOR_EVENT", "--for", "2"]));
    let said = text(&events.stderr);
    assert_eq!(events.status.code(), Some(124), "{said}");
    assert!(said.contains("listening to the server"), "{said}");
    let _ = peer.kill();
    peer.wait().unwrap();
}
