//! A server in a thread of this process. It only sends prepared answers, so its
//! work is small beside the library's.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use qemu_machine::Wait;
use qemu_machine::qmp::Client;

use crate::Failure;

/// The server's answers after the greeting.
pub(super) struct Answers {
    /// The number of commands that it reads before it answers them, the last first.
    pub(super) at_once: usize,
    /// The answer to each command, as JSON.
    pub(super) return_value: Vec<u8>,
    /// Bytes that are sent before the answers.
    pub(super) before: Vec<u8>,
}

/// A client and its server. The server ends when the client has closed.
pub(super) struct Session {
    pub(super) client: Client,
    server: JoinHandle<std::io::Result<()>>,
}

impl Session {
    pub(super) fn open(answers: Answers) -> Result<Self, Failure> {
        let (ours, theirs) = UnixStream::pair()?;
        let server = thread::spawn(move || serve(theirs, &answers));
        Ok(Self {
            client: Client::over(ours).line_limit_bytes(1 << 30).wait()?,
            server,
        })
    }

    pub(super) fn close(self) -> Result<(), Failure> {
        self.client.close();
        match self.server.join() {
            Ok(done) => Ok(done?),
            Err(_) => Err("the server panicked".into()),
        }
    }
}

/// The server alone, after the negotiation, for a client of bare system calls
/// with a buffer of this size. The server ends with the client.
pub(super) fn meet(answers: Answers, bytes: usize) -> Result<BufReader<UnixStream>, Failure> {
    let (ours, theirs) = UnixStream::pair()?;
    thread::spawn(move || serve(theirs, &answers));
    let mut replies = BufReader::with_capacity(bytes, ours);
    let mut line = Vec::new();
    replies.read_until(b'\n', &mut line)?;
    replies
        .get_mut()
        .write_all(b"{\"execute\": \"qmp_capabilities\", \"id\": 0}\n")?;
    replies.read_until(b'\n', &mut line)?;
    Ok(replies)
}

fn serve(stream: UnixStream, answers: &Answers) -> std::io::Result<()> {
    let mut commands = BufReader::new(stream.try_clone()?);
    // A larger write bypasses the buffer.
    let mut out = BufWriter::with_capacity(64 << 10, stream);
    out.write_all(GREETING)?;
    out.flush()?;
    let mut negotiate = Vec::new();
    commands.read_until(b'\n', &mut negotiate)?;
    answer(&mut out, &id(&negotiate), b"{}")?;
    loop {
        out.flush()?;
        let mut ids = Vec::new();
        for _ in 0..answers.at_once {
            let mut line = Vec::new();
            if commands.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            ids.push(id(&line));
        }
        out.write_all(&answers.before)?;
        for id in ids.iter().rev() {
            answer(&mut out, id, &answers.return_value)?;
        }
    }
}

fn answer(out: &mut impl Write, id: &[u8], value: &[u8]) -> std::io::Result<()> {
    for part in [b"{\"return\": ", value, b", \"id\": ", id, b"}\r\n"] {
        out.write_all(part)?;
    }
    Ok(())
}

/// The id of a command, which is a number.
fn id(command: &[u8]) -> Vec<u8> {
    let key = b"\"id\":";
    let found = command.windows(key.len()).position(|bytes| bytes == key);
    let value = &command[found.unwrap_or(command.len())..];
    let digits = value.iter().skip_while(|byte| !byte.is_ascii_digit());
    digits.copied().take_while(u8::is_ascii_digit).collect()
}

const GREETING: &[u8] = b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \
                          \"major\": 10}, \"package\": \"\"}, \"capabilities\": []}}\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_id_of_its_command() {
        let mut out = Vec::new();
        let command = br#"{"execute":"query-2","id":17}"#;
        answer(&mut out, &id(command), b"{}").unwrap();
        assert_eq!(out, b"{\"return\": {}, \"id\": 17}\r\n");
    }
}
