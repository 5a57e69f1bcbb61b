//! What each key does. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Effect, Focus, Model};
use super::prompt::{Prompt, Purpose, Typed};

/// The help, as it is shown.
pub(super) const HELP: &str = "\
moving
  Up Down k j      one message        Home g  the first
  PageUp PageDown  one page           End G   the last, and follow
  Tab              the other pane     F       follow, or stop to
choosing
  /  search for text                  n N     the next, the one before
  f  filter by any of these, with blanks between them; all without any:
     event command reply error note   the kind
     STOP query-status                the name
     JOB_STATUS_CHANGE{\"id\":\"a\"}      an event and its data
doing
  :  send a command, in either form:
     device_del id=a
     {\"execute\": \"stop\"}
  s  save the message to a file       S       save the list, for 'replay'
  ?  this help                        q       quit, as Ctrl-C does";

impl Model {
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Some(Effect::Quit);
        }
        if let Some(prompt) = self.prompt.take() {
            return self.prompt_key(prompt, key);
        }
        self.status = None;
        if self.shows_help {
            self.shows_help = false;
            return (key.code == KeyCode::Char('q')).then_some(Effect::Quit);
        }
        match key.code {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('?') => self.shows_help = true,
            KeyCode::Char('/') => self.ask(Purpose::Search, ""),
            KeyCode::Char('f') => {
                let filter = self.filter.clone();
                self.ask(Purpose::Filter, &filter);
            }
            KeyCode::Char(':') if self.is_live => {
                self.history_place = self.history.len();
                self.ask(Purpose::Command, "");
            }
            KeyCode::Char(':') => {
                self.status = Some(Err("nobody is here to answer a command".to_owned()));
            }
            KeyCode::Char('s') if self.selected.is_some() => self.ask(Purpose::SaveOne, ""),
            KeyCode::Char('S') => self.ask(Purpose::SaveAll, ""),
            KeyCode::Char('n') => self.find(true),
            KeyCode::Char('N') => self.find(false),
            KeyCode::Char('F') => self.follows = !self.follows,
            KeyCode::Tab => {
                self.focus = match self.focus {
                    Focus::List => Focus::Detail,
                    Focus::Detail => Focus::List,
                };
            }
            _ => self.move_by(key.code),
        }
        None
    }

    fn ask(&mut self, purpose: Purpose, text: &str) {
        self.prompt = Some(Prompt::new(purpose, text));
    }

    fn prompt_key(&mut self, mut prompt: Prompt, key: KeyEvent) -> Option<Effect> {
        match prompt.key(key) {
            Typed::Done(line) => {
                self.status = None;
                return self.done(prompt.purpose, &line);
            }
            Typed::Left => return None,
            Typed::Older if prompt.purpose == Purpose::Command => {
                self.history_place = self.history_place.saturating_sub(1);
                self.recall(&mut prompt);
            }
            Typed::Newer if prompt.purpose == Purpose::Command => {
                self.history_place = (self.history_place + 1).min(self.history.len());
                self.recall(&mut prompt);
            }
            Typed::More | Typed::Older | Typed::Newer => {}
        }
        self.prompt = Some(prompt);
        None
    }

    fn recall(&self, prompt: &mut Prompt) {
        let line = self.history.get(self.history_place);
        prompt.set(line.map_or("", String::as_str));
    }

    fn move_by(&mut self, code: KeyCode) {
        let (rows, here, last) = match self.focus {
            Focus::List => (self.list_rows(), self.place(), self.log.shown()),
            Focus::Detail => (self.detail_rows(), self.detail.top, self.detail.lines.len()),
        };
        let last = last.saturating_sub(1);
        let there = match code {
            KeyCode::Up | KeyCode::Char('k') => here.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => here + 1,
            KeyCode::PageUp => here.saturating_sub(rows),
            KeyCode::PageDown => here + rows,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return,
        };
        let there = there.min(last);
        match self.focus {
            Focus::List => {
                self.follows = matches!(code, KeyCode::End | KeyCode::Char('G'));
                self.select(there);
            }
            Focus::Detail => self.detail.top = there,
        }
    }
}
