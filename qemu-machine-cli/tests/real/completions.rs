//! The completion scripts, loaded by a real bash, zsh and fish. The shells have
//! the same questions, and must offer the same.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::iter;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::json;

use crate::support::{Scratch, bounded, command, finish, text};

/// A line that is typed, the words that must be offered, and whether these are
/// all.
struct Question {
    line: String,
    expected: Vec<String>,
    is_all: bool,
}

fn all(line: &str, expected: &[&str]) -> Question {
    Question {
        line: format!("qemu-machine {line}"),
        expected: expected.iter().map(|&word| word.to_owned()).collect(),
        is_all: true,
    }
}

fn some(line: &str, expected: &[&str]) -> Question {
    Question {
        is_all: false,
        ..all(line, expected)
    }
}

fn questions() -> Vec<Question> {
    let verbs = verbs();
    let names: Vec<&str> = verbs.iter().map(String::as_str).collect();
    assert_eq!(names.last(), Some(&"help"));
    let mut questions = vec![
        all("ru", &["run"]),
        some("", &names),
        all("run --acc", &["--accel"]),
        some("run --accel ", &["best", "kvm", "tcg"]),
        all("run --accel tc", &["tcg"]),
        all("run --dry-run=s", &["shell"]),
        all("run --console --dry-run=j", &["json"]),
        some("run --console=", &["stdout", "stderr"]),
        all("run --kernel vml", &["vmlinuz"]),
        all("replay vml", &["vmlinuz"]),
        all("completion f", &["fish"]),
        all("agent socket sh", &["shutdown"]),
        all("stop --timeout 5 we", &["web"]),
        some("stop ", &["web", "db"]),
        all("exec d", &["db"]),
        all("qom list we", &["web"]),
        some("run ", &["smoke", "smoke-arm"]),
        all("run -d smoke-", &["smoke-arm"]),
        some("man ", &names[..names.len() - 1]),
    ];
    for verb in names {
        let options = options(verb);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        questions.push(some(&format!("{verb} --"), &options));
    }
    questions
}

/// The verbs that the help lists.
fn verbs() -> Vec<String> {
    let help = help(&[]);
    let (_, list) = help.split_once("\nCommands:\n").unwrap();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let verbs = lines.filter_map(|line| line.split_whitespace().next());
    let verbs: Vec<String> = verbs.map(str::to_owned).collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    verbs
}

/// The long options that the help of a verb lists.
fn options(verb: &str) -> Vec<String> {
    if verb == "help" {
        return Vec::new();
    }
    let help = help(&[verb]);
    let lines = help.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with('-'));
    let is_end = |it: char| !it.is_ascii_alphanumeric() && it != '-';
    let options = lines.filter_map(|line| {
        let from = &line[line.find("--")?..];
        Some(from[..from.find(is_end).unwrap_or(from.len())].to_owned())
    });
    let options: Vec<String> = options.collect();
    // A verb may have none but the help, which its own list leaves out.
    let options = options.into_iter().chain(["--help".to_owned()]);
    options.collect()
}

fn help(words: &[&str]) -> String {
    text(&finish(command().args(words).arg("--help")).stdout)
}

/// A folder with the script of a shell, a file to complete, and the questions.
fn folder(shell: &str, name: &str, questions: &[Question]) -> Scratch {
    let scratch = Scratch::new();
    let script = finish(command().args(["completion", shell])).stdout;
    fs::write(scratch.join(name), script).unwrap();
    fs::write(scratch.join("vmlinuz"), "").unwrap();
    let targets = "[target.smoke]\n[target.smoke-arm]\nextends = 'smoke'\n";
    fs::write(scratch.join("qemu-machine.toml"), targets).unwrap();
    let lines: Vec<&str> = questions.iter().map(|it| it.line.as_str()).collect();
    fs::write(scratch.join("lines"), lines.join("\n") + "\n").unwrap();
    scratch
}

/// Machines that run, as their folders say. They have an owner until the result
/// is dropped.
fn published(scratch: &Scratch) -> Vec<File> {
    let entry = |name: &str| {
        let folder = scratch.join("qemu-machine").join(name);
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700).create(&folder).unwrap();
        let entry = json!({
            "name": name, "owner_pid": 1, "pid": 1, "since": 1.0, "binary": "qemu",
            "command_line": [], "log": "log", "has_monitor": true,
            "has_guest_agent": false, "consoles": [],
        });
        fs::write(folder.join("machine.json"), entry.to_string()).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        lock.try_lock().unwrap();
        lock
    };
    ["web", "db"].map(entry).into()
}

/// A real shell, which finds the command that is tested and no start-up files.
fn shell(words: &[&str], scratch: &Scratch) -> Command {
    let mut shell = bounded(Command::new(words[0]).args(&words[1..]));
    shell
        .current_dir(scratch.path())
        .env("HOME", scratch.path())
        .env("XDG_RUNTIME_DIR", scratch.path());
    // The scripts ask it for names.
    let binary = Path::new(env!("CARGO_BIN_EXE_qemu-machine"));
    let others = env::var_os("PATH").unwrap_or_default();
    let paths = env::split_paths(&others);
    let paths = iter::once(binary.parent().unwrap().to_owned()).chain(paths);
    shell.env("PATH", env::join_paths(paths).unwrap());
    shell.env("TERM", "dumb").env("LC_ALL", "C");
    for name in ["ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        shell.env_remove(name);
    }
    shell
}

/// Compares what a shell offered, a line for each question.
fn compare(shell: &str, questions: &[Question], answers: &str, said: &str) {
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(
        answers.len(),
        questions.len(),
        "{shell}: {answers:?}\n{said}"
    );
    let mut wrong = Vec::new();
    for (question, answer) in questions.iter().zip(answers) {
        // Some shells offer the word with the option before it.
        let words = answer.split_whitespace();
        let words = words.map(|word| word.rsplit_once('=').map_or(word, |(_, it)| it));
        let words: Vec<&str> = words.collect();
        let is_offered = |word: &String| words.contains(&word.as_str());
        let are_all = words.len() == question.expected.len();
        if !question.expected.iter().all(is_offered) || question.is_all && !are_all {
            let Question { line, expected, .. } = question;
            wrong.push(format!("{line}: {expected:?} expected, {words:?} offered"));
        }
    }
    assert!(wrong.is_empty(), "{shell}:\n{}\n{said}", wrong.join("\n"));
}

#[test]
fn a_real_fish_completes_verbs_options_values_and_files() {
    let questions = questions();
    let scratch = folder("fish", "qemu-machine.fish", &questions);
    let _machines = published(&scratch);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/completions.fish");
    let words = ["fish", "--no-config", script, "lines"];
    let output = shell(&words, &scratch).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let said = text(&output.stderr);
    compare("fish", &questions, &text(&output.stdout), &said);
}

#[test]
fn a_real_zsh_completes_verbs_options_values_and_files() {
    let questions = questions();
    let scratch = folder("zsh", "_qemu-machine", &questions);
    let _machines = published(&scratch);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/completions.zsh");
    let (mut person, terminal) = testbed::pseudo_terminal();
    // What zsh shows must be read, or it waits.
    let reader = thread::spawn(move || io::copy(&mut person, &mut io::sink()));
    let mut zsh = shell(&["zsh", "-f", script, ".", "lines"], &scratch);
    let output = zsh.stdin(terminal).output().unwrap();
    drop(zsh);
    let said = text(&output.stderr);
    compare("zsh", &questions, &text(&output.stdout), &said);
    // The end of a terminal is an error.
    let _ = reader.join().unwrap();
}

#[test]
fn a_real_bash_completes_verbs_options_values_and_files() {
    let questions = questions();
    let scratch = folder("bash", "qemu-machine.bash", &questions);
    let _machines = published(&scratch);
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/completions.bash");
    let (mut person, terminal) = testbed::pseudo_terminal();
    let stream = || terminal.try_clone().unwrap();
    let words = ["bash", "--noprofile", "--rcfile", start, "-i"];
    let mut bash = shell(&words, &scratch);
    let bash_at = bash.stdin(stream()).stdout(stream()).stderr(stream());
    let mut child = bash_at.spawn().unwrap();
    drop((bash, terminal));
    let mut said = String::new();
    let answers = questions.iter().enumerate().map(|(before, question)| {
        // All that can be, and this answer.
        write!(person, "{}\x1b*\x14", question.line).unwrap();
        while said.matches("answered").count() <= before {
            let mut bytes = [0; 4096];
            let count = person.read(&mut bytes).unwrap_or(0);
            assert_ne!(count, 0, "bash ended: {said}");
            said += &text(&bytes[..count]);
        }
    });
    answers.for_each(drop);
    write!(person, "exit\r").unwrap();
    // The end of a terminal is an error.
    let _ = io::copy(&mut person, &mut io::sink());
    assert!(child.wait().unwrap().success(), "{said}");
    let answers = fs::read_to_string(scratch.join("answers")).unwrap();
    // What was typed is at the begin, except for the word that was completed.
    let words = questions.iter().zip(answers.lines());
    let words = words.map(|(question, answer)| {
        let (kept, _) = question.line.rsplit_once([' ', '=']).unwrap();
        answer.strip_prefix(kept).unwrap_or(answer).to_owned()
    });
    let words: Vec<String> = words.collect();
    compare("bash", &questions, &words.join("\n"), &said);
}

#[test]
fn every_page_of_the_manual_is_set_without_a_warning() {
    let scratch = Scratch::new();
    let page = scratch.join("page.1");
    for verb in std::iter::once(String::new()).chain(verbs()) {
        let words = ["man", &verb];
        let words = if verb.is_empty() { &words[..1] } else { &words };
        let printed = finish(command().args(words));
        assert_eq!(printed.status.code(), Some(0), "{verb}: {printed:?}");
        fs::write(&page, printed.stdout).unwrap();
        // As man(1) does, with all warnings.
        let mut groff = Command::new("groff");
        groff.args(["-K", "utf8", "-man", "-T", "utf8", "-ww", "-z"]);
        let set = finish(groff.arg(&page));
        let said = text(&set.stderr);
        assert!(set.status.success() && said.is_empty(), "{verb}: {said}");
    }
}
