//! `copy`: a file into a guest that runs, or out of it.

mod file;
mod place;

use std::path::{Path, PathBuf};

use clap::Args;
use qemu_machine::Shell;
use qemu_machine::console::OutputPiece;
use qemu_machine::qmp::agent::GuestAgent;

use place::Place;

use super::published::find;
use super::qmp::failed;
use super::quote;
use super::way::{Way, WayOptions, wait};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{base64, output};

/// Copies a file into the guest of a machine, or out of it, with its mode.
///
/// By the guest agent if it answers, and otherwise by the shell on the console,
/// which is slow and needs base64 in the guest. `-` is
/// standard input or output. A directory gets a file of the same name.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Copy {
    #[command(flatten)]
    way: WayOptions,

    /// The file: a path here, or NAME:PATH in the guest of a machine
    #[arg(value_name = "FROM")]
    source: Place,

    /// Where it goes: the same, and one of both is in a guest
    #[arg(value_name = "TO")]
    target: Place,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine copy web:/var/log/messages messages
  qemu-machine copy tool web:/usr/bin/
  tar c . | qemu-machine copy - web:/root/source.tar";

impl Copy {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let (name, is_into) = match (&self.source, &self.target) {
            (Place::Here(_), Place::Guest { name, .. }) => (name, true),
            (Place::Guest { name, .. }, Place::Here(_)) => (name, false),
            _ => {
                return Err(Failure::usage(
                    "one of FROM and TO must be NAME:PATH, and the other one a path here",
                ));
            }
        };
        let machine = find(name)?;
        let attention = Attention::of_verb()?;
        let mut guest = Guest {
            attention: &attention,
            way: self.way.find(&machine, &attention)?,
        };
        let (from, to) = (self.source.path(), self.target.path());
        if is_into {
            let file = file::read(&from)?;
            let path = guest.target(&to, &from)?;
            guest.write(&path, file.bytes)?;
            if let Some(mode) = file.mode {
                guest.set_mode(&path, mode)?;
            }
        } else {
            let from = text(&from)?;
            let bytes = guest.read(from)?;
            if to.as_os_str() == "-" {
                output::write(&bytes)?;
            } else {
                file::write(&to, Path::new(from), &bytes, guest.mode(from)?)?;
            }
        }
        Ok(Outcome::Succeeded)
    }
}

/// The guest's side of a copy.
struct Guest<'a> {
    attention: &'a Attention,
    way: Way,
}

impl Guest<'_> {
    /// The path of the file in the guest: in a directory, with the name of the
    /// source.
    fn target(&mut self, to: &Path, from: &Path) -> Result<String, Failure> {
        let path = text(to)?;
        let test = format!("test -d {}", quote::word(path));
        if !path.ends_with('/') && !self.run(&test)?.is_success {
            return Ok(path.to_owned());
        }
        let name = from.file_name().filter(|_| from.as_os_str() != "-");
        let name = name.ok_or_else(|| Failure::usage(format!("{path} is a directory")))?;
        Ok(format!(
            "{}/{}",
            path.trim_end_matches('/'),
            text(Path::new(name))?
        ))
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        match &mut self.way {
            Way::Agent(agent) => {
                let read = agent.read_file(path).limit_bytes(usize::MAX).timeout(None);
                wait(self.attention, read)?.map_err(failed)
            }
            Way::Shell(_) => {
                let ran = self.run(&format!("base64 < {}", quote::word(path)))?;
                let bytes = base64::read(&ran.output).filter(|_| ran.is_success);
                bytes.ok_or_else(|| ran.refused("read", path))
            }
        }
    }

    fn write(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        if let Way::Agent(agent) = &self.way {
            let write = agent.write_file(path, bytes).timeout(None);
            return wait(self.attention, write)?.map_err(failed);
        }
        let target = quote::word(path);
        let begin = format!(": > {target}");
        let append = |piece| format!("base64 -d >> {target} <<'END'\n{}END", base64::write(piece));
        let scripts = bytes.chunks(PIECE_BYTES).map(append);
        for script in std::iter::once(begin).chain(scripts) {
            let ran = self.run(&script)?;
            if !ran.is_success {
                return Err(ran.refused("write", path));
            }
        }
        Ok(())
    }

    /// The mode of a file; `None` if the guest cannot say.
    fn mode(&mut self, path: &str) -> Result<Option<u32>, Failure> {
        let ran = self.run(&format!("stat -L -c %a {}", quote::word(path)))?;
        let text = String::from_utf8_lossy(&ran.output);
        let mode = u32::from_str_radix(text.trim(), 8).ok();
        Ok(mode.filter(|_| ran.is_success))
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<(), Failure> {
        let ran = self.run(&format!("chmod {mode:o} {}", quote::word(path)))?;
        if !ran.is_success {
            output::note(format_args!(
                "the mode of {path} stays as it is: {}",
                ran.said()
            ));
        }
        Ok(())
    }

    /// Runs a script in the guest.
    fn run(&mut self, script: &str) -> Result<Ran, Failure> {
        match &mut self.way {
            Way::Agent(agent) => by_agent(agent, script, self.attention),
            Way::Shell(locked) => by_shell(&mut locked.shell, script, self.attention),
        }
    }
}

/// A script that ended.
struct Ran {
    is_success: bool,
    output: Vec<u8>,
}

impl Ran {
    fn said(&self) -> String {
        let said = String::from_utf8_lossy(&self.output);
        said.trim().chars().take(500).collect()
    }

    fn refused(&self, action: &str, path: &str) -> Failure {
        Failure::failed(format!(
            "cannot {action} {path} in the guest: {}",
            self.said()
        ))
    }
}

fn by_agent(agent: &GuestAgent, script: &str, attention: &Attention) -> Result<Ran, Failure> {
    let exec = agent.exec("/bin/sh").args(["-c", script]).timeout(None);
    let ran = wait(attention, exec)?.map_err(failed)?;
    Ok(Ran {
        is_success: ran.success(),
        output: if ran.success() {
            ran.stdout
        } else {
            ran.stderr
        },
    })
}

fn by_shell(shell: &mut Shell, script: &str, attention: &Attention) -> Result<Ran, Failure> {
    let run = shell.run(format!("(\n{script}\n)")).stream();
    let mut run = wait(attention, run.timeout(None))?.map_err(failed)?;
    let mut output = Vec::new();
    while let Some(piece) = wait(attention, run.next_piece().timeout(None))?.map_err(failed)? {
        match piece {
            OutputPiece::Stdout(bytes) | OutputPiece::Stderr(bytes) => output.extend(bytes),
        }
    }
    let is_success = run.status() == Some(0);
    Ok(Ran { is_success, output })
}

fn text(path: &Path) -> Result<&str, Failure> {
    let text = path.to_str();
    text.ok_or_else(|| Failure::usage(format!("{} is not UTF-8", PathBuf::from(path).display())))
}

/// How much is typed at once on a console.
const PIECE_BYTES: usize = 4 << 10;
