//! `screenshot`: what a QEMU that runs shows.

use std::path::PathBuf;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::command::QuerySchema;
use serde_json::json;

use super::qmp::{Server, failed};
use crate::exit::Outcome;
use crate::failure::Failure;

/// Takes a picture of a QEMU's display.
///
/// It is a PNG if the file's name ends so, and a PPM otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine screenshot qmp.sock screen.png")]
pub(crate) struct Screenshot {
    #[command(flatten)]
    server: Server,

    /// Where the picture goes; QEMU writes it
    file: PathBuf,

    /// Which device shows it, by its id
    #[arg(long)]
    device: Option<String>,
}

impl Screenshot {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let path = std::path::absolute(&self.file)
            .map_err(|error| Failure::file("find", &self.file, &error))?;
        let name = path.to_str();
        let name = name.ok_or_else(|| Failure::usage("QEMU takes no such name of a file"))?;
        let mut arguments = json!({"filename": name});
        if let Some(device) = &self.device {
            arguments["device"] = json!(device);
        }
        let monitor = self.server.connect()?;
        if path
            .extension()
            .is_some_and(|it| it.eq_ignore_ascii_case("png"))
        {
            let schema = monitor
                .execute(QuerySchema)
                .timeout(self.server.timeout)
                .wait();
            let schema = schema.map_err(failed)?;
            if !schema
                .has("screendump/arg-type/format/^png")
                .map_err(Failure::failed)?
            {
                return Err(Failure::failed(
                    "this QEMU writes no PNG: give a name that ends in .ppm",
                ));
            }
            arguments["format"] = json!("png");
        }
        let taken = monitor.execute_json("screendump", arguments);
        taken.timeout(self.server.timeout).wait().map_err(failed)?;
        Ok(Outcome::Succeeded)
    }
}
