//! The shell of `qmp`: for a person on a real terminal, and for scripts.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Qemu, Running, Scratch, bounded, command, finish, json, qemus, signal, text};

/// A QEMU without a guest, with QMP for two.
struct Served {
    scratch: Scratch,
    running: Option<Running>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that failed leaves it.
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Served {
    fn new(qemu: &Qemu) -> Self {
        let scratch = Scratch::new();
        let mut run = qemu.run(["--console", "--stay", "--qmp"]);
        run.arg(scratch.join("qmp"));
        run.arg("--qmp").arg(scratch.join("other"));
        let mut running = Running::start(&mut run);
        running.until("tiny guest ready");
        let running = Some(running);
        Self { scratch, running }
    }

    fn kill_qemu(&self) {
        signal(self.running.as_ref().unwrap().qemu(), "KILL");
    }

    /// Its status, when QEMU has ended.
    fn status(mut self) -> Option<i32> {
        let running = self.running.take().unwrap();
        running.status(Duration::from_secs(10))
    }

    fn shell(&self, words: &[&str]) -> Command {
        let mut shell = command();
        shell.arg("qmp").arg(self.scratch.join("qmp")).args(words);
        shell
    }

    /// Runs a script, given to standard input.
    fn script(&self, words: &[&str], lines: &str) -> (Option<i32>, String, String) {
        let output = with_input(&self.shell(words), lines);
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// Executes a command by the other monitor.
    fn other(&self, words: &[&str]) -> String {
        let mut ask = command();
        ask.arg("qmp").arg(self.scratch.join("other")).args(words);
        let output = finish(&ask);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout)
    }

    fn person(&self, words: &[&str]) -> Person {
        let mut shell = self.shell(words);
        shell.env("XDG_STATE_HOME", self.scratch.join("state"));
        Person::at(&mut shell)
    }
}

fn with_input(command: &Command, lines: &str) -> Output {
    let mut command = bounded(command);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended before it read everything.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// A person at a terminal, who sees its screen.
struct Person {
    keyboard: File,
    screen: vt100::Parser,
    child: Child,
}

impl Person {
    fn at(command: &mut Command) -> Self {
        let (keyboard, terminal) = testbed::pseudo_terminal();
        let stream = || terminal.try_clone().unwrap();
        let command = bounded(command.env("TERM", "xterm"));
        let mut command = command;
        let command = command.stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().unwrap();
        // Its end is that of the terminal.
        Self {
            keyboard,
            screen: vt100::Parser::new(50, 80, 0),
            child,
        }
    }

    /// What the screen shows, without the spaces at the ends of its lines.
    fn lines(&self) -> Vec<String> {
        let contents = self.screen.screen().contents();
        contents
            .lines()
            .map(|it| it.trim_end().to_owned())
            .collect()
    }

    /// Waits until the screen is as wanted.
    fn sees(&mut self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        loop {
            let lines = self.lines();
            if wanted(&lines) {
                return lines;
            }
            let mut bytes = [0; 4096];
            let count = self.keyboard.read(&mut bytes).unwrap_or(0);
            assert_ne!(count, 0, "it was not shown: {lines:#?}");
            self.screen.process(&bytes[..count]);
        }
    }

    /// Waits until this is the last line that is not empty.
    fn sees_last(&mut self, line: &str) -> Vec<String> {
        self.sees(|lines| {
            lines
                .iter()
                .rfind(|it| !it.is_empty())
                .is_some_and(|it| it == line)
        })
    }

    /// Types a line, and waits for a line of its answer that begins with this, and
    /// for the prompt after it. Between the prompts, the terminal handles keys such
    /// as Ctrl-D by itself.
    fn enters(&mut self, line: &str, answer: &str) -> Vec<String> {
        self.types(&format!("{line}\r"));
        self.sees(|lines| {
            let is_typed = |it: &String| it.get(2..5) == Some("p> ") && it.ends_with(line);
            let typed = lines.iter().rposition(is_typed);
            let after = &lines[typed.map_or(lines.len(), |it| it + 1)..];
            let last = after.iter().rfind(|it| !it.is_empty());
            after.iter().any(|it| it.starts_with(answer))
                && last.is_some_and(|it| it == "qmp>" || it == "hmp>")
        })
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Its status, and what it showed until its end.
    fn ends(mut self) -> (Option<i32>, Vec<String>) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = self.keyboard.read(&mut bytes) {
            self.screen.process(&bytes[..count]);
        }
        let status = self.child.wait().unwrap().code();
        let contents = self.screen.screen().contents();
        (
            status,
            contents
                .lines()
                .map(|it| it.trim_end().to_owned())
                .collect(),
        )
    }
}

#[test]
fn a_person_types_completes_and_sees_events_without_a_broken_line() {
    for qemu in qemus() {
        let served = Served::new(&qemu);
        let mut person = served.person(&[]);
        let shown = person.sees_last("qmp>");
        let version = qemu.version.split_once('.').unwrap().0;
        assert!(shown[0].contains(&format!("QEMU {version}.")), "{shown:#?}");

        // What can only be one thing is completed, and a list shows the others.
        person.types("query-statu\t");
        person.sees_last("qmp> query-status");
        person.types("\r");
        let shown = person.sees_last("qmp>");
        assert!(
            shown.iter().any(|it| it == "  \"running\": true,"),
            "{shown:#?}"
        );
        person.types("screendump f\t");
        person.sees(|lines| {
            lines
                .iter()
                .any(|it| it.split_whitespace().eq(["filename", "format"]))
        });
        person.sees_last("qmp> screendump f");

        // An event comes while a line is half typed.
        served.other(&["stop"]);
        person.sees(|lines| lines.iter().any(|it| it == "event STOP"));
        person.sees_last("qmp> screendump f");
        person.types("o\t");
        person.sees_last("qmp> screendump format=");
        person.types("pn\t");
        person.sees_last("qmp> screendump format=png");

        // Ctrl-C clears it.
        person.types("\x03");
        person.sees_last("qmp>");
        // What the machine has, and a list of names without a schema.
        let ram = "object-add qom-type=memory-backend-ram id=ram0 size=1048576";
        person.enters(ram, "{}");
        person.types("qom-get path=/obj\tra\t");
        // It has children, so a slash follows.
        person.sees_last("qmp> qom-get path=/objects/ram0/");
        person.types(" prop\tsiz\t");
        person.sees_last("qmp> qom-get path=/objects/ram0/ property=size");
        person.enters("", "1048576");
        person.types("\x04");
        let (status, shown) = person.ends();
        assert_eq!(status, Some(0), "{shown:#?}");
    }
}

#[test]
fn a_line_goes_on_while_something_is_open_and_mistakes_are_explained() {
    let qemu = qemus().pop().unwrap();
    let served = Served::new(&qemu);
    let mut person = served.person(&[]);
    person.sees_last("qmp>");
    person.types("transaction(\r");
    person.types("abor\t\r");
    person.types(")\r");
    let shown = person.sees(|lines| lines.iter().any(|it| it.contains("error:")));
    assert!(
        shown
            .iter()
            .any(|it| it.contains("Transaction aborted using Abort action")),
        "{shown:#?}"
    );
    let shown = person.enters("query-statsu", "qemu-machine: error: ");
    let said = shown.concat();
    assert!(
        said.contains("did you mean query-stats or query-status?"),
        "{said}"
    );
    person.enters("device_add ?", "command device_add");
    person.types("hmp\r");
    person.sees_last("hmp>");
    person.types("info statu\t");
    person.sees_last("hmp> info status");
    person.enters("", "VM status: running");
    person.enters("info version", &qemu.version);
    person.types("qmp\r");
    person.sees_last("qmp>");
    person.types("exit\r");
    assert_eq!(person.ends().0, Some(0));
}

#[test]
fn the_lines_of_a_machine_are_kept_for_the_next_time() {
    use std::os::unix::fs::PermissionsExt;
    let served = Served::new(&qemus().pop().unwrap());
    let mut person = served.person(&[]);
    person.sees_last("qmp>");
    person.enters("query-name", "{");
    person.enters(
        "set_password protocol=vnc password=x",
        "qemu-machine: error: ",
    );
    person.types("\x04");
    assert_eq!(person.ends().0, Some(0));

    let folder = served.scratch.join("state/qemu-machine/history");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
    assert_eq!((mode(&folder), files.len()), (0o700, 1));
    assert_eq!(mode(&files[0].path()), 0o600);
    let kept = std::fs::read_to_string(files[0].path()).unwrap();
    assert!(
        kept.contains("query-name") && !kept.contains("password"),
        "{kept}"
    );

    let mut person = served.person(&[]);
    person.sees_last("qmp>");
    person.types("\x1b[A");
    person.sees_last("qmp> query-name");
    person.types("\x03");
    person.sees(|lines| lines.iter().filter(|it| it.starts_with("qmp>")).count() == 2);
    signal(person.child.id(), "TERM");
    assert_eq!(person.ends().0, Some(143));
}

#[test]
fn the_end_of_qemu_is_noticed_at_once_and_its_cause_is_said() {
    for qemu in qemus() {
        // The person asked for it.
        let served = Served::new(&qemu);
        let mut person = served.person(&[]);
        person.sees_last("qmp>");
        person.types("quit\r");
        let (status, shown) = person.ends();
        assert_eq!(status, Some(0), "{shown:#?}");
        assert!(
            shown.iter().any(|it| it == "qemu-machine: QEMU has ended"),
            "{shown:#?}"
        );
        let is_event =
            |it: &String| it.starts_with("event SHUTDOWN") && it.contains("host-qmp-quit");
        assert!(shown.iter().any(is_event), "{shown:#?}");

        // It is killed while a line is half typed.
        let served = Served::new(&qemu);
        let mut person = served.person(&[]);
        person.sees_last("qmp>");
        person.types("query-na");
        person.sees_last("qmp> query-na");
        served.kill_qemu();
        let (status, shown) = person.ends();
        assert_eq!(status, Some(1), "{shown:#?}");
        let said = shown.concat();
        assert!(said.contains("error: server at "), "{said}");
        assert!(said.contains("the server closed the connection"), "{said}");
        assert!(shown.iter().any(|it| it == "qmp> query-na"), "{shown:#?}");
    }
}

#[test]
fn a_script_has_a_result_in_each_line_and_stops_at_the_first_failure() {
    for qemu in qemus() {
        let served = Served::new(&qemu);
        let lines = "# a comment\n\nstop\nquery-status\nhuman-monitor-command \
                     command-line='info status'\nobject-add {'qom-type': \n  'memory-backend-ram',\
                     'id': \"m\", 'size': 1048576}\nobject-del id=m";
        let (status, stdout, stderr) = served.script(&[], lines);
        assert_eq!((status, &*stderr), (Some(0), ""), "{stdout}");
        let results: Vec<_> = stdout.lines().map(|it| json(it.as_bytes())).collect();
        assert_eq!(results.len(), 5, "{stdout}");
        assert_eq!(results[1]["status"], "paused");

        let lines = "cont\nnonesuch\nquery-status\nb c\n";
        let (status, stdout, stderr) = served.script(&[], lines);
        assert_eq!((status, &*stdout), (Some(1), "{}\n"));
        assert!(
            stderr.contains("error: line 2: ") && !stderr.contains("line 4"),
            "{stderr}"
        );
        let (status, stdout, stderr) = served.script(&["--keep-going"], lines);
        assert_eq!((status, stdout.lines().count()), (Some(1), 2));
        assert!(
            stderr.contains("line 2: ") && stderr.contains("line 4: 'c' is no"),
            "{stderr}"
        );

        let (status, _, stderr) = served.script(&[], "stop\nobject-add {'id':\n");
        assert_eq!(status, Some(1));
        assert!(
            stderr.contains("line 2: ") && stderr.contains("not closed"),
            "{stderr}"
        );

        let (status, stdout, stderr) = served.script(&["-v", "-p"], "query-status");
        assert!(status == Some(0) && stdout.lines().count() > 2, "{stdout}");
        assert!(stderr.contains("\"execute\": \"query-status\""), "{stderr}");
        let (status, stdout, _) = served.script(&["-H"], "info status\n# no\ninfo name\n");
        assert_eq!((status, &*stdout), (Some(0), "VM status: paused\r\n"));

        // A file is a script too, and `quit` ends it.
        let file = served.scratch.join("script");
        std::fs::write(&file, "query-status\nquit\nnonesuch\n").unwrap();
        let (status, stdout, stderr) = served.script(&["--script", file.to_str().unwrap()], "");
        assert_eq!((status, &*stderr), (Some(0), ""), "{stdout}");
        assert_eq!(served.status(), Some(0));
    }
}

#[test]
fn one_command_of_a_command_line_can_be_a_whole_line() {
    let served = Served::new(&qemus().pop().unwrap());
    let ask = |words: &[&str]| {
        let output = finish(&served.shell(words));
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let add = "blockdev-add driver=raw node-name=n file={'driver': 'null-co'}";
    assert_eq!(ask(&[add]).0, Some(0));
    let bitmap = "block-dirty-bitmap-add node=n name";
    let (status, _, stderr) = ask(&[&format!("transaction(\n{bitmap}=a\n{bitmap}=b\n)")]);
    assert_eq!(status, Some(0), "{stderr}");
    let words = [
        "transaction(",
        "block-dirty-bitmap-remove",
        "node=n",
        "name=a",
        ";",
        "abort",
        ")",
    ];
    let (status, _, stderr) = ask(&words);
    assert!(
        status == Some(1) && stderr.contains("Abort action"),
        "{stderr}"
    );
    let nodes = json(ask(&["query-named-block-nodes"]).1.as_bytes());
    let node = nodes
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["node-name"] == "n");
    assert_eq!(node.unwrap()["dirty-bitmaps"].as_array().unwrap().len(), 2);

    let (status, help, _) = ask(&["help", "blockdev-add", "driver=qcow2"]);
    assert!(
        status == Some(0) && help.contains("  lazy-refcounts "),
        "{help}"
    );
    let (status, _, stderr) = ask(&["help", "blockdev_ad"]);
    assert!(
        status == Some(1) && stderr.contains("did you mean blockdev-add or "),
        "{stderr}"
    );
    let oob = r#"{"exec-oob": "qmp_capabilities"}"#;
    assert_eq!(ask(&[oob]).0, Some(1));
}

#[test]
fn a_script_ends_when_qemu_does_and_when_a_signal_comes() {
    let qemu = qemus().remove(0);
    let served = Served::new(&qemu);
    let waiting = |served: &Served| {
        let mut shell = served.shell(&[]);
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"query-name\n").unwrap();
        let mut answer = [0; 1];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut answer)
            .unwrap();
        (child, stdin)
    };
    let (child, _stdin) = waiting(&served);
    signal(child.id(), "TERM");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
    let (child, _stdin) = waiting(&served);
    served.kill_qemu();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("the server closed the connection"),
        "{stderr}"
    );
}

#[test]
fn a_run_hands_its_monitor_to_a_script_or_to_a_person() {
    for qemu in qemus() {
        let run = qemu.run(["--qmp-shell"]);
        let output = with_input(&run, "query-status\nstop\n");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout).lines().count(), 2, "{output:?}");
        assert_eq!(with_input(&run, "quit\n").status.code(), Some(0));
        assert_eq!(with_input(&run, "nonesuch\n").status.code(), Some(1));

        let scratch = Scratch::new();
        let mut run = qemu.run(["--qmp-shell", "--name", "node"]);
        let mut person = Person::at(run.env("XDG_STATE_HOME", scratch.path()));
        person.sees_last("qmp>");
        // The machine ends by itself, and that is the end of the shell.
        person.types("system_reset\r");
        person.sees(|lines| lines.iter().any(|it| it.starts_with("event RESET")));
        person.types("query-na");
        person.sees_last("qmp> query-na");
        person.types("\x15{'execute': 'quit'}\r");
        let (status, shown) = person.ends();
        assert_eq!(status, Some(0), "{shown:#?}");
        let history = scratch.join("qemu-machine/history");
        let name = std::fs::read_dir(history).unwrap().next().unwrap().unwrap();
        assert!(name.file_name().to_str().unwrap().starts_with("node-"));
    }
}
