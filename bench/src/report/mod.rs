//! The report of all results: JSON for programs, and a page with charts for
//! people.

mod chart;
mod host;
mod page;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use host::{Host, Load};

use crate::Failure;
use crate::curve::Curve;
use crate::operation::Operation;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) host: Host,
    /// The load at the begin and at the end.
    pub(crate) load: [Load; 2],
    pub(crate) operations: Vec<Operation>,
    pub(crate) curves: Vec<Curve>,
}

/// A path in the folder of the report, and the text of the file.
pub(crate) type File = (PathBuf, String);

impl Report {
    pub(crate) fn meets_every_bar(&self) -> bool {
        let operation = |it: &Operation| it.bars.iter().all(|bar| it.meets(bar));
        let curve = |it: &Curve| it.bars.iter().all(|bar| it.meets(bar));
        self.operations.iter().all(operation) && self.curves.iter().all(curve)
    }

    /// The report as files. Every run makes them, even if it does not keep them, so
    /// that a failure is found.
    pub(crate) fn files(&self) -> Result<Vec<File>, Failure> {
        let charts = Path::new(CHARTS);
        let mut files = vec![
            (JSON.into(), self.json()?),
            (PAGE.into(), page::write(self)),
        ];
        if !self.operations.is_empty() {
            files.push((charts.join(RATIOS), chart::ratios(&self.operations)?));
            files.push((charts.join(BARS), chart::bars(&self.operations)?));
        }
        for curve in &self.curves {
            files.push((charts.join(chart_name(curve)), chart::growth(curve)?));
        }
        Ok(files)
    }

    /// The results as JSON. Reading it back gives the same values.
    fn json(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(self)?;
        let read: serde_json::Value = serde_json::from_str(&text)?;
        if read != serde_json::to_value(self)? {
            return Err("the JSON, when read back, differs from the results".into());
        }
        Ok(text + "\n")
    }
}

/// Writes the files, and removes the charts of an earlier report.
pub(crate) fn keep(files: &[File], folder: &Path) -> Result<(), Failure> {
    let charts = folder.join(CHARTS);
    if charts.exists() {
        std::fs::remove_dir_all(&charts)?;
    }
    std::fs::create_dir_all(&charts)?;
    for (path, text) in files {
        std::fs::write(folder.join(path), text)?;
    }
    Ok(())
}

fn chart_name(curve: &Curve) -> String {
    format!("{}.svg", curve.id.replace('/', "-"))
}

const JSON: &str = "benchmarks.json";
const PAGE: &str = "benchmarks.md";
const CHARTS: &str = "benchmarks";
const RATIOS: &str = "ratios.svg";
const BARS: &str = "bars.svg";
