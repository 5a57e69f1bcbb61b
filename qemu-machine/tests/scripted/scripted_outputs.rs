//! Where the words of a machine go: logs of one name, and writers of the
//! caller's.
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Scratch, fake, scenario};
use qemu_machine::spec::Tee;
use qemu_machine::{Console, ExitReport, Machine, MachineBuilder, Wait};

/// What was written so far, for all who share it.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        crate::support::text(&self.0.lock().unwrap())
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine of this name that plays a script once it is launched.
fn named(name: &str, script: &str) -> MachineBuilder {
    fake(&format!("greet\nnegotiate\n{script}")).name(name)
}

fn end(vm: &Machine) -> Arc<ExitReport> {
    vm.shutdown().wait().unwrap()
}

// R9
scenario! {
    fn machines_of_one_name_that_run_at_once_have_a_log_each() {
        let scratch = Scratch::new("logs");
        let console = Console::serial().log(scratch.join("console.txt"));
        let builder = named("node", "stdout of-qemu\nconsole of-console\nserve")
            .log_dir(scratch.path())
            .transcript(scratch.join("wire.jsonl"))
            .console(console);
        let mut machines = Vec::new();
        for _ in 0..3 {
            let vm = run!(builder.launch()).unwrap();
            run!(vm.console().expect("of-console")).unwrap();
            machines.push(vm);
        }
        let names: Vec<_> = scratch.names();
        assert_eq!(
            names,
            [
                "console.txt", "console~2.txt", "console~3.txt", "node.log", "node~2.log",
                "node~3.log", "wire.jsonl", "wire~2.jsonl", "wire~3.jsonl",
            ]
        );
        let second = &machines[1];
        assert_eq!(second.log_path(), scratch.join("node~2.log"));
        assert_eq!(second.console().log_path().unwrap(), scratch.join("console~2.txt"));
        assert_eq!(second.transcript_path().unwrap(), scratch.join("wire~2.jsonl"));
        for vm in &machines {
            let report = run!(vm.shutdown()).unwrap();
            assert_eq!(report.log.as_deref(), Some(vm.log_path()));
            let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
            assert_eq!(read(vm.log_path()), "of-qemu");
            assert_eq!(read(vm.console().log_path().unwrap()), "of-console");
            assert_eq!(read(vm.transcript_path().unwrap()).matches("\"quit\\\"").count(), 1);
        }
        // What has ended holds no name.
        let again = run!(builder.launch()).unwrap();
        assert_eq!(again.log_path(), scratch.join("node.log"));
        run!(again.shutdown()).unwrap();
    }
}

// Live output
scenario! {
    fn what_is_said_is_written_as_it_comes() {
        let (said, heard) = mpsc::channel::<Vec<u8>>();
        let to = |said: &Sender<Vec<u8>>| {
            let said = said.clone();
            Tee::call(move |bytes| said.send(bytes.to_vec()).unwrap())
        };
        let scratch = Scratch::new("live");
        let fifo = scratch.fifo("fifo");
        let script = format!("console no line end\nwait-file {}\nstderr of QEMU\nserve", fifo.display());
        let builder = named("node", &script)
            .console(Console::serial().tee(to(&said)))
            .tee_output(to(&said));
        let vm = run!(builder.launch()).unwrap();
        assert_eq!(hear(&heard, "no line end".len()), "no line end");
        crate::support::release(&fifo);
        assert_eq!(hear(&heard, "of QEMU".len()), "of QEMU");
        let report = run!(vm.shutdown()).unwrap();
        assert!(report.warnings.is_empty(), "{report}");
    }
}

fn hear(heard: &Receiver<Vec<u8>>, length: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend(heard.recv_timeout(Duration::from_secs(20)).unwrap());
    }
    crate::support::text(&bytes)
}

// Live output
#[test]
fn lines_are_whole_and_have_the_machine_s_name_and_the_last_one_ends() {
    let written = Written::default();
    let tee = || Tee::new(written.clone()).named_lines();
    let script =
        "console 0 one\\r\\ntw\nconsole 0 o\\r\\nlast\nconsole 1 other\\n\nstdout own\nserve";
    let vm = named("node", script)
        .console(Console::serial().tee(tee()))
        .add_console("two", Console::serial().tee(tee()))
        .tee_output(tee());
    end(&vm.launch().wait().unwrap());
    let text = written.text();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "[node/two] other\n",
            "[node] last\n",
            "[node] one\r\n",
            "[node] own\n",
            "[node] two\r\n",
        ]
    );
}

// Live output
#[test]
fn clones_of_one_builder_share_a_writer_and_mix_no_lines() {
    let written = Written::default();
    let builder =
        fake("greet\nnegotiate\nrepeat 500\nconsole line of some length\\r\\n\nend\nserve")
            .console(Console::serial().tee(Tee::new(written.clone()).named_lines()));
    let launch = |name: &str| builder.clone().name(name).launch().wait().unwrap();
    let (one, two) = (launch("one"), launch("two"));
    end(&one);
    end(&two);
    for name in ["one", "two"] {
        let line = format!("[{name}] line of some length\r\n");
        let text = written.text();
        let count = text.split_inclusive('\n').filter(|it| *it == line).count();
        assert_eq!(count, 500, "{name}");
    }
}

// Live output
#[test]
fn a_writer_that_is_too_slow_holds_up_nobody_and_hears_what_it_missed() {
    let scratch = Scratch::new("slow");
    let (release, blocked) = mpsc::channel::<()>();
    let written = Written::default();
    let mut to = written.clone();
    let tee = Tee::call(move |bytes| {
        // Until the other end is dropped.
        let _ = blocked.recv();
        to.write_all(bytes).unwrap();
    });
    let console = Console::serial().tee(tee).log(scratch.join("log"));
    let vm = named("node", "console-fill 0 4000000 x\nconsole END\nserve").console(console);
    let vm = vm.launch().wait().unwrap();
    vm.console().expect("END").wait().unwrap();
    drop(release);
    let report = end(&vm);
    let log = std::fs::read(scratch.join("log")).unwrap();
    assert_eq!(log.len(), 4_000_003);
    let text = written.text();
    let gap = text.split('[').nth(1).unwrap();
    let dropped: usize = gap.split(' ').next().unwrap().parse().unwrap();
    let gap_end = " bytes were dropped: the writer is too slow]\r\n";
    assert!(gap.contains(gap_end), "{gap}");
    let told = text.matches(['x', 'E', 'N', 'D']).count();
    assert!((1 << 20..4_000_003).contains(&told), "{told}");
    assert_eq!(told + dropped, 4_000_003);
    assert!(
        report.warnings[0].contains(&format!("{dropped} bytes were dropped")),
        "{report}"
    );
}

// Live output
#[test]
fn a_writer_that_never_returns_delays_the_end_by_a_bound() {
    let (release, blocked) = mpsc::channel::<()>();
    let tee = Tee::call(move |_| {
        let _ = blocked.recv();
    });
    let vm = named("node", "console words\nserve").console(Console::serial().tee(tee));
    let report = end(&vm.launch().wait().unwrap());
    let warnings = &report.warnings[0];
    assert!(warnings.contains("longer than 5s at the end"), "{warnings}");
    drop(release);
}

// Live output
#[test]
fn a_writer_that_fails_or_panics_is_told_in_the_report_and_costs_the_machine_nothing() {
    let (reader, closed_pipe) = io::pipe().unwrap();
    drop(reader);
    let panics = Tee::call(|_| panic!("on purpose"));
    let written = Written::default();
    let vm = named("node", "console 0 a\nconsole 1 b\nconsole 2 c\nserve")
        .console(Console::serial().tee(closed_pipe))
        .add_console("panics", Console::serial().tee(panics.clone()))
        .add_console("works", Console::serial().tee(written.clone()));
    let report = end(&vm.launch().wait().unwrap());
    let warnings = report.warnings.join("\n");
    assert!(
        warnings.contains("the tee of the console of machine 'node' is incomplete"),
        "{warnings}"
    );
    assert!(
        warnings.contains("its writer failed: Broken pipe"),
        "{warnings}"
    );
    assert!(
        warnings.contains("console 'panics' of machine 'node' is incomplete: its writer panicked")
    );
    assert_eq!((report.warnings.len(), written.text().as_str()), (2, "c"));

    // Another console that shares the writer tries it again.
    let vm = named("other", "console d\nserve").console(Console::serial().tee(panics));
    let report = end(&vm.launch().wait().unwrap());
    assert!(
        report.warnings[0].contains("its writer panicked"),
        "{report}"
    );
}

// Live output
#[test]
fn a_file_that_is_given_is_written_on_and_a_path_is_appended_to() {
    let scratch = Scratch::new("append");
    let path = scratch.join("all.txt");
    std::fs::write(&path, "before\n").unwrap();
    let given = File::options().append(true).open(&path).unwrap();
    for tee in [Tee::new(given), Tee::append(&path), Tee::append(&path)] {
        let vm =
            named("node", "console words\\n\nserve").console(Console::serial().tee(tee.lines()));
        end(&vm.launch().wait().unwrap());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "before\nwords\nwords\nwords\n");

    // Neither a folder that is not there nor a pipe that nobody reads.
    scratch.fifo("pipe");
    for name in ["no/file", "pipe"] {
        let nowhere = Console::serial().tee(Tee::append(scratch.join(name)));
        let launch = named("node", "serve").console(nowhere).launch();
        let error = launch.wait().unwrap_err().to_string();
        assert!(error.contains("cannot append to"), "{error}");
        assert!(error.contains(name), "{error}");
    }
}
