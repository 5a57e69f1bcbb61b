//! A console's screen, as a terminal would show it.
//!
//! Pure, except for the notices to waiters. The terminal itself is `vt100`'s. A
//! guest may print anything, so a sanitizer keeps expensive output from it.

mod sanitizer;
mod shows;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use qemu_qmp_engine::Watched;

use crate::spec::ScreenSize;
use sanitizer::Sanitizer;
pub use shows::{ScreenError, ScreenShows};

/// A console's screen at one moment, as a terminal would show it.
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

/// A position on a screen, counted from 0 at the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cursor {
    /// How many rows are above it.
    pub row: u16,
    /// How many columns are to its left.
    pub column: u16,
}

impl Screen {
    /// The text of all rows, with line ends between them. Blanks at the ends of
    /// rows are left out.
    pub fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// The text of each row, without blanks at its end.
    pub fn rows(&self) -> Vec<String> {
        let (_, columns) = self.cells.size();
        self.cells
            .rows(0, columns)
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    /// The text of one row, counted from 0; empty below the last row.
    pub fn row(&self, row: u16) -> String {
        self.rows().into_iter().nth(row.into()).unwrap_or_default()
    }

    /// The cursor's position. After output to a row's last column, it stays
    /// there.
    pub fn cursor(&self) -> Cursor {
        let (row, column) = self.cells.cursor_position();
        let (_, columns) = self.cells.size();
        Cursor {
            row,
            column: column.min(columns.saturating_sub(1)),
        }
    }

    /// Whether the cursor is hidden; many full-screen programs hide it.
    pub fn cursor_is_hidden(&self) -> bool {
        self.cells.hide_cursor()
    }

    /// The highlighted texts, from the top, such as the chosen entry of a menu.
    ///
    /// A text is highlighted if its background differs from most of the screen,
    /// by colour or by reverse video. Neighbours in a row with the same
    /// background are one text.
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

/// The background of a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Background {
    Colour(vt100::Color),
    /// The default colour of text.
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
    /// A counter that grows with each change, and at the end.
    changes: Watched<u64>,
}

struct State {
    parser: vt100::Parser,
    sanitizer: Sanitizer,
}

impl Terminal {
    pub(super) fn new(size: ScreenSize) -> Self {
        // A smaller screen has no room for a wide character.
        let (rows, columns) = (size.rows.max(2), size.columns.max(2));
        Self {
            state: Mutex::new(State {
                parser: vt100::Parser::new(rows, columns, 0),
                sanitizer: Sanitizer::new(rows.max(columns)),
            }),
            changes: Watched::default(),
        }
    }

    /// Shows more bytes of the stream. It does not notify the waiters.
    pub(super) fn show(&self, bytes: &[u8]) {
        let State { parser, sanitizer } = &mut *self.lock();
        sanitizer.push(bytes, |bytes| parser.process(bytes));
    }

    pub(super) fn screen(&self) -> Screen {
        let cells = self.lock().parser.screen().clone();
        Screen { cells }
    }

    /// Makes the waiters look again.
    pub(super) fn notify(&self) {
        self.changes.change(|changes| *changes += 1);
    }

    /// Waits for a notice after this call.
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
        // Passed on unchanged, a count of 65535 would take minutes.
        let terminal = Terminal::new(ScreenSize {
            columns: 80,
            rows: 24,
        });
        let begun = Instant::now();
        terminal.show(&b"\x1b[65535@\x1b[65535L\x1b[65535T".repeat(100));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
