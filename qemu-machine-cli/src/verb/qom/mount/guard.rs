//! The end of a mount, if this process is killed.
//!
//! A mount outlives its process, as a directory that nobody can enter. So a shell
//! waits for the end of this process: the end of its standard input, without the
//! word that all is well.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The shell that waits.
pub(super) struct Guard(Child);

impl Guard {
    /// Starts it.
    pub(super) fn start(mount_point: &Path) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(mount_point)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // It must not keep the mount busy, nor die by Ctrl-C.
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Self(shell))
    }

    /// The mount has ended well.
    pub(super) fn dismiss(mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

const SCRIPT: &str = "trap '' HUP INT QUIT TERM; read -r done || umount -l -- \"$1\" || \
                      fusermount3 -u -z -q -- \"$1\" || fusermount -u -z -q -- \"$1\"";
