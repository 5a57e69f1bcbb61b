//! The size of the command's file.

use std::fs;
use std::process::Command;

use super::{BINARY, COMMAND};
use crate::Failure;
use crate::operation::{Bar, Limit, Measured, Operation, Unit};
use crate::setting::{Extent, Setting};

pub(super) fn measure(setting: &Setting) -> Result<Operation, Failure> {
    let built = bytes(&setting.command)?;
    let copy = std::env::temp_dir().join(format!("qemu-machine-{}", std::process::id()));
    let mut strip = Command::new("strip");
    let stripped = strip.arg("-o").arg(&copy).arg(&setting.command).status()?;
    if !stripped.success() {
        return Err(format!("strip: {stripped}").into());
    }
    let stripped = bytes(&copy);
    fs::remove_file(copy)?;
    let mut about =
        "The file that `cargo build --release` makes, and the same after `strip`.".to_owned();
    if setting.extent == Extent::Smoke {
        about += " Here it is a debug build.";
    }
    Ok(Operation {
        id: BINARY,
        name: "the size of the command".into(),
        about,
        unit: Unit::Bytes,
        contenders: vec![
            Measured {
                who: COMMAND,
                values: vec![built],
            },
            Measured {
                who: STRIPPED,
                values: vec![stripped?],
            },
        ],
        bars: vec![Bar {
            who: STRIPPED,
            limit: Limit::AtMost(8e6),
        }],
    })
}

fn bytes(path: &std::path::Path) -> Result<f64, Failure> {
    let bytes = u32::try_from(fs::metadata(path)?.len())?;
    Ok(bytes.into())
}

const STRIPPED: &str = "ours, stripped";
