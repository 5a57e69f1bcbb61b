//! Both streams of a program that still runs.

use super::super::call::Running;
use super::super::open_file::OpenFile;
use super::super::{AgentError, AgentFailure};
use super::script;
use super::segments::Segments;

/// The files in which the guest keeps the output.
pub(super) struct LiveOutput {
    /// Standard output, then standard error.
    streams: [Segments; 2],
    /// The stream that was read last.
    last: usize,
    /// A file of the system that exists while the script runs; `None` if the
    /// guest has no such files.
    script: Option<String>,
}

impl LiveOutput {
    /// Finds the directory with this name; `None` if there is none yet.
    pub(super) async fn find(
        running: &Running<'_>,
        name: &str,
    ) -> Result<Option<Self>, AgentError> {
        for base in script::BASES {
            let path = format!("{base}/{name}");
            let Some(file) = open(running, &format!("{path}/pid")).await? else {
                continue;
            };
            let pid = file.read(running, PID_BYTES).await?.read;
            let Some(pid) = pid.strip_suffix(b"\n") else {
                return Ok(None);
            };
            let has_proc = open(running, "/proc/self/stat").await?.is_some();
            let out = is_there(Segments::open(running, &path, "out").await)?;
            let err = is_there(Segments::open(running, &path, "err").await)?;
            // The script may end now, and remove the directory.
            let (Some(out), Some(err)) = (out, err) else {
                return Ok(None);
            };
            return Ok(Some(Self {
                streams: [out, err],
                last: 1,
                script: has_proc.then(|| format!("/proc/{}/stat", String::from_utf8_lossy(pid))),
            }));
        }
        Ok(None)
    }

    /// Reads the next bytes of a wanted stream, with its number. `None` if there
    /// are none now.
    pub(super) async fn read(
        &mut self,
        running: &Running<'_>,
        wanted: [bool; 2],
    ) -> Result<Option<(usize, Vec<u8>)>, AgentError> {
        // In turn, so that a flood in one stream does not hide the other.
        for _ in 0..2 {
            self.last = 1 - self.last;
            if !wanted[self.last] {
                continue;
            }
            if let Some(bytes) = self.streams[self.last].read(running).await? {
                return Ok(Some((self.last, bytes)));
            }
        }
        Ok(None)
    }

    /// Whether all segments of a stream were read.
    pub(super) fn has_ended(&self, stream: usize) -> bool {
        self.streams[stream].has_ended()
    }

    /// How much of a stream's first segment was read.
    pub(super) fn offset(&self, stream: usize) -> usize {
        self.streams[stream].offset()
    }

    /// Whether the script has ended.
    pub(super) async fn script_has_ended(&self, running: &Running<'_>) -> Result<bool, AgentError> {
        match &self.script {
            Some(path) => Ok(open(running, path).await?.is_none()),
            None => Ok(false),
        }
    }
}

/// Opens a file; `None` if there is none.
pub(super) async fn open(
    running: &Running<'_>,
    path: &str,
) -> Result<Option<OpenFile>, AgentError> {
    is_there(OpenFile::open(running, path, "rb").await)
}

/// `None` if the agent refused to open a file. The refusal's text may be in any
/// language, and agents use one class for all refusals.
fn is_there<T>(opened: Result<T, AgentError>) -> Result<Option<T>, AgentError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if matches!(*error.failure, AgentFailure::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Longer than a process id and its line end.
const PID_BYTES: usize = 32;
