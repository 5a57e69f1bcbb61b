//! What the suites share: the command, the QEMUs, the guests, and folders.
#![allow(dead_code, unreachable_pub)]

pub mod json_schema;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command, with default actions for the signals that it waits for: who runs
/// the tests may ignore them.
pub fn command() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT,TERM,HUP", BINARY]);
    command.env("LC_ALL", "C").env_remove("NO_COLOR");
    command.env("XDG_RUNTIME_DIR", runtime_directory());
    command
}

/// Where the tests publish machines: not among those of the user.
pub fn runtime_directory() -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::DirBuilderExt;
    // Another checkout's tests use the same names.
    let mut checkout = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut checkout);
    let name = format!("qmr-{:x}", checkout.finish());
    let folder = testbed::folder_for_sockets().join(name);
    let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
    folder
}

pub const BINARY: &str = env!("CARGO_BIN_EXE_qemu-machine");

/// A real QEMU that the set-up found or unpacked.
#[derive(Debug, Clone)]
pub struct Qemu {
    pub version: String,
    pub binary: PathBuf,
}

impl Qemu {
    /// `run` on this QEMU, emulated.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = command();
        command.arg("run").arg("--qemu").arg(&self.binary);
        command.args(["--accel", "tcg"]).args(words);
        command
    }

    /// `run` of the tiny guest in the background, with QMP at `qmp` in a folder,
    /// which also has all that it leaves.
    pub fn detached(&self, folder: &Scratch, words: &[&str]) -> Command {
        let mut run = self.run(["--detach", "--json", "--expect", "> ", "--qmp"]);
        run.arg(folder.join("qmp")).args(words);
        run.env("TMPDIR", folder.path());
        run
    }

    /// `run` of a Linux that has a shell on its console, or an agent.
    pub fn linux<S: AsRef<OsStr>>(
        &self,
        initramfs: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let guest = linux_guest();
        let mut command = self.run(["--memory", "256M", "--timeout", "100"]);
        command.arg("--kernel").arg(guest.join("vmlinux"));
        command.arg("--initrd").arg(guest.join(initramfs));
        command.args([
            "--append",
            "console=ttyS0 quiet no_timer_check cryptomgr.notests",
        ]);
        command.args(words);
        command
    }
}

/// Every real QEMU there is to test with.
///
/// # Panics
/// There is none: a test that needs one must not pass without.
pub fn qemus() -> Vec<Qemu> {
    let folder = target().join("qemu");
    let versions = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut qemus: Vec<Qemu> = versions
        .map(|version| Qemu {
            version: version.file_name().into_string().unwrap(),
            binary: version.path().join("qemu-system-x86_64"),
        })
        .filter(|qemu| qemu.binary.is_file())
        .collect();
    qemus.sort_by(|a, b| a.version.cmp(&b.version));
    assert!(!qemus.is_empty(), "no QEMU: run `cargo xtask setup`");
    qemus
}

/// The scripted peer's program, which cargo builds beside the command.
pub fn fake_qemu() -> PathBuf {
    let program = Path::new(BINARY).with_file_name("fake-qemu");
    assert!(
        program.is_file(),
        "no {}: run `cargo build -p fake-qemu`",
        program.display()
    );
    program
}

/// `run` of the scripted peer with this script.
pub fn run_fake(script: &str, words: &[&str]) -> Command {
    let mut command = command();
    command
        .arg("run")
        .arg("--qemu")
        .arg(fake_qemu())
        .args(words);
    command.args(["--", "-fake-script", script]);
    command
}

/// The folder of the Linux guest.
pub fn linux_guest() -> PathBuf {
    target().join("guests/linux")
}

fn target() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    target.canonicalize().unwrap()
}

/// A folder for one test, short enough for sockets, and removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("qmc-{}-{number}", std::process::id());
        let path = testbed::folder_for_sockets().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A pipe of this name.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        path
    }

    /// The names of all that is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    /// A file of this name that can be executed.
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.join(name);
        // Another test forks while this one writes: by another name, no child
        // has the program open for writing.
        let draft = self.join("draft");
        fs::write(&draft, script).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        let copied = Command::new("cp").arg("-p").args([&draft, &path]).status();
        assert!(copied.unwrap().success());
        fs::remove_file(draft).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until a process has a pipe open for reading, and closes it.
pub fn release(fifo: &Path) {
    drop(fs::File::options().write(true).open(fifo).unwrap());
}

/// Runs a command to its end, and no longer than a minute and a half.
pub fn finish(command: &Command) -> Output {
    bounded(command).stdin(Stdio::null()).output().unwrap()
}

/// The same command, which is killed after a minute and a half.
pub fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.args(["--foreground", "-s", "KILL", "90"]);
    bounded.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(key, value),
            None => bounded.env_remove(key),
        };
    }
    bounded
}

/// A command that runs, with what it printed until now.
pub struct Running {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
}

// A test that fails leaves no machine. QEMU ends with its owner.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it; its standard error is the test's.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Waits for a line that has this text.
    pub fn until(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let count = self.stdout.read_line(&mut line).unwrap();
            assert_ne!(count, 0, "it ended before it said '{text}'");
        }
        line
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The QEMU that it runs.
    pub fn qemu(&self) -> u32 {
        let parent = self.child.id();
        let own = processes().into_iter().find(|(pid, its_parent)| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            *its_parent == parent && name.starts_with("qemu-system")
        });
        own.expect("a QEMU").0
    }

    /// Its status, within this time.
    pub fn status(mut self, limit: Duration) -> Option<i32> {
        let in_time = testbed::wait_for_end(self.child.id(), Instant::now() + limit);
        if !in_time {
            let _ = self.child.kill();
        }
        let status = self.child.wait().unwrap();
        assert!(in_time, "it had not ended within {limit:?}");
        status.code()
    }
}

/// The only child of a process.
pub fn child(parent: u32) -> u32 {
    let mut children = processes().into_iter().filter(|(_, it)| *it == parent);
    children.next().expect("a child").0
}

/// Whether a process runs.
pub fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// All processes, with their parents.
fn processes() -> Vec<(u32, u32)> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|it| it.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        Some((pid, rest.split_ascii_whitespace().nth(1)?.parse().ok()?))
    })
    .collect()
}

/// Sends a signal, by kill(1).
pub fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", text(bytes)))
}

/// As [`conforms`], but against one definition of the schema, where the whole
/// permits anything.
pub fn conforms_to_part(verb: &str, part: &str, stdout: &[u8]) -> Vec<Value> {
    let mut schema = json_schema::kept(verb);
    schema.as_object_mut().unwrap().remove("anyOf");
    schema["$ref"] = format!("#/$defs/{part}").into();
    conforming(verb, &schema, stdout)
}

/// Reads the JSON values that a verb printed, and holds each against the verb's
/// kept schema.
///
/// # Panics
/// The schema does not describe the output.
pub fn conforms(verb: &str, stdout: &[u8]) -> Vec<Value> {
    conforming(verb, &json_schema::kept(verb), stdout)
}

fn conforming(verb: &str, schema: &Value, stdout: &[u8]) -> Vec<Value> {
    let values = serde_json::Deserializer::from_slice(stdout).into_iter();
    let values: Result<Vec<Value>, _> = values.collect();
    let values = values.unwrap_or_else(|error| panic!("{verb}: {error}: {}", text(stdout)));
    assert!(!values.is_empty(), "{verb} printed nothing");
    for value in &values {
        if let Err(fault) = json_schema::check(schema, value) {
            panic!("{verb}: {fault}: {value}");
        }
    }
    values
}
