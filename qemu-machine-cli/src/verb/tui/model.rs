//! What the screen shows, and how it changes: `update` is all there is to it.
//!
//! ```text
//! traffic, keys, size, results --Message--> update --Effect--> commands, files, the end
//!                                              |
//!                                            Model --view--> frame
//! ```

use std::path::PathBuf;

use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use serde_json::{Value, json};

use super::entry::{Entry, Kind};
use super::filter::Filter;
use super::layout::{areas, rows};
use super::log::Log;
use super::prompt::{Prompt, Purpose};
use crate::verb::qmp::line::{Action, Mode, Request, parse};

/// What happened.
#[derive(Debug)]
pub(super) enum Message {
    Traffic(Entry),
    /// The monitor has ended.
    Ended(String),
    Key(KeyEvent),
    Size(u16, u16),
    /// What became of an effect.
    Result(Result<String, String>),
}

/// What to do outside.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    Execute(String, Value),
    Save(PathBuf, String),
    Quit,
}

/// The pane that the arrows move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    List,
    Detail,
}

/// All that the screen shows.
#[derive(Debug)]
pub(super) struct Model {
    /// Whose traffic it is.
    pub(super) source: String,
    /// Whether somebody can answer commands.
    pub(super) is_live: bool,
    pub(super) log: Log,
    pub(super) filter: String,
    pub(super) search: String,
    /// The number of the selected message.
    pub(super) selected: Option<u64>,
    /// The place of the list's first row among the shown.
    pub(super) top: usize,
    pub(super) follows: bool,
    pub(super) focus: Focus,
    pub(super) detail: Detail,
    pub(super) prompt: Option<Prompt>,
    pub(super) shows_help: bool,
    /// What the last action said.
    pub(super) status: Option<Result<String, String>>,
    /// Commands that were typed, and the place among them.
    pub(super) history: Vec<String>,
    pub(super) history_place: usize,
    pub(super) screen: Rect,
}

/// The selected message as text.
#[derive(Debug, Default)]
pub(super) struct Detail {
    number: Option<u64>,
    pub(super) lines: Vec<String>,
    pub(super) top: usize,
}

impl Model {
    /// `keep` is how many messages it keeps.
    pub(super) fn new(source: String, is_live: bool, keep: usize) -> Self {
        Self {
            source,
            is_live,
            log: Log::new(keep),
            filter: String::new(),
            search: String::new(),
            selected: None,
            top: 0,
            follows: is_live,
            focus: Focus::List,
            detail: Detail::default(),
            prompt: None,
            shows_help: false,
            status: None,
            history: Vec::new(),
            history_place: 0,
            screen: Rect::new(0, 0, 80, 24),
        }
    }

    /// Takes what happened, and returns what to do.
    pub(super) fn update(&mut self, message: Message) -> Option<Effect> {
        let effect = match message {
            Message::Traffic(entry) => {
                self.log.push(entry);
                None
            }
            Message::Ended(cause) => {
                self.is_live = false;
                self.status = Some(Err(cause));
                None
            }
            Message::Key(key) => self.key(key),
            Message::Size(width, height) => {
                self.screen = Rect::new(0, 0, width, height);
                None
            }
            Message::Result(result) => {
                self.status = Some(result);
                None
            }
        };
        self.settle();
        effect
    }

    /// The list's rows.
    pub(super) fn list_rows(&self) -> usize {
        rows(areas(self.screen).list)
    }

    pub(super) fn detail_rows(&self) -> usize {
        rows(areas(self.screen).detail)
    }

    /// The selected message's place among the shown.
    pub(super) fn place(&self) -> usize {
        self.selected.map_or(0, |number| self.log.place(number))
    }

    /// Selects the message at this place, or the last.
    pub(super) fn select(&mut self, place: usize) {
        let last = self.log.shown().saturating_sub(1);
        self.selected = self.log.number(place.min(last));
    }

    /// Makes all parts agree: the selection with the list, the rows with the
    /// selection, the detail with both.
    fn settle(&mut self) {
        let place = if self.follows {
            usize::MAX
        } else {
            self.place()
        };
        self.select(place);
        let place = self.place();
        let rows = self.list_rows().max(1);
        let most = self.log.shown().saturating_sub(rows);
        self.top = self
            .top
            .clamp((place + 1).saturating_sub(rows), place)
            .min(most);
        if self.detail.number != self.selected {
            let entry = self.selected.and_then(|number| self.log.get(number));
            self.detail = Detail {
                number: self.selected,
                lines: entry.map(lines).unwrap_or_default(),
                top: 0,
            };
        }
        let last = self.detail.lines.len().saturating_sub(1);
        self.detail.top = self.detail.top.min(last);
    }

    /// Does what a typed line is for.
    pub(super) fn done(&mut self, purpose: Purpose, line: &str) -> Option<Effect> {
        match purpose {
            Purpose::Search => {
                line.clone_into(&mut self.search);
                self.find(true);
                None
            }
            Purpose::Filter => {
                match Filter::read(line) {
                    Ok(filter) => {
                        self.log.set_filter(filter);
                        line.trim().clone_into(&mut self.filter);
                    }
                    Err(problem) => self.status = Some(Err(problem)),
                }
                None
            }
            Purpose::Command => self.command(line),
            Purpose::SaveOne => {
                let entry = self.selected.and_then(|number| self.log.get(number))?;
                let text = lines(entry).join("\n") + "\n";
                (!line.is_empty()).then(|| Effect::Save(line.into(), text))
            }
            Purpose::SaveAll => {
                let text = self.log.from(0).map(|(_, entry)| in_transcript(entry));
                (!line.is_empty()).then(|| Effect::Save(line.into(), text.collect()))
            }
        }
    }

    fn command(&mut self, line: &str) -> Option<Effect> {
        if line.trim().is_empty() {
            return None;
        }
        if self.history.last().is_none_or(|last| last != line) {
            self.history.push(line.to_owned());
        }
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
        let problem = match parse(line, Mode::Qmp).pop() {
            Some(Ok(Action::Execute(Request {
                command, arguments, ..
            }))) => return Some(Effect::Execute(command, arguments)),
            Some(Err(problem)) => problem,
            _ => "this is no QMP command; 'qmp' has the other forms".to_owned(),
        };
        self.status = Some(Err(problem));
        None
    }

    /// Selects the next message that has the searched text, or the one before.
    pub(super) fn find(&mut self, forward: bool) {
        let wanted = self.search.to_lowercase();
        if wanted.is_empty() {
            return;
        }
        let count = self.log.shown();
        let here = self.place();
        let found = (1..=count).map(|step| {
            if forward {
                (here + step) % count
            } else {
                (here + count - step) % count
            }
        });
        let found = found.into_iter().find(|place| {
            let entry = self.log.number(*place).and_then(|it| self.log.get(it));
            entry.is_some_and(|entry| {
                entry.line.to_lowercase().contains(&wanted)
                    || entry.name.to_lowercase().contains(&wanted)
            })
        });
        match found {
            Some(place) => {
                self.follows = false;
                self.select(place);
            }
            None => self.status = Some(Err(format!("no message has '{}'", self.search))),
        }
    }
}

const HISTORY: usize = 100;

/// A message for a person to read: its JSON, one member in a line.
fn lines(entry: &Entry) -> Vec<String> {
    if entry.line.len() > MOST_READ {
        let size = entry.line.len() >> 20;
        return vec![format!("a message of {size} MiB is not shown")];
    }
    match serde_json::from_str::<Value>(&entry.line) {
        Ok(message) => format!("{message:#}").lines().map(str::to_owned).collect(),
        Err(_) if entry.kind == Kind::Note => vec![entry.name.clone()],
        Err(_) => vec![entry.line.clone()],
    }
}

/// A longer message would make each key slow.
const MOST_READ: usize = 4 << 20;

/// A message as a line of a transcript, which `replay` reads.
fn in_transcript(entry: &Entry) -> String {
    if entry.kind == Kind::Note {
        return String::new();
    }
    let Entry { seconds, line, .. } = entry;
    let sign = entry.kind.sign();
    let line = json!({"at": seconds, "bytes": format!("{line}\n"), "dir": sign});
    format!("{line}\n")
}
