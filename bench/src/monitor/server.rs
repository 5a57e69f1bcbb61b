//! The servers: a real QEMU with a monitor for each contender, and the scripted
//! peer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use qemu_machine::{Machine, Wait};

use crate::Failure;

/// A machine with a paused guest and no devices. Its other work is the same for
/// all contenders.
pub(super) struct Qemu {
    pub(super) vm: Machine,
    folder: Folder,
}

impl Qemu {
    pub(super) fn launch(program: &Path) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let monitors = (0..MONITORS).flat_map(|monitor| {
            let path = folder.socket(monitor);
            let path = path.display();
            ["-qmp".to_owned(), format!("unix:{path},server=on,wait=off")]
        });
        let vm = Machine::builder(program)
            .accel(["tcg"])
            .machine("none")
            .args(["-S", "-nodefaults"])
            .args(monitors)
            .launch()
            .wait()?;
        Ok(Self { vm, folder })
    }

    /// The socket of a monitor. A monitor accepts one connection at a time.
    pub(super) fn monitor(&self, index: usize) -> PathBuf {
        self.folder.socket(index)
    }
}

/// The contenders that do not use the machine's own monitor.
const MONITORS: usize = 7;

/// The scripted peer alone.
pub(super) struct Scripted {
    child: Child,
    folder: Folder,
}

impl Scripted {
    pub(super) fn start(program: &Path, script: &str) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let chardev = format!(
            "socket,id=mon,path={},server=on,wait=off",
            folder.socket(0).display()
        );
        let child = Command::new(program)
            .args(["-chardev", &chardev])
            .args(["-mon", "chardev=mon,mode=control"])
            .args(["-fake-script", &format!("stdout listening\\n\n{script}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The peer reports there when a client disconnects.
            .stderr(Stdio::null())
            .spawn()?;
        let mut scripted = Self { child, folder };
        let stdout = scripted.child.stdout.take().ok_or("no output")?;
        BufReader::new(stdout).read_line(&mut String::new())?;
        Ok(scripted)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.socket(0)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of sockets, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-monitor-{}-{next}", std::process::id());
        let mut folder = std::env::temp_dir();
        // The path of a socket has up to 107 bytes.
        if folder.as_os_str().len() > 57 {
            folder = PathBuf::from("/tmp");
        }
        let path = folder.join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn socket(&self, index: usize) -> PathBuf {
        self.0.join(index.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
