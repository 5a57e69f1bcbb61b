//! When the line is shown, and its text. Pure.

use std::time::{Duration, Instant};

/// The line, and all that decides about it.
#[derive(Debug)]
pub(super) struct Line {
    /// It is on the terminal, or is about to be.
    pub(super) is_shown: bool,
    pub(super) is_stopped: bool,
    /// How many writes of other bytes are under way.
    pub(super) writers: usize,
    /// The last of the other bytes did not end their line.
    is_midway: bool,
    phase: Option<(String, Instant)>,
}

impl Line {
    pub(super) const NEW: Self = Self {
        is_shown: false,
        is_stopped: false,
        writers: 0,
        is_midway: false,
        phase: None,
    };

    pub(super) fn begin(&mut self, what: &str, now: Instant) {
        self.phase = Some((printable(what), now));
    }

    pub(super) fn end(&mut self) {
        self.phase = None;
    }

    /// Other bytes were written. If another program may still bring them to the
    /// terminal, the line stays away.
    pub(super) fn has_seen(&mut self, bytes: &[u8], leads_elsewhere: bool) {
        if let Some(last) = bytes.last() {
            self.is_midway = *last != b'\n';
            self.is_stopped |= leads_elsewhere;
        }
    }

    /// What is to be on the terminal; `None` is nothing.
    pub(super) fn text(&self, now: Instant) -> Option<String> {
        let (what, since) = self.visible_phase()?;
        let elapsed = now.saturating_duration_since(since);
        let frame = elapsed.checked_sub(PATIENCE)?.as_millis() / TICK.as_millis();
        let frame = FRAMES[usize::try_from(frame).unwrap_or_default() % FRAMES.len()];
        let seconds = elapsed.as_secs();
        let time = match seconds {
            0..60 => format!("{seconds} s"),
            _ => format!("{} min {} s", seconds / 60, seconds % 60),
        };
        // Without wrapping at the right margin, it is never two lines.
        Some(format!("\r\x1b[K\x1b[?7l{frame} {what} ({time})\x1b[?7h"))
    }

    /// How long nothing changes; `None` is until somebody changes it.
    pub(super) fn next_change(&self, now: Instant) -> Option<Duration> {
        let Some((_, since)) = self.visible_phase() else {
            return self.is_shown.then_some(Duration::ZERO);
        };
        let elapsed = now.saturating_duration_since(since);
        Some(PATIENCE.saturating_sub(elapsed).max(TICK))
    }

    fn visible_phase(&self) -> Option<(&str, Instant)> {
        let is_hidden = self.is_stopped || self.writers > 0 || self.is_midway;
        let (what, since) = self.phase.as_ref().filter(|_| !is_hidden)?;
        Some((what, *since))
    }
}

/// The text without what a terminal would obey, and not too long.
fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MOST_LETTERS)
        .flat_map(|letter| {
            let is_plain = !letter.is_control();
            let escaped = (!is_plain).then(|| letter.escape_default());
            is_plain
                .then_some(letter)
                .into_iter()
                .chain(escaped.into_iter().flatten())
        })
        .collect();
    if text.chars().nth(MOST_LETTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether the process of this `/proc/PID/stat` may write to its terminal: the
/// terminal's group is its own, or it has no terminal.
pub(super) fn is_in_foreground(stat: &str) -> bool {
    // The name may have blanks and brackets.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return true;
    };
    // State, parent, group, session, terminal, the terminal's group.
    let mut fields = rest.split_ascii_whitespace().skip(2);
    match (fields.next(), fields.nth(2)) {
        (Some(group), Some(foreground)) => foreground == group || foreground.starts_with('-'),
        _ => true,
    }
}

/// Takes the line away.
pub(super) const ERASE: &str = "\r\x1b[K";

/// A wait that is shorter shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);

const TICK: Duration = Duration::from_millis(125);

/// ASCII, which every locale has.
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

const MOST_LETTERS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &Line, now: Instant) -> Option<String> {
        let text = line.text(now)?;
        let text = text.strip_prefix("\r\x1b[K\x1b[?7l").unwrap();
        Some(text.strip_suffix("\x1b[?7h").unwrap().to_owned())
    }

    #[test]
    fn a_long_phase_is_shown_and_a_short_one_is_not() {
        let mut line = Line::NEW;
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        assert_eq!(line.next_change(begin), None);
        line.begin("waiting for 'a'", begin);
        assert_eq!(shown(&line, after(499)), None);
        assert_eq!(line.next_change(begin), Some(PATIENCE));
        assert_eq!(shown(&line, after(500)).unwrap(), "| waiting for 'a' (0 s)");
        assert_eq!(
            shown(&line, after(1250)).unwrap(),
            "- waiting for 'a' (1 s)"
        );
        assert_eq!(
            shown(&line, after(125_000)).unwrap(),
            "| waiting for 'a' (2 min 5 s)"
        );
        assert_eq!(line.next_change(after(700)), Some(TICK));
        line.end();
        assert_eq!(shown(&line, after(900)), None);
    }

    #[test]
    fn the_line_is_away_during_writes_and_within_a_line() {
        let begin = Instant::now();
        let now = begin + Duration::from_secs(1);
        let mut line = Line::NEW;
        line.begin("x", begin);
        line.writers = 1;
        line.is_shown = true;
        assert!(line.text(now).is_none());
        // It is still to be erased.
        assert_eq!(line.next_change(now), Some(Duration::ZERO));
        (line.writers, line.is_shown) = (0, false);
        line.has_seen(b"login: ", false);
        assert!(line.text(now).is_none());
        assert_eq!(line.next_change(now), None);
        line.has_seen(b"root\n", false);
        assert!(line.text(now).is_some());
        line.has_seen(b"", true);
        assert!(line.text(now).is_some());
        // Another program has the bytes now.
        line.has_seen(b"a\n", true);
        assert!(line.text(now).is_none());
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        assert_eq!(printable("a\x1b[2J\r\né"), "a\\u{1b}[2J\\r\\né");
        let long = "x".repeat(100);
        assert_eq!(printable(&long).chars().count(), MOST_LETTERS + 1);
    }

    #[test]
    fn a_background_job_is_told_from_one_that_has_the_terminal() {
        let stat = |group, foreground| format!("7 (a) b) S 1 {group} 5 34816 {foreground} 4194304");
        assert!(is_in_foreground(&stat(7, "7")));
        assert!(!is_in_foreground(&stat(7, "5")));
        assert!(is_in_foreground(&stat(7, "-1")));
        assert!(is_in_foreground(""));
    }
}
