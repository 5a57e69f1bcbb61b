//! All that was measured, for machines and for people: JSON, and a page with
//! charts.

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
    /// When it began, and when it had ended.
    pub(crate) load: [Load; 2],
    pub(crate) operations: Vec<Operation>,
    pub(crate) curves: Vec<Curve>,
}

/// A text, and its path in the folder of the report.
pub(crate) type File = (PathBuf, String);

impl Report {
    pub(crate) fn meets_every_bar(&self) -> bool {
        let operation = |it: &Operation| it.bars.iter().all(|bar| it.meets(bar));
        let curve = |it: &Curve| it.bars.iter().all(|bar| it.meets(bar));
        self.operations.iter().all(operation) && self.curves.iter().all(curve)
    }

    /// The report as files. That each can be made is seen in every run, also in
    /// one that keeps none.
    pub(crate) fn files(&self) -> Result<Vec<File>, Failure> {
        let charts = Path::new(CHARTS);
        let mut files = vec![
            (JSON.into(), self.json()?),
            (PAGE.into(), page::write(self)),
        ];
        if !self.operations.is_empty() {
            files.push((charts.join(RATIOS), chart::ratios(&self.operations)?));
        }
        for curve in &self.curves {
            files.push((charts.join(chart_name(curve)), chart::growth(curve)?));
        }
        Ok(files)
    }

    /// A line for each row; what is read back is what was measured.
    fn json(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(self)?;
        let read: serde_json::Value = serde_json::from_str(&text)?;
        if read != serde_json::to_value(self)? {
            return Err("the JSON, read back, is not what was measured".into());
        }
        Ok(text + "\n")
    }
}

/// Puts them in place, and removes the charts of a report before.
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
