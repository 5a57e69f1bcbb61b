//! The forwarded ports of the user-mode network on the host.

use qemu_qmp_engine::{operation, timeout_option};
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use qemu_qmp::Client;
use qemu_qmp::error::ExecuteError;
use qemu_qmp_engine::error_text::Quoted;

use qemu_qmp::error::ErrorKind;

/// Asks QEMU for the host port of a forward; made by
/// [`Machine::forwarded_port`](crate::Machine::forwarded_port).
///
/// # Errors
/// See the variants of [`ForwardError`].
///
/// # Cancel safety
/// Safe: it has no side effects.
#[must_use = "nothing is asked until awaited or waited for"]
pub struct ForwardedPort {
    qmp: Client,
    network: String,
    guest_port: u16,
    timeout: Option<Duration>,
}

/// The host port of a forward is not known.
#[derive(Clone)]
#[non_exhaustive]
pub enum ForwardError {
    /// QEMU refused the command, or did not answer.
    Execute(ExecuteError),
    /// The machine has no such forward.
    None {
        /// The peer, such as `machine 'qemu-1'`.
        server: String,
        /// The id of the network.
        network: String,
        /// The port of the guest.
        guest_port: u16,
        /// What `info usernet` printed.
        seen: String,
    },
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::None {
                server,
                network,
                guest_port,
                seen,
            } => write!(
                f,
                "{server}: network {} forwards no TCP port of the host to the guest's port \
                 {guest_port}; {}",
                Quoted(network),
                match seen.trim_end() {
                    "" => "the machine has no user-mode network".to_owned(),
                    seen => format!("`info usernet` says:\n{seen}"),
                }
            ),
        }
    }
}

impl Error for ForwardError {}

impl ForwardError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Execute(cause) => cause.kind(),
            Self::None { .. } => ErrorKind::NotFound,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Execute(cause) => cause.io_error(),
            Self::None { .. } => None,
        }
    }
}

impl ForwardedPort {
    pub(crate) fn new(qmp: Client, network: &str, guest_port: u16) -> Self {
        Self {
            timeout: qmp.deadlines().limit(),
            qmp,
            network: network.to_owned(),
            guest_port,
        }
    }
}

timeout_option!(ForwardedPort, timeout);

operation!(ForwardedPort => Result<u16, ForwardError>);

impl ForwardedPort {
    async fn run(self) -> Result<u16, ForwardError> {
        let Self {
            qmp,
            network,
            guest_port,
            timeout,
        } = self;
        // QMP has no command for this.
        let ask = qmp.human("info usernet");
        let ask = match timeout {
            Some(timeout) => ask.timeout(timeout),
            None => ask.timeout(None),
        };
        let seen = ask.await.map_err(ForwardError::Execute)?;
        host_port(&seen, &network, guest_port).ok_or_else(|| ForwardError::None {
            server: qmp.server(),
            network,
            guest_port,
            seen,
        })
    }
}

/// Finds the host port in the output of `info usernet`. It has, for each
/// network, a line `Hub -1 (ID):`, the names of the columns, and a line for
/// each socket.
fn host_port(printed: &str, network: &str, guest_port: u16) -> Option<u16> {
    let guest_port = guest_port.to_string();
    let mut within = false;
    for line in printed.lines().map(str::trim) {
        if let Some(title) = line.strip_suffix("):") {
            within = title.split_once('(').is_some_and(|(_, id)| id == network);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["TCP[HOST_FORWARD]", _, _, port, _, to, ..] = words[..]
            && within
            && to == guest_port
        {
            return port.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_network_and_the_guest_s_port() {
        let printed = "Hub -1 (net0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[ESTABLISHED]    9       127.0.0.1 22222       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]   8       127.0.0.1 39473       10.0.2.15    22     0     0\r
  UDP[HOST_FORWARD]   3               * 60704       10.0.2.15    53     0     0\r
Hub -1 (net1):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[HOST_FORWARD]   9               * 39189       10.0.2.15    80     0     0\r
";
        assert_eq!(host_port(printed, "net0", 22), Some(39473));
        assert_eq!(host_port(printed, "net1", 80), Some(39189));
        for (network, port) in [("net0", 80), ("net0", 53), ("net1", 22), ("net", 22)] {
            assert_eq!(host_port(printed, network, port), None);
        }
        assert_eq!(host_port("", "net0", 22), None);
    }
}
