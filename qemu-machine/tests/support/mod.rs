//! Shared by the suites: the paths of programs, and scenarios that run with both
//! `.wait()` and `.await`.
#![allow(dead_code, unused_imports, unused_macros, unreachable_pub)]

pub mod boot_sector;
pub mod fast_guest;
pub mod fleet;
pub mod played_qemu;
pub mod raw_client;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use qemu_machine::{Console, Machine, MachineBuilder, guests};

/// A real QEMU of the set-up.
#[derive(Debug, Clone)]
pub struct Qemu {
    pub version: String,
    pub binary: PathBuf,
}

impl Qemu {
    /// A machine with the tiny guest, before its greeting.
    pub fn tiny(&self) -> MachineBuilder {
        self.bare()
            .firmware(guests::tiny())
            .console(Console::serial())
    }

    /// A machine with only the devices of its type.
    pub fn bare(&self) -> MachineBuilder {
        Machine::builder(&self.binary)
            .accel(["tcg"])
            .arg("-nodefaults")
    }
}

/// Every real QEMU of the set-up.
///
/// # Panics
/// There is none. A test that needs one must not pass without it.
pub fn qemus() -> Vec<Qemu> {
    let folder = target().join("qemu");
    let versions = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut qemus: Vec<Qemu> = versions
        .map(|version| Qemu {
            version: version.file_name().into_string().unwrap(),
            binary: version.path().join("qemu-system-x86_64"),
        })
        .filter(|qemu| qemu.binary.is_file())
        .collect();
    qemus.sort_by(|a, b| a.version.cmp(&b.version));
    assert!(
        !qemus.is_empty(),
        "no QEMU in {}: run `cargo xtask setup`",
        folder.display()
    );
    qemus
}

/// The scripted peer with this script.
pub fn fake(script: &str) -> MachineBuilder {
    Machine::builder(fake_qemu()).args(["-fake-script", script])
}

/// The scripted peer's program, which cargo builds beside the tests.
pub fn fake_qemu() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("fake-qemu");
    assert!(
        program.is_file(),
        "no {}: run `cargo build -p fake-qemu`",
        program.display()
    );
    program
}

/// The folder of the Linux guest: `vmlinux`, `vmlinuz` and `initramfs`.
pub fn linux_guest() -> PathBuf {
    let folder = target().join("guests/linux");
    assert!(
        folder.join("vmlinux").is_file(),
        "no Linux guest: run `cargo xtask setup`"
    );
    folder
}

/// A folder for one test. A drop removes it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Self {
        Self::within(&std::env::temp_dir(), test)
    }

    /// A folder for sockets, whose paths must be short.
    pub fn for_sockets(test: &str) -> Self {
        Self::within(&testbed::folder_for_sockets(), test)
    }

    fn within(folder: &Path, test: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("scratch-{}-{number}-{test}", std::process::id());
        let path = folder.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file with this name, which need not exist.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of all of its files.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// A new FIFO, for `wait-file` of the scripted peer.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }
}

/// Makes the scripted peer continue after `wait-file`. Waits until it is there.
pub fn release(fifo: &Path) {
    drop(std::fs::File::options().write(true).open(fifo).unwrap());
}

/// Whether a process has ended and was reaped.
pub fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// Sends a signal from outside, by kill(1).
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Bytes as text; invalid UTF-8 is replaced.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A line of a log without the time before it, which must be there.
pub fn untimed(line: &str) -> &str {
    let (time, line) = line.split_once("] ").unwrap();
    let (seconds, micros) = time
        .strip_prefix('[')
        .unwrap()
        .trim_start()
        .split_once('.')
        .unwrap();
    assert!(seconds.parse::<u64>().is_ok() && micros.len() == 6 && micros.parse::<u32>().is_ok());
    line
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

macro_rules! by_wait {
    ($operation:expr) => {
        ::qemu_machine::Wait::wait($operation)
    };
}
pub(crate) use by_wait;

macro_rules! by_await {
    ($operation:expr) => {
        ::std::future::IntoFuture::into_future($operation).await
    };
}
pub(crate) use by_await;

/// Makes two tests of one scenario. `run!(operation)` in its body is
/// `operation.wait()` in the test `NAME::wait`, and `operation.await` under tokio
/// in `NAME::r#await`. With `(qemu)` it runs on every real QEMU.
macro_rules! scenario {
    ($(#[$doc:meta])* fn $name:ident($qemu:ident) $body:block) => {
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn wait() {
                use crate::support::by_wait as run;
                for $qemu in crate::support::qemus() {
                    eprintln!("QEMU {}", $qemu.version);
                    $body
                }
            }

            #[test]
            fn r#await() {
                use crate::support::by_await as run;
                let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
                for $qemu in crate::support::qemus() {
                    eprintln!("QEMU {}", $qemu.version);
                    runtime.block_on(async { $body });
                }
            }
        }
    };
    ($(#[$doc:meta])* fn $name:ident() $body:block) => {
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn wait() {
                use crate::support::by_wait as run;
                $body
            }

            #[test]
            fn r#await() {
                use crate::support::by_await as run;
                let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async { $body });
            }
        }
    };
}
pub(crate) use scenario;
