//! The line at the foot in which a person types. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What the line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Search,
    Filter,
    Command,
    /// A file for the selected message.
    SaveOne,
    /// A file for all messages in the list.
    SaveAll,
}

impl Purpose {
    /// What stands before the line.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Search => "/",
            Self::Filter => "filter: ",
            Self::Command => "command: ",
            Self::SaveOne => "save the message to: ",
            Self::SaveAll => "save the list to: ",
        }
    }
}

/// A line under way.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) purpose: Purpose,
    letters: Vec<char>,
    cursor: usize,
}

/// What a key did to the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// It goes on.
    More,
    /// Enter.
    Done(String),
    /// Esc, or Backspace in an empty line.
    Left,
    /// The line of before, or the one after.
    Older,
    Newer,
}

impl Prompt {
    pub(super) fn new(purpose: Purpose, text: &str) -> Self {
        let mut prompt = Self {
            purpose,
            letters: Vec::new(),
            cursor: 0,
        };
        prompt.set(text);
        prompt
    }

    /// Replaces the line.
    pub(super) fn set(&mut self, text: &str) {
        self.letters = text.chars().filter(|it| !it.is_control()).collect();
        self.cursor = self.letters.len();
    }

    pub(super) fn text(&self) -> String {
        self.letters.iter().collect()
    }

    /// The text left of the cursor.
    pub(super) fn before_cursor(&self) -> String {
        self.letters[..self.cursor].iter().collect()
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Typed {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Typed::Done(self.text()),
            KeyCode::Esc => return Typed::Left,
            KeyCode::Up => return Typed::Older,
            KeyCode::Down => return Typed::Newer,
            KeyCode::Backspace if self.letters.is_empty() => return Typed::Left,
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.letters.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.letters.len() => {
                self.letters.remove(self.cursor);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.letters.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.letters.len(),
            KeyCode::Char('a') if is_control => self.cursor = 0,
            KeyCode::Char('e') if is_control => self.cursor = self.letters.len(),
            KeyCode::Char('u') if is_control => {
                self.letters.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('w') if is_control => self.remove_word(),
            KeyCode::Char(letter) if !is_control && !letter.is_control() => {
                self.letters.insert(self.cursor, letter);
                self.cursor += 1;
            }
            _ => {}
        }
        Typed::More
    }

    fn remove_word(&mut self) {
        let end = self.cursor;
        while self.cursor > 0 && self.letters[self.cursor - 1].is_whitespace() {
            self.cursor -= 1;
        }
        while self.cursor > 0 && !self.letters[self.cursor - 1].is_whitespace() {
            self.cursor -= 1;
        }
        self.letters.drain(self.cursor..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_at_its_cursor() {
        let mut prompt = Prompt::new(Purpose::Command, "stop");
        let mut press = |code| prompt.key(KeyEvent::new(code, KeyModifiers::NONE));
        for code in [
            KeyCode::Left,
            KeyCode::Char('é'),
            KeyCode::Home,
            KeyCode::Delete,
        ] {
            assert_eq!(press(code), Typed::More);
        }
        assert_eq!(press(KeyCode::Enter), Typed::Done("toép".to_owned()));
        assert_eq!(prompt.before_cursor(), "");
        prompt.set("one two ");
        let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        prompt.key(control('w'));
        assert_eq!(
            (prompt.text(), prompt.before_cursor()),
            ("one ".into(), "one ".into())
        );
        prompt.key(control('u'));
        let backspace = KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(prompt.key(backspace), Typed::Left);
    }
}
