//! Plays a script: one step after the other, in one thread. Each step blocks
//! until it is done.

use crate::channel::Channel;
use crate::command_line::CommandLine;
use crate::facts;
use crate::script::{Line, Port, Step};
use crate::sys::{self, Signal};
use crate::text::{CommandRef, Piece};
use crate::transcript::{self, Entry};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The state of a script: its open channels, and the commands so far.
pub(crate) struct Player {
    channels: BTreeMap<String, Channel>,
    monitor: Option<String>,
    /// Whether a launch makes the guest run.
    is_let_run: bool,
    /// The chardevs of the serial ports, until the peer has queried them.
    serials: Vec<String>,
    /// A command that was read ahead.
    next: Option<(String, Vec<u8>)>,
    /// The ids as they were received; `None` for a command without one.
    ids: Vec<Option<String>>,
    /// The line of the last command.
    last_line: Vec<u8>,
}

/// Why the script ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The script says so.
    Exit(u8),
    Failed {
        code: u8,
        message: String,
    },
}

impl Ending {
    /// The script or the command line is wrong.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Failed {
            code: USAGE,
            message: message.to_string(),
        }
    }

    /// The peer did not do what the script expects.
    fn unexpected(message: impl Display) -> Self {
        Self::Failed {
            code: UNEXPECTED,
            message: message.to_string(),
        }
    }

    fn at(self, line: usize) -> Self {
        match self {
            Self::Failed { code, message } => Self::Failed {
                code,
                message: format!("line {line}: {message}"),
            },
            Self::Exit(code) => Self::Exit(code),
        }
    }
}

/// A channel or a standard stream failed.
impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        Self::Failed {
            code: BROKEN,
            message: error.to_string(),
        }
    }
}

impl Player {
    /// Opens the chardevs in order. As in QEMU, a failure ends the program with a
    /// message and code 1.
    pub(crate) fn new(command_line: &CommandLine) -> Result<Self, Ending> {
        let mut channels = BTreeMap::new();
        for chardev in &command_line.chardevs {
            let channel = Channel::open(chardev).map_err(|error| {
                let message = format!("chardev {}: {:?}: {error}", chardev.id, chardev.address);
                Ending::Failed {
                    code: CANNOT_OPEN,
                    message,
                }
            })?;
            channels.insert(chardev.id.clone(), channel);
        }
        Ok(Self {
            // With a qtest channel, the script makes the guest run.
            is_let_run: command_line.is_held && !channels.contains_key("qtest"),
            channels,
            monitor: command_line.monitor.clone(),
            serials: command_line.serials.clone(),
            next: None,
            ids: Vec::new(),
            last_line: Vec::new(),
        })
    }

    /// Plays to the end of the script, or until something ends it.
    pub(crate) fn play(&mut self, script: &[Line]) -> Result<(), Ending> {
        script
            .iter()
            .try_for_each(|line| self.step(&line.step).map_err(|e| e.at(line.number)))
    }

    fn step(&mut self, step: &Step) -> Result<(), Ending> {
        match step {
            Step::Greet { oob } => self.greet(*oob)?,
            Step::Negotiate => self.negotiate()?,
            Step::Expect { command } => self.expect(command.as_deref())?,
            Step::Reply { to, value } => self.reply(*to, value)?,
            Step::Error {
                class,
                desc,
                with_id,
            } => self.error(class, desc, *with_id)?,
            Step::Event { name, data, timed } => {
                self.channel(Port::Monitor)?
                    .write_all(&event(name, data.as_deref(), *timed))?;
            }
            Step::EventFill { times, name, data } => {
                let event = event(name, data.as_deref(), true);
                self.flood(Port::Monitor, *times, &event)?;
            }
            Step::Serve => self.serve()?,
            Step::Send { port, text } => self.send(*port, text)?,
            Step::Fill { port, times, byte } => self.flood(*port, *times, &[*byte])?,
            Step::ReadUntil { port, text } => self.read_until(*port, text)?,
            Step::Close(port) => self.channel(*port)?.close(),
            Step::MonitorShutdownWrite => self.channel(Port::Monitor)?.shutdown_write()?,
            Step::WaitEof => self.channel(Port::Monitor)?.read_to_end()?,
            Step::Silent => be_silent(),
            // A FIFO opens when a writer opens it, and ends when all writers are gone.
            Step::WaitFile(path) => drop(io::copy(&mut File::open(path)?, &mut io::sink())?),
            Step::Transcript(path) => self.play_again(path)?,
            Step::Repeat { times, body } => (0..*times).try_for_each(|_| self.play(body))?,
            Step::Stdout(text) => tell(text)?,
            Step::Stderr(text) => io::stderr().write_all(text)?,
            Step::Ignore(signal) => sys::ignore(*signal)?,
            Step::OnTerm { code } => self.on_term(*code)?,
            Step::Die(signal) => {
                sys::die(*signal);
                return Err(Ending::usage(format!("{signal:?} does not kill a process")));
            }
            Step::Stop => sys::raise(Signal::STOP),
            Step::Exit { code } => return Err(Ending::Exit(*code)),
            Step::ForkChild => self.fork_child()?,
            Step::PrintFds => tell(facts::descriptors()?)?,
            Step::PrintArgs => tell(facts::arguments())?,
            Step::PrintEnv { name } => tell(facts::environment(name))?,
            Step::PrintCwd => tell(facts::directory()?)?,
        }
        Ok(())
    }

    fn channel(&mut self, port: Port) -> Result<&mut Channel, Ending> {
        let id = match port {
            Port::Monitor => self
                .monitor
                .clone()
                .ok_or_else(|| Ending::usage("the command line has no -mon with mode=control"))?,
            Port::Console(_) | Port::Qtest => port.name(),
        };
        self.channels
            .get_mut(&id)
            .ok_or_else(|| Ending::usage(format!("the command line has no socket chardev `{id}`")))
    }

    fn greet(&mut self, oob: bool) -> Result<(), Ending> {
        let capabilities = if oob { r#""oob""# } else { "" };
        self.write_line(&format!(
            r#"{{"QMP": {{"version": {{"qemu": {{"micro": 2, "minor": 0, "major": 10}}, "package": "Debian 1:10.0.2+ds-2+deb13u1~bpo12+1"}}, "capabilities": [{capabilities}]}}}}"#
        ))
    }

    /// Negotiates, then answers the commands of a launch, which a script does not
    /// count. The last one is the command that makes the guest run, or queries
    /// whether it runs.
    fn negotiate(&mut self) -> Result<(), Ending> {
        self.expect(Some("qmp_capabilities"))?;
        self.reply(CommandRef::Last, "{}")?;
        if !self.is_let_run {
            return self.answer_for_serials();
        }
        let counted = self.ids.len();
        while self.is_let_run {
            self.expect(None)?;
            let command = command(&self.last_line).map(|(name, _)| name);
            self.is_let_run = !matches!(command.as_deref(), Some("cont" | "query-status"));
            let value = match command.as_deref() {
                Some("query-status") => r#"{"running": false, "status": "prelaunch"}"#.to_owned(),
                Some("query-chardev") => self.serial_devices(),
                _ => "{}".to_owned(),
            };
            self.reply(CommandRef::Last, &value)?;
        }
        self.ids.truncate(counted);
        Ok(())
    }

    /// If the guest is not paused, the next command may query the devices of the
    /// serial consoles.
    fn answer_for_serials(&mut self) -> Result<(), Ending> {
        if self.serials.is_empty() {
            return Ok(());
        }
        match self.read_command()? {
            Some((name, _)) if name == "query-chardev" => {
                let devices = self.serial_devices();
                self.reply(CommandRef::Last, &devices)?;
                self.ids.pop();
                Ok(())
            }
            // There is no launch, or it was dropped: the script continues.
            other => {
                self.next = other;
                Ok(())
            }
        }
    }

    /// The reply to `query-chardev`: each serial port has a device.
    fn serial_devices(&mut self) -> String {
        let open = |label: String| {
            let label = quoted(&label);
            format!(r#"{{"frontend-open": true, "filename": "unix", "label": {label}}}"#)
        };
        let serials = std::mem::take(&mut self.serials);
        let open: Vec<String> = serials.into_iter().map(open).collect();
        format!("[{}]", open.join(", "))
    }

    fn expect(&mut self, command: Option<&str>) -> Result<(), Ending> {
        let wanted = command.unwrap_or("a command");
        match self.read_command()? {
            None => {
                let rest = self.channel(Port::Monitor)?.unread().escape_ascii();
                let message =
                    format!("expected {wanted}, got the end of the stream after `{rest}`");
                Err(Ending::unexpected(message))
            }
            Some((name, _)) if command.is_none_or(|command| command == name) => Ok(()),
            Some((_, line)) => Err(Ending::unexpected(format!(
                "expected {wanted}, got `{}`",
                line.escape_ascii()
            ))),
        }
    }

    /// The next command's name and its line, or `None` at the end of the stream.
    /// Stores the command's id.
    fn read_command(&mut self) -> Result<Option<(String, Vec<u8>)>, Ending> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let Some(line) = self.channel(Port::Monitor)?.read_line()? else {
            return Ok(None);
        };
        let (name, id) = command(&line).ok_or_else(|| {
            Ending::unexpected(format!("expected a command, got `{}`", line.escape_ascii()))
        })?;
        self.ids.push(id);
        self.last_line.clone_from(&line);
        Ok(Some((name, line)))
    }

    /// The id of an earlier command; `None` if it had none.
    fn id(&self, of: CommandRef) -> Result<Option<&str>, Ending> {
        let id = match of {
            CommandRef::Last => self.ids.last(),
            CommandRef::Nth(n) => self.ids.get(n - 1),
        };
        id.map(Option::as_deref)
            .ok_or_else(|| Ending::usage("no such command has come yet"))
    }

    fn reply(&mut self, to: CommandRef, value: &str) -> Result<(), Ending> {
        let id = self
            .id(to)?
            .map(|id| format!(r#", "id": {id}"#))
            .unwrap_or_default();
        self.write_line(&format!(r#"{{"return": {value}{id}}}"#))
    }

    fn error(&mut self, class: &str, desc: &str, with_id: bool) -> Result<(), Ending> {
        let id = if with_id {
            self.id(CommandRef::Last)?
        } else {
            None
        };
        // QEMU writes the id first in an error, and last in a return.
        let id = id.map(|id| format!(r#""id": {id}, "#)).unwrap_or_default();
        let (class, desc) = (quoted(class), quoted(desc));
        self.write_line(&format!(
            r#"{{{id}"error": {{"class": {class}, "desc": {desc}}}}}"#
        ))
    }

    /// Plays the server's part of a recorded session. The client repeats its own
    /// part, with any ids.
    fn play_again(&mut self, path: &Path) -> Result<(), Ending> {
        let text = fs::read_to_string(path)?;
        let entries = transcript::parse(&text).map_err(Ending::usage)?;
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries {
            match entry {
                Entry::Said { line, id } => {
                    let now = id.and_then(|id| Some((ids.get(&id)?, id)));
                    let line = match now {
                        Some((now, recorded)) => transcript::with_id(&line, &recorded, now),
                        None => line,
                    };
                    self.channel(Port::Monitor)?.write_all(&line)?;
                }
                Entry::Heard { command, id } => {
                    self.expect(None)?;
                    let line = self.last_line.clone();
                    if transcript::command(&line).ok().as_ref() != Some(&command) {
                        let got = line.escape_ascii();
                        let message = format!("the record has {command}, got `{got}`");
                        return Err(Ending::unexpected(message));
                    }
                    if let (Some(recorded), Some(now)) = (id, self.id(CommandRef::Last)?) {
                        ids.insert(recorded, now.to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    fn serve(&mut self) -> Result<(), Ending> {
        while let Some((name, _)) = self.read_command()? {
            if name == "quit" {
                let data = r#"{"guest": false, "reason": "host-qmp-quit"}"#;
                let shutdown = event("SHUTDOWN", Some(data), true);
                self.channel(Port::Monitor)?.write_all(&shutdown)?;
                self.reply(CommandRef::Last, "{}")?;
                return Err(Ending::Exit(0));
            }
            self.reply(CommandRef::Last, "{}")?;
        }
        // QEMU continues when the client of its monitor is gone.
        be_silent()
    }

    fn send(&mut self, port: Port, text: &[Piece]) -> Result<(), Ending> {
        let mut bytes = Vec::new();
        for piece in text {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::Id(of) => {
                    let id = self.id(*of)?;
                    let id = id.ok_or_else(|| Ending::unexpected("the command has no id"))?;
                    bytes.extend_from_slice(id.as_bytes());
                }
            }
        }
        Ok(self.channel(port)?.write_all(&bytes)?)
    }

    /// Sends a piece this number of times, about 64 KiB at once.
    fn flood(&mut self, port: Port, times: u64, piece: &[u8]) -> Result<(), Ending> {
        let at_once = (64 * 1024 / piece.len()).max(1);
        let block = piece.repeat(at_once);
        let channel = self.channel(port)?;
        let mut left = times;
        while left > 0 {
            let count = usize::try_from(left).map_or(at_once, |left| left.min(at_once));
            channel.write_all(&block[..count * piece.len()])?;
            left -= count as u64;
        }
        Ok(())
    }

    fn read_until(&mut self, port: Port, text: &[u8]) -> Result<(), Ending> {
        let channel = self.channel(port)?;
        if channel.read_until(text)? {
            return Ok(());
        }
        let (text, rest) = (text.escape_ascii(), channel.unread().escape_ascii());
        let name = port.name();
        Err(Ending::unexpected(format!(
            "{name} ended without `{text}`, after `{rest}`"
        )))
    }

    /// Makes the signals that end QEMU in an orderly way end this program too.
    fn on_term(&mut self, code: u8) -> Result<(), Ending> {
        const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];
        // The thread must not keep the monitor open when the script closes it.
        let monitor = self
            .channel(Port::Monitor)
            .map(|c| c.observer())
            .unwrap_or_default();
        sys::block(&SIGNALS);
        std::thread::Builder::new().spawn(move || {
            sys::wait_for(&SIGNALS);
            if let Some(monitor) = monitor.upgrade() {
                let data = r#"{"guest": false, "reason": "host-signal"}"#;
                sys::send_at_once(&monitor, &event("SHUTDOWN", Some(data), true));
            }
            std::process::exit(code.into());
        })?;
        Ok(())
    }

    /// Starts a process that stays: it has all descriptors of this one, and only
    /// SIGKILL ends it.
    fn fork_child(&mut self) -> Result<(), Ending> {
        self.channels
            .values()
            .try_for_each(Channel::make_inheritable)?;
        let child = sys::while_ignoring(&[Signal::TERM, Signal::HUP], || {
            Command::new(std::env::current_exe()?)
                .args(["-fake-script", "silent"])
                .spawn()
        })?;
        Ok(tell(format!("child {}\n", child.id()))?)
    }

    fn write_line(&mut self, line: &str) -> Result<(), Ending> {
        Ok(self
            .channel(Port::Monitor)?
            .write_all(format!("{line}\r\n").as_bytes())?)
    }
}

/// A command's name, and its id as it was received, if the line is a command.
fn command(line: &[u8]) -> Option<(String, Option<String>)> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(line).ok()?;
    let name = members.get("execute").or_else(|| members.get("exec-oob"))?;
    let name = serde_json::from_str(name.get()).ok()?;
    Some((name, members.get("id").map(|id| id.get().to_owned())))
}

fn event(name: &str, data: Option<&str>, timed: bool) -> Vec<u8> {
    let (seconds, microseconds) = if timed {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (now.as_secs().to_string(), now.subsec_micros().to_string())
    } else {
        // QEMU sends this if it cannot read its clock.
        ("-1".to_owned(), "-1".to_owned())
    };
    let name = quoted(name);
    let data = data
        .map(|data| format!(r#", "data": {data}"#))
        .unwrap_or_default();
    format!(
        r#"{{"timestamp": {{"seconds": {seconds}, "microseconds": {microseconds}}}, "event": {name}{data}}}"#
    )
    .into_bytes()
    .into_iter()
    .chain(*b"\r\n")
    .collect()
}

fn quoted(text: &str) -> serde_json::Value {
    text.into()
}

fn tell(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    stdout.flush()
}

fn be_silent() -> ! {
    loop {
        std::thread::park();
    }
}

const CANNOT_OPEN: u8 = 1;
const USAGE: u8 = 64;
const UNEXPECTED: u8 = 65;
const BROKEN: u8 = 66;
