//! Conversations in lines, between the owner's side and another program.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use qemu_qmp_engine::{self as engine, AbortWhenDropped, Elapsed, Engine, PacedSocket};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

/// Connects to this socket.
pub(super) async fn connect(path: &Path) -> io::Result<PacedSocket> {
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    PacedSocket::new(engine::connect(stream, address).await?)
}

/// Accepts the next client.
pub(super) async fn accept(socket: &Socket) -> Socket {
    loop {
        match engine::accept(socket).await {
            Ok(client) => return client,
            // No descriptor is left, and nothing reports when one is free.
            Err(_) => engine::pause(SHORTAGE).await,
        }
    }
}

/// Writes one line.
async fn write_line(socket: &PacedSocket, line: &str) -> io::Result<()> {
    socket.write_all(format!("{line}\n").as_bytes()).await
}

/// Reads one line, without its end.
///
/// # Errors
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), if the peer has closed the
/// connection.
pub(super) async fn read_line(socket: &PacedSocket) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let count = socket.read(&mut piece).await?;
        line.extend_from_slice(&piece[..count]);
        if line.last() == Some(&b'\n') {
            line.pop();
            let text = String::from_utf8(line);
            return text.map_err(|_| io::ErrorKind::InvalidData.into());
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() > LINE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// What the owner answers to a request. The error is its reason, in words.
pub(super) type Answer = Result<Value, String>;

/// Sends a request to the owner, and reads the answer.
pub(super) async fn ask(socket: &PacedSocket, request: &str) -> io::Result<Answer> {
    write_line(socket, request).await?;
    let line = read_line(socket).await?;
    let mut answer: Value = serde_json::from_str(&line).unwrap_or_default();
    if let Some(reason) = answer["error"].as_str() {
        return Ok(Err(reason.to_owned()));
    }
    let value = answer.get_mut("return").map(Value::take);
    value.map(Ok).ok_or_else(|| {
        let reason = format!("its answer has an unexpected form: {line}");
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// Sends the owner's answer.
pub(super) async fn answer(socket: &PacedSocket, answer: &Answer) -> io::Result<()> {
    let answer = match answer {
        Ok(value) => json!({"return": value}),
        Err(reason) => json!({"error": reason}),
    };
    write_line(socket, &answer.to_string()).await
}

/// Runs this on the engine, where the sockets are. If the future is dropped or
/// late, the exchange ends at its next wait.
pub(super) async fn on_engine<T: Send + 'static>(
    limit: Option<Duration>,
    exchange: impl Future<Output = T> + Send + 'static,
) -> io::Result<Result<T, Elapsed>> {
    let mut task = AbortWhenDropped(Engine::start()?.spawn(exchange));
    Ok(match engine::timeout(limit, &mut task.0).await {
        Ok(Some(done)) => Ok(done),
        // Nothing else aborts it.
        Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(elapsed) => Err(elapsed),
    })
}

/// Whether the other side has gone, or was never there.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::UnexpectedEof
            | Kind::NotFound
    )
}

/// The pause before the next client is accepted when no descriptor is left.
const SHORTAGE: Duration = Duration::from_millis(10);

/// The longest line: a pool's status has the names of all machines that were
/// taken.
const LINE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use qemu_qmp_engine::Wait;

    use super::*;

    /// What the client gets if the owner sends this.
    fn answer_of(line: &str) -> io::Result<Answer> {
        let (client, mut owner) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        owner.write_all(line.as_bytes()).unwrap();
        let exchange = async move { ask(&PacedSocket::new(client)?, "status").await };
        on_engine(None, exchange).wait().unwrap().unwrap()
    }

    #[test]
    fn an_answer_of_another_form_is_told_with_its_words() {
        assert_eq!(answer_of("{\"return\": [1]}\n").unwrap(), Ok([1].into()));
        assert_eq!(
            answer_of("{\"error\": \"full\"}\n").unwrap(),
            Err("full".into())
        );
        for line in ["{}", "[]", "nothing", ""] {
            let error = answer_of(&format!("{line}\n")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().ends_with(&format!("form: {line}")));
        }
    }
}
