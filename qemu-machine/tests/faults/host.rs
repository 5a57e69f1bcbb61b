//! Another process, which uses the library, and in which a fault happens: this
//! program, started again with a role.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use qemu_machine::{Console, Machine, MachineBuilder, guests};

use super::Scene;
use super::own_process::ROLES;
use crate::support;

/// The environment variables of a role.
const ROLE: &str = "FAULTS_ROLE";
const BASE: &str = "FAULTS_BASE";
const QEMU: &str = "FAULTS_QEMU";

/// Runs a role, if this process was started for one.
pub fn play() -> Option<ExitCode> {
    let wanted = std::env::var(ROLE).ok()?;
    let (_, role) = ROLES
        .into_iter()
        .find(|&(name, _)| name == wanted)
        .expect("a role of this name");
    role(&Stage {
        base: std::env::var_os(BASE).expect("a directory").into(),
        qemu: std::env::var_os(QEMU).map(PathBuf::from),
    });
    Some(ExitCode::SUCCESS)
}

/// The tools of a role.
pub struct Stage {
    pub base: PathBuf,
    qemu: Option<PathBuf>,
}

impl Stage {
    /// Machines of every kind that can be left behind: a plain one, one under a
    /// wrapper that forks, one in a new session, one with a child.
    pub fn launch_all(&self) -> Vec<Machine> {
        use qemu_machine::Wait;
        let forking = ["sh", "-c", "\"$@\"; :", "sh"];
        let mut builders = vec![
            self.builder("serve"),
            self.builder("serve").wrapper(forking),
            self.builder("serve").wrapper(["setsid", "--wait"]),
        ];
        if self.qemu.is_none() {
            builders.push(self.builder("fork-child\nserve"));
        }
        builders
            .into_iter()
            .map(|builder| builder.launch().wait().unwrap())
            .collect()
    }

    /// A machine of the current QEMU, or of the peer with this script. Its
    /// processes also have our standard output, so that their end is visible
    /// from outside.
    pub fn builder(&self, script: &str) -> MachineBuilder {
        let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        let builder = match &self.qemu {
            Some(binary) => Machine::builder(binary)
                .accel(["tcg"])
                .arg("-nodefaults")
                .firmware(guests::tiny()),
            None => support::fake(&format!("greet\nnegotiate\n{script}")),
        };
        builder
            .base_dir(&self.base)
            .console(Console::serial())
            .add_fd(1, output, None)
    }
}

/// Describes a process for a role.
pub struct Host(Command);

impl Host {
    pub fn new(scene: &Scene, role: &str) -> Self {
        // A script that runs the tests in the background ignores SIGINT for
        // them, and children inherit that. But a role must end on it.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP,INT,QUIT,TERM")
            .arg(std::env::current_exe().unwrap());
        Self::set(&mut command, scene, role);
        Self(command)
    }

    /// Puts the directory of the machines on a new file system, mounted with
    /// these options.
    pub fn on_a_file_system(scene: &Scene, role: &str, options: &str) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh"])
            .args([Path::new(options), scene.base()])
            .arg(std::env::current_exe().unwrap());
        Self::set(&mut command, scene, role);
        Self(command)
    }

    /// Runs as the first process of a namespace, as in a container.
    pub fn as_first_process(scene: &Scene, role: &str) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--pid", "--fork", "--kill-child"])
            .arg("--mount-proc")
            .arg(std::env::current_exe().unwrap());
        Self::set(&mut command, scene, role);
        Self(command)
    }

    /// Runs as root without permission to signal processes of other users.
    pub fn without_the_right_to_kill(scene: &Scene, role: &str) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set=-kill", "--inh-caps=-kill"])
            .arg(std::env::current_exe().unwrap());
        Self::set(&mut command, scene, role);
        Self(command)
    }

    fn set(command: &mut Command, scene: &Scene, role: &str) {
        command.env(ROLE, role).env(BASE, scene.base());
        if scene.is_real() {
            command.env(QEMU, &scene.qemu().binary);
        }
    }

    /// Runs the role to its end, which must be a success.
    pub fn succeeds(mut self) {
        let before = testbed::children();
        let output = self.0.stdin(Stdio::null()).output().unwrap();
        // This process now reaps its guardian, and the shell that started it.
        testbed::wait_for_children(&before, Instant::now() + super::PATIENCE).unwrap();
        assert!(
            output.status.success(),
            "{}: {}{}",
            output.status,
            support::text(&output.stdout),
            support::text(&output.stderr)
        );
    }

    /// Starts the role.
    pub fn start(mut self) -> Running {
        let mut child = self
            .0
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }
}

const MOUNTED: &str = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && shift 2 && exec \"$@\"";

/// A process with a role.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts with this. Returns the rest of the line.
    pub fn says(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("it ended without saying '{words}'");
    }

    /// Waits until every process that could print has ended.
    pub fn falls_silent(&mut self) {
        self.output.read_to_end(&mut Vec::new()).unwrap();
    }

    /// Resumes a role that waits for the end of its input.
    pub fn go_on(&mut self) {
        self.input = None;
    }
}
