//! Reads one stream of a program, segment by segment.

use super::super::AgentError;
use super::super::call::Running;
use super::super::open_file::OpenFile;
use super::live::open;

/// The segments of one stream, as `script` makes them.
///
/// Never loses or repeats a byte, also if a read was given up: the next one
/// begins at the same place.
pub(super) struct Segments {
    /// The path of a segment without its number.
    path: String,
    /// Takes the numbers of segments that were read.
    read_numbers: OpenFile,
    number: u64,
    current: Option<OpenFile>,
    next: Option<OpenFile>,
    /// How much of the current segment was read.
    offset: u64,
    /// The agent may have read further than this side knows.
    is_ahead: bool,
    has_ended: bool,
}

impl Segments {
    /// The stream of this name in the directory.
    pub(super) async fn open(
        running: &Running<'_>,
        directory: &str,
        name: &str,
    ) -> Result<Self, AgentError> {
        let path = format!("{directory}/{name}");
        // For reading too, so that the open never waits.
        let read_numbers = OpenFile::open(running, &format!("{path}.go"), "r+").await?;
        Ok(Self {
            path,
            read_numbers,
            number: 0,
            current: None,
            next: None,
            offset: 0,
            is_ahead: false,
            has_ended: false,
        })
    }

    /// Whether everything was read.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// How much of the current segment was read.
    pub(super) fn offset(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }

    /// Reads the next bytes. `None` if there are none now, or no more.
    pub(super) async fn read(
        &mut self,
        running: &Running<'_>,
    ) -> Result<Option<Vec<u8>>, AgentError> {
        while !self.has_ended {
            if self.current.is_none() {
                self.current = self.segment(running, self.number).await?;
            }
            let Some(current) = &self.current else {
                return Ok(None);
            };
            if self.is_ahead {
                current.seek(running, self.offset).await?;
            }
            self.is_ahead = true;
            let bytes = current.read(running, PIECE_BYTES).await?.read;
            self.is_ahead = false;
            if !bytes.is_empty() {
                self.offset += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            if self.next.is_none() {
                self.next = self.segment(running, self.number + 1).await?;
                if self.next.is_none() {
                    return Ok(None);
                }
                // The segment may have grown before its successor was made.
                continue;
            }
            // This may be repeated, if it was given up.
            let line = format!("{}\n", self.number);
            self.read_numbers.write(running, line.as_bytes()).await?;
            self.read_numbers.flush(running).await?;
            self.has_ended = self.offset == 0;
            self.number += 1;
            self.offset = 0;
            self.current = self.next.take();
        }
        Ok(None)
    }

    /// Opens a segment; `None` if there is none yet. If there never is one, the
    /// script's end shows it.
    async fn segment(
        &self,
        running: &Running<'_>,
        number: u64,
    ) -> Result<Option<OpenFile>, AgentError> {
        open(running, &format!("{}.{number}", self.path)).await
    }
}

/// How much one command reads.
pub(super) const PIECE_BYTES: usize = 1 << 20;
