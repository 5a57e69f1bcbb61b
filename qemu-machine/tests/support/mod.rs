//! What the suites share: where the programs are, and scenarios that run with
//! both faces of the API.
#![allow(dead_code, unused_imports, unused_macros, unreachable_pub)]

use std::path::{Path, PathBuf};

use qemu_machine::{Console, Machine, MachineBuilder, guests};

/// A real QEMU that the set-up found or unpacked.
#[derive(Debug, Clone)]
pub struct Qemu {
    pub version: String,
    pub binary: PathBuf,
}

impl Qemu {
    /// A machine that runs the tiny guest, with its greeting still to come.
    pub fn tiny(&self) -> MachineBuilder {
        self.bare()
            .firmware(guests::tiny())
            .console(Console::serial())
    }

    /// A machine with nothing in it but what its type brings.
    pub fn bare(&self) -> MachineBuilder {
        Machine::builder(&self.binary)
            .accel(["tcg"])
            .arg("-nodefaults")
    }
}

/// Every real QEMU there is to test with.
///
/// # Panics
/// There is none: a test that needs one must not pass without.
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

/// The scripted peer, played by this script.
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

/// The folder of the Linux guest: `vmlinuz` and `initramfs`.
pub fn linux_guest() -> PathBuf {
    let folder = target().join("guests/linux");
    assert!(
        folder.join("vmlinuz").is_file(),
        "no Linux guest: run `cargo xtask setup`"
    );
    folder
}

/// A folder for one test, removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("scratch-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
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

/// Writes a scenario once and runs it twice: `run!(operation)` in its body is
/// `operation.wait()` in the test `NAME::wait`, and `operation.await` under
/// tokio in `NAME::r#await`. With `(qemu)` it runs on every real QEMU.
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
