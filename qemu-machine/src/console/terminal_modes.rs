//! The modes of a person's terminal that a guest changed, and how to undo that.
//!
//! Pure: bytes go in as the terminal takes them. Only changed modes are undone,
//! because a terminal may have unusual settings.

use std::collections::BTreeSet;

use super::sequences::{ControlSequence, Part, Sequences};

/// The changes by the bytes so far.
#[derive(Debug, Default)]
pub(super) struct TerminalModes {
    sequences: Sequences,
    changed: Changed,
}

#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a mode by itself.
struct Changed {
    /// DEC's private modes that differ from [`PRIVATE_MODES`].
    private: BTreeSet<u16>,
    /// ANSI's modes that differ from [`ANSI_MODES`].
    ansi: BTreeSet<u16>,
    /// Operating system commands that set a colour.
    palette: BTreeSet<u16>,
    keypad: bool,
    /// Colours, bold and so on.
    rendition: bool,
    scroll_region: bool,
    cursor_style: bool,
    /// The second character set is active.
    shift: bool,
    /// The first character set was replaced.
    charset: bool,
    /// UTF-8 was turned off.
    coding: bool,
    /// Levels of kitty's keyboard protocol.
    keyboard_levels: u16,
    keyboard_flags: bool,
    /// xterm's `modifyOtherKeys` and the like.
    key_modifiers: BTreeSet<u16>,
}

impl TerminalModes {
    /// Reads bytes that the terminal has taken.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Self { sequences, changed } = self;
        sequences.push(bytes, &mut |part| match part {
            Part::Text(text) => changed.text(text),
            Part::Sequence(sequence) => changed.sequence(sequence),
            Part::Fragment(_) => {}
        });
    }

    /// The bytes that undo the changes; empty without changes.
    pub(super) fn undo(&self) -> Vec<u8> {
        let mut undo = Vec::new();
        if self.sequences.is_within() {
            // CAN breaks a sequence off, and ST ends a string.
            undo.extend_from_slice(b"\x18\x1b\\");
        }
        self.changed.undo(&mut undo);
        undo
    }
}

impl Changed {
    fn text(&mut self, text: &[u8]) {
        for &byte in text {
            match byte {
                SHIFT_OUT => self.shift = true,
                SHIFT_IN => self.shift = false,
                _ => {}
            }
        }
    }

    fn sequence(&mut self, sequence: &[u8]) {
        if let Some(control) = ControlSequence::of(sequence) {
            self.control(&control);
            return;
        }
        match &sequence[1..] {
            // A terminal resets itself.
            b"c" => *self = Self::default(),
            b"=" => self.keypad = true,
            b">" => self.keypad = false,
            b"n" | b"o" => self.shift = true,
            b"%@" => self.coding = true,
            b"%G" | b"%8" => self.coding = false,
            [b'(', set @ ..] => self.charset = set != b"B",
            [b']', body @ ..] => self.command(body),
            _ => {}
        }
    }

    fn control(&mut self, it: &ControlSequence) {
        let marker = it.marker.map_or(' ', char::from);
        match (marker, it.intermediates.as_str(), it.last) {
            ('?', "", b'h' | b'l') => {
                set_modes(&mut self.private, &PRIVATE_MODES, it);
            }
            (' ', "", b'h' | b'l') => set_modes(&mut self.ansi, &ANSI_MODES, it),
            (' ', "", b'm') => self.rendition(&it.parameters),
            (' ', "", b'r') => {
                self.scroll_region = it.numbers().any(|number| number != 0);
            }
            (' ', " ", b'q') => self.cursor_style = it.first_number() != 0,
            ('>', "", b'u') => self.keyboard_levels = self.keyboard_levels.saturating_add(1),
            ('<', "", b'u') => {
                let levels = it.first_number().max(1);
                self.keyboard_levels = self.keyboard_levels.saturating_sub(levels);
            }
            ('=', "", b'u') => self.keyboard_flags = it.first_number() != 0,
            ('>', "", b'm') => self.modifiers(it),
            _ => {}
        }
    }

    /// Select Graphic Rendition. A colour has further parameters; a 0 among them
    /// resets nothing.
    fn rendition(&mut self, parameters: &str) {
        let mut parameters = parameters.split(';');
        while let Some(parameter) = parameters.next() {
            match parameter {
                "" | "0" | "00" => self.rendition = false,
                "38" | "48" | "58" => {
                    self.rendition = true;
                    let own = match parameters.next() {
                        Some("5") => 1,
                        Some("2") => 3,
                        _ => 0,
                    };
                    parameters.by_ref().take(own).for_each(drop);
                }
                _ => self.rendition = true,
            }
        }
    }

    fn modifiers(&mut self, it: &ControlSequence) {
        let mut numbers = it.numbers();
        let resource = numbers.next().unwrap_or(0);
        if numbers.next().is_some_and(|value| value != 0) {
            self.key_modifiers.insert(resource);
        } else {
            self.key_modifiers.remove(&resource);
        }
    }

    /// An operating system command. Only colours are undone.
    fn command(&mut self, body: &[u8]) {
        let end = body
            .iter()
            .position(|&byte| byte == b';' || byte == 0x07 || byte == 0x1b)
            .unwrap_or(body.len());
        let number = std::str::from_utf8(&body[..end]).ok();
        let asks = body[end..].starts_with(b";?");
        match number.and_then(|number| number.parse::<u16>().ok()) {
            Some(number @ (4 | 5 | 10..=19)) if !asks => {
                self.palette.insert(number);
            }
            Some(number @ (104 | 105 | 110..=119)) => {
                self.palette.remove(&(number - 100));
            }
            _ => {}
        }
    }

    fn undo(&self, undo: &mut Vec<u8>) {
        // First the modes that hide the rest.
        for &(mode, on) in &PRIVATE_MODES {
            if self.private.contains(&mode) && !IN_ORDER.contains(&mode) {
                put(undo, &format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }));
            }
        }
        for _ in 0..self.keyboard_levels.min(KEYBOARD_LEVELS) {
            put(undo, "\x1b[<u");
        }
        if self.keyboard_flags {
            put(undo, "\x1b[=0u");
        }
        for resource in &self.key_modifiers {
            put(undo, &format!("\x1b[>{resource}m"));
        }
        if self.keypad {
            put(undo, "\x1b>");
        }
        for &(mode, on) in &ANSI_MODES {
            if self.ansi.contains(&mode) {
                put(undo, &format!("\x1b[{mode}{}", if on { 'h' } else { 'l' }));
            }
        }
        self.undo_regions(undo);
        if self.cursor_style {
            put(undo, "\x1b[0 q");
        }
        if self.coding {
            put(undo, "\x1b%G");
        }
        if self.charset {
            put(undo, "\x1b(B");
        }
        if self.shift {
            undo.push(SHIFT_IN);
        }
        for number in &self.palette {
            put(undo, &format!("\x1b]{}\x1b\\", number + 100));
        }
        if self.rendition {
            put(undo, "\x1b[0m");
        }
    }

    /// The scroll region, the origin and the screen: each moves the cursor.
    fn undo_regions(&self, undo: &mut Vec<u8>) {
        let screens = [1049, 1047, 47];
        let is_alternate = screens.iter().any(|mode| self.private.contains(mode));
        let is_origin = self.private.contains(&ORIGIN_MODE);
        if self.scroll_region {
            // The other screen saved the cursor, and restores it at its end.
            put(
                undo,
                if is_alternate {
                    "\x1b[r"
                } else {
                    "\x1b7\x1b[r\x1b8"
                },
            );
        }
        for mode in screens {
            if self.private.contains(&mode) {
                put(undo, &format!("\x1b[?{mode}l"));
            }
        }
        if is_origin {
            // This moves the cursor to the top, so move it to the bottom.
            put(undo, &format!("\x1b[?{ORIGIN_MODE}l\x1b[999;1H"));
        }
    }
}

/// Keeps the modes that now differ from their default.
fn set_modes(changed: &mut BTreeSet<u16>, modes: &[(u16, bool)], it: &ControlSequence) {
    let is_set = it.last == b'h';
    for number in it.numbers() {
        match modes.iter().find(|(mode, _)| *mode == number) {
            Some((_, default)) if *default == is_set => {
                changed.remove(&number);
            }
            Some(_) => {
                changed.insert(number);
            }
            None => {}
        }
    }
}

fn put(undo: &mut Vec<u8>, sequence: &str) {
    undo.extend_from_slice(sequence.as_bytes());
}

/// DEC's private modes, and those of xterm and others, with their default.
const PRIVATE_MODES: [(u16, bool); 26] = [
    // Synchronized output: nothing is shown until it ends.
    (2026, false),
    // The mouse, its coordinates, the focus.
    (9, false),
    (1000, false),
    (1001, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1005, false),
    (1006, false),
    (1015, false),
    (1016, false),
    // Bracketed paste; reports of colours and of the size.
    (2004, false),
    (2031, false),
    (2048, false),
    // Cursor keys, keypad.
    (1, false),
    (66, false),
    // Reverse video, automatic wrap and repeat, wrap backwards, margins.
    (5, false),
    (7, true),
    (8, true),
    (45, false),
    (69, false),
    // The cursor.
    (25, true),
    // Undone in a fixed order.
    (ORIGIN_MODE, false),
    (47, false),
    (1047, false),
    (1049, false),
];

const ORIGIN_MODE: u16 = 6;
const IN_ORDER: [u16; 4] = [ORIGIN_MODE, 47, 1047, 1049];

/// Locked keyboard, insertion, no local echo, line feed as new line.
const ANSI_MODES: [(u16, bool); 4] = [(2, false), (4, false), (12, true), (20, false)];

/// More levels than terminals keep.
const KEYBOARD_LEVELS: u16 = 32;

const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(stream: &str) -> String {
        let whole = |pieces: &[&[u8]]| {
            let mut modes = TerminalModes::default();
            for piece in pieces {
                modes.take(piece);
            }
            String::from_utf8(modes.undo()).unwrap()
        };
        let undo = whole(&[stream.as_bytes()]);
        for split in 0..=stream.len() {
            let (before, after) = stream.as_bytes().split_at(split);
            assert_eq!(whole(&[before, after]), undo, "{stream:?} at {split}");
        }
        undo
    }

    #[test]
    fn what_a_guest_has_set_is_undone() {
        for (stream, expected) in [
            ("\x1b[?7l", "\x1b[?7h"),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?1049h", "\x1b[?1049l"),
            ("\x1b[?47h", "\x1b[?47l"),
            ("\x1b[?1000;1006h", "\x1b[?1000l\x1b[?1006l"),
            ("\x1b[?1003h\x1b[?1004h", "\x1b[?1003l\x1b[?1004l"),
            ("\x1b[?2004h", "\x1b[?2004l"),
            ("\x1b[?1h\x1b=", "\x1b[?1l\x1b>"),
            ("\x1b[1;31m", "\x1b[0m"),
            ("\x1b[0;38;5;0m", "\x1b[0m"),
            ("\x1b[48;2;0;0;0m", "\x1b[0m"),
            ("\x1b[38:5:0m", "\x1b[0m"),
            ("\x1b[5;20r", "\x1b7\x1b[r\x1b8"),
            ("\x1b[?1049h\x1b[5;20r", "\x1b[r\x1b[?1049l"),
            ("\x1b[?6h", "\x1b[?6l\x1b[999;1H"),
            ("\x0e", "\x0f"),
            ("\x1b(0", "\x1b(B"),
            ("\x1b%@", "\x1b%G"),
            ("\x1b[4h", "\x1b[4l"),
            ("\x1b[20h\x1b[12l", "\x1b[12h\x1b[20l"),
            ("\x1b[4 q", "\x1b[0 q"),
            ("\x1b[>1u\x1b[>5u", "\x1b[<u\x1b[<u"),
            ("\x1b[>4;2m", "\x1b[>4m"),
            ("\x1b]11;#000000\x07", "\x1b]111\x1b\\"),
        ] {
            assert_eq!(undo(stream), expected, "{stream:?}");
        }
    }

    #[test]
    fn what_the_guest_has_undone_itself_or_never_set_is_left_alone() {
        for stream in [
            "text\r\n",
            "\x1b[?7l\x1b[?7h",
            "\x1b[?25h\x1b[?12l",
            "\x1b[?1049h\x1b[2J\x1b[?1049l",
            "\x1b[31mred\x1b[m\x1b[1mbold\x1b[0m",
            "\x1b[1;31;0m",
            "\x1b[2;5r\x1b[r",
            "\x0ex\x0f\x1b(0x\x1b(B",
            "\x1b=\x1b>",
            "\x1b[?1;25;7;2004;1000lx\x1b[?25;7h",
            "\x1b[>1u\x1b[<u\x1b[>4;1m\x1b[>4m",
            "\x1b]11;?\x07\x1b]0;title\x07",
            "\x1b]10;red\x07\x1b]110\x07",
            "\x1b[?1049h\x1b[?25l\x1b[31m\x1bc",
        ] {
            assert_eq!(undo(stream), "", "{stream:?}");
        }
    }

    #[test]
    fn a_sequence_that_is_not_whole_is_broken_off() {
        for stream in ["\x1b", "\x1b[31", "\x1b]0;title", "\x1bPq#0"] {
            let mut modes = TerminalModes::default();
            modes.take(stream.as_bytes());
            assert_eq!(modes.undo(), b"\x18\x1b\\");
        }
    }
}
