//! What a process uses, as the kernel tells of it.

use std::path::Path;

use crate::Failure;

/// What is in memory for this process alone, and would be free without it:
/// `Private_Dirty` of `proc(5)`.
pub(crate) fn private_kib(process: &Path) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(process.join("smaps_rollup"))?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kilobytes = value.and_then(|value| value.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no Private_Dirty")?.trim().parse()?)
}
