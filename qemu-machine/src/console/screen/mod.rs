//! What a console shows to who sits before it: a terminal's screen.
//!
//! Pure, but for the word to who waits. The terminal itself is `vt100`'s; a
//! guest may print anything, so what that could not bear is kept from it.

mod sanitizer;
mod shows;

use crate::spec::ScreenSize;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use qemu_qmp_engine::Watched;

use sanitizer::Sanitizer;
pub use shows::{ScreenError, ScreenShows};

/// What a console shows at one moment, as a terminal would.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Console, Machine, Wait};
/// use qemu_machine::spec::Drive;
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .drive(Drive::file("installer.qcow2"))
///     .console(Console::serial().screen())
///     .launch()
///     .wait()?;
/// let console = vm.console();
/// let menu = console.screen_shows("Install").wait()?;
/// if menu.highlighted().iter().all(|entry| entry.trim() != "Install") {
///     console.send("\x1b[B").wait()?; // the arrow down
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Screen {
    cells: vt100::Screen,
}

/// A place on a screen, counted from 0 at the left upper corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cursor {
    /// How many rows are above it.
    pub row: u16,
    /// How many columns are to its left.
    pub column: u16,
}

impl Screen {
    /// All rows, each but the last with a line end, without what is blank at
    /// their ends.
    pub fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// The rows' text, without what is blank at their ends.
    pub fn rows(&self) -> Vec<String> {
        let (_, columns) = self.cells.size();
        self.cells
            .rows(0, columns)
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    /// The text of one row, counted from 0; nothing below the last.
    pub fn row(&self, row: u16) -> String {
        self.rows().into_iter().nth(row.into()).unwrap_or_default()
    }

    /// Where the cursor is. After a row's last column was written, it is still
    /// there.
    pub fn cursor(&self) -> Cursor {
        let (row, column) = self.cells.cursor_position();
        let (_, columns) = self.cells.size();
        Cursor {
            row,
            column: column.min(columns.saturating_sub(1)),
        }
    }

    /// Whether the cursor is hidden, as by many full-screen programs.
    pub fn cursor_is_hidden(&self) -> bool {
        self.cells.hide_cursor()
    }

    /// The texts that stand out, from the top: those on another background than
    /// most of the screen has, by colour or in reverse video, as a menu shows
    /// what is chosen. What follows each other in a row on the same background
    /// is one.
    pub fn highlighted(&self) -> Vec<String> {
        let (rows, columns) = self.cells.size();
        let usual = self.usual_background();
        let mut texts: Vec<String> = Vec::new();
        for row in 0..rows {
            let mut last = usual;
            for column in 0..columns {
                let Some(cell) = self.cells.cell(row, column) else {
                    continue;
                };
                let background = Background::of(cell);
                if background != usual && background != last {
                    texts.push(String::new());
                }
                if let Some(text) = texts.last_mut()
                    && background != usual
                {
                    match cell.contents() {
                        "" if cell.is_wide_continuation() => {}
                        "" => text.push(' '),
                        contents => text.push_str(contents),
                    }
                }
                last = background;
            }
        }
        texts
    }

    fn usual_background(&self) -> Background {
        let (rows, columns) = self.cells.size();
        let mut counts: Vec<(Background, usize)> = Vec::new();
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            let Some(cell) = self.cells.cell(row, column) else {
                continue;
            };
            let background = Background::of(cell);
            match counts
                .iter_mut()
                .find(|(counted, _)| *counted == background)
            {
                Some((_, count)) => *count += 1,
                None => counts.push((background, 1)),
            }
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map_or(Background::Colour(vt100::Color::Default), |(most, _)| most)
    }
}

/// What is behind a cell's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Background {
    Colour(vt100::Color),
    /// What text has by default.
    Reverse,
}

impl Background {
    fn of(cell: &vt100::Cell) -> Self {
        match (cell.inverse(), cell.fgcolor()) {
            (false, _) => Self::Colour(cell.bgcolor()),
            (true, vt100::Color::Default) => Self::Reverse,
            (true, colour) => Self::Colour(colour),
        }
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// The terminal of a console.
pub(super) struct Terminal {
    state: Mutex<State>,
    /// How often it has changed, and that it will not any more.
    changes: Watched<u64>,
}

struct State {
    parser: vt100::Parser,
    sanitizer: Sanitizer,
}

impl Terminal {
    pub(super) fn new(size: ScreenSize) -> Self {
        // On less, a wide character has no place.
        let (rows, columns) = (size.rows.max(2), size.columns.max(2));
        Self {
            state: Mutex::new(State {
                parser: vt100::Parser::new(rows, columns, 0),
                sanitizer: Sanitizer::new(rows.max(columns)),
            }),
            changes: Watched::default(),
        }
    }

    /// Shows more of the stream, and tells who waits.
    pub(super) fn show(&self, bytes: &[u8]) {
        let State { parser, sanitizer } = &mut *self.lock();
        sanitizer.push(bytes, |bytes| parser.process(bytes));
    }

    pub(super) fn screen(&self) -> Screen {
        let cells = self.lock().parser.screen().clone();
        Screen { cells }
    }

    /// Who waits shall look again.
    pub(super) fn notify(&self) {
        self.changes.change(|changes| *changes += 1);
    }

    /// Ends when there is something new after this call.
    fn changed(&self) -> impl Future<Output = ()> {
        let seen = self.changes.look(|changes| *changes);
        let new = move |changes: &u64| (*changes != seen).then_some(());
        self.changes.until(new)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shown(stream: &[u8], piece_bytes: usize) -> Screen {
        let terminal = Terminal::new(ScreenSize {
            columns: 20,
            rows: 4,
        });
        for piece in stream.chunks(piece_bytes) {
            terminal.show(piece);
        }
        terminal.screen()
    }

    #[test]
    fn a_screen_is_what_a_terminal_would_show_in_pieces_of_any_size() {
        let stream = "one\r\ntwo\r\nthree\r\nfour\r\nfive\x1b[1;1H\x1b[7mT\x1b[27mWO  \
             \x1b]0;a title\x07\x1b[3;3H\x1b[44m f\u{4e2d} \x1b[0m\x1b[4;20Hxy"
            .as_bytes();
        for size in 1..=stream.len() {
            let screen = shown(stream, size);
            assert_eq!(
                screen.rows(),
                ["three", "fo f\u{4e2d}", "five               x", "y"],
                "by {size}"
            );
        }
    }

    #[test]
    fn what_is_chosen_stands_out() {
        let screen = shown(
            b"\x1b[7m Install \x1b[0m Rescue\r\n\x1b[41mred\x1b[7mer\x1b[0m\x1b[3;19H\x1b[?25l..",
            100,
        );
        assert_eq!(screen.highlighted(), [" Install ", "red", "er"]);
        let blue = shown(
            b"\x1b[44m\x1b[2J File \x1b[30;47m Edit \x1b[37;44m Help",
            100,
        );
        assert_eq!(blue.highlighted(), [" Edit "]);
        assert_eq!(screen.row(0), " Install  Rescue");
        assert_eq!(screen.row(99), "");
        assert_eq!(screen.cursor(), Cursor { row: 2, column: 19 });
        assert!(screen.cursor_is_hidden());
        assert_eq!(screen.to_string(), screen.rows().join("\n"));
    }

    #[test]
    fn whatever_a_guest_prints_costs_little_and_breaks_nothing() {
        let words: Vec<&[u8]> = b"\x1b [ ] ; 1 7 80 65535 H J K L M P @ S T X r m h l ? \x07 \r \n \t \x08 \
             \x1bM \x1b7 \x1b8 \x1bc \x1b[?1049h \x1b[?1049l \x1b[?6h \x1b[3;9r a \xff \xe4\xb8\xad \xcc\x81"
            .split(|&byte| byte == b' ')
            .collect();
        let mut random = 88_172_645_463_325_252_u64;
        for size in [(80, 24), (2, 2), (80, 2), (2, 24), (0, 0)] {
            let terminal = Terminal::new(ScreenSize {
                columns: size.0,
                rows: size.1,
            });
            for _ in 0..20_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let word = words[usize::try_from(random % words.len() as u64).unwrap()];
                terminal.show(word);
            }
            terminal.screen().highlighted();
        }
        // As it stands in a sequence, 65535 would cost minutes.
        let terminal = Terminal::new(ScreenSize {
            columns: 80,
            rows: 24,
        });
        let begun = Instant::now();
        terminal.show(&b"\x1b[65535@\x1b[65535L\x1b[65535T".repeat(100));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
