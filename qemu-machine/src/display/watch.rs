//! Waits until a screen shows the expected picture, or stops changing.
//!
//! QEMU has no event for a change of its screen, so pictures are taken at
//! intervals. [`Watch`] is pure: it decides from the pictures that it receives.

use std::fmt;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{self as engine, Elapsed, operation, race, timeout_option};

use super::take::NO_PICTURE;
use super::{Display, DisplayError, Screenshot, Tolerance};

/// Waits for a picture on the screen and returns it; returned by
/// [`Display::expect`], [`Display::still`] and [`Display::change`].
///
/// # Errors
/// Each variant of [`DisplayError`] says when.
///
/// # Cancel safety
/// As for [`TakeScreenshot`](super::TakeScreenshot).
#[derive(Debug, Clone)]
#[must_use = "no picture is taken until awaited or waited for"]
pub struct WatchDisplay {
    display: Display,
    goal: Goal,
    tolerance: Tolerance,
    pace: Duration,
    timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) enum Goal {
    Match(Screenshot),
    Still(Duration),
    Change,
}

impl WatchDisplay {
    pub(super) fn new(display: Display, goal: Goal) -> Self {
        let tolerance = match goal {
            Goal::Match(_) => Tolerance::EXACT,
            Goal::Still(_) | Goal::Change => BLINKING,
        };
        Self {
            timeout: display.qmp.deadlines().limit(),
            display,
            goal,
            tolerance,
            pace: PACE,
        }
    }

    /// Sets how much the screen may differ from the expected picture, or from
    /// the first picture of the wait.
    pub fn tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets the time between two pictures, instead of 100 ms. A change that
    /// disappears between two pictures is not seen.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }
}

timeout_option!(WatchDisplay, timeout);

operation!(WatchDisplay => Result<Screenshot, DisplayError>);

impl WatchDisplay {
    async fn run(self) -> Result<Screenshot, DisplayError> {
        let Self {
            display,
            goal,
            tolerance,
            pace,
            timeout,
        } = self;
        let deadlines = display.qmp.deadlines();
        let mut watch = Watch::new(goal, tolerance);
        // An event that may pause the guest, and the end of the connection,
        // make the next look start at once.
        let mut end = display.qmp.events_named(["GUEST_PANICKED", "STOP"]);
        let looks = async {
            loop {
                let asked = deadlines.now();
                // Read before the look: a guest that was paused by then does
                // not change its screen after the look.
                let is_paused = display.is_paused_for_good();
                let shown = display.take().await.map_err(Some)?;
                if watch.look(asked, deadlines.now(), shown) {
                    return Ok(());
                }
                if is_paused && watch.awaits_change() {
                    return Err(None);
                }
                // After the end, the next look fails with its cause.
                race(engine::pause(pace), end.next().timeout(None).into_future()).await;
            }
        };
        match deadlines.timeout(timeout, looks).await {
            Ok(Ok(())) => Ok(watch.last.expect("a look has succeeded")),
            Ok(Err(Some(error))) => Err(error),
            Ok(Err(None)) => Err(display.guest_paused(watch.to_string(), watch.last)),
            Err(Elapsed(limit)) => {
                display.canvas.settle().await;
                Err(display.timeout(watch.to_string(), limit, watch.last))
            }
        }
    }
}

/// The pictures seen so far, and the decision whether the wait is over.
#[derive(Debug)]
struct Watch {
    goal: Goal,
    tolerance: Tolerance,
    last: Option<Screenshot>,
    /// The share of pixels in which the last picture differed from the expected
    /// one.
    difference: f64,
    /// Since when the screen is still, and its first picture since then.
    still: Option<(Instant, Screenshot)>,
}

impl Watch {
    fn new(goal: Goal, tolerance: Tolerance) -> Self {
        Self {
            goal,
            tolerance,
            last: None,
            difference: 1.0,
            still: None,
        }
    }

    /// Whether the goal needs a change of the screen.
    fn awaits_change(&self) -> bool {
        matches!(self.goal, Goal::Match(_) | Goal::Change)
    }

    /// Takes a picture that was made between these two times. Returns whether
    /// the goal is reached.
    fn look(&mut self, asked: Instant, answered: Instant, shown: Screenshot) -> bool {
        let expected = match &self.goal {
            Goal::Match(picture) => Some(picture),
            // Compared with the first picture, so a slow change counts.
            Goal::Still(_) | Goal::Change => self.still.as_ref().map(|(_, first)| first),
        };
        let (channel, tolerance) = (self.tolerance.channel, self.tolerance);
        self.difference = expected.map_or(1.0, |it| it.difference(&shown, channel));
        let matches = expected.is_some_and(|it| it.matches(&shown, tolerance));
        let is_seen = match (&self.goal, &self.still) {
            (Goal::Match(_), _) => matches,
            // The shortest time that can be between the two pictures.
            (Goal::Still(time), Some((since, _))) if matches => {
                asked.saturating_duration_since(*since) >= *time
            }
            (Goal::Change, Some(_)) => !matches,
            (Goal::Change, None) => {
                self.still = Some((answered, shown.clone()));
                false
            }
            (Goal::Still(time), _) => {
                self.still = Some((answered, shown.clone()));
                time.is_zero()
            }
        };
        self.last = Some(shown);
        is_seen
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.difference * 100.0;
        match (&self.goal, &self.last) {
            (_, None) => f.write_str(NO_PICTURE),
            (Goal::Match(picture), Some(last)) => {
                let size = |it: &Screenshot| (it.width(), it.height());
                f.write_str("look as expected")?;
                if size(picture) == size(last) {
                    return write!(f, " ({part:.3} % of its pixels were different)");
                }
                write!(f, " (it was a {last:?}, not a {picture:?})")
            }
            (Goal::Change, Some(_)) => write!(f, "change ({part:.3} % of its pixels did)"),
            (Goal::Still(time), Some(_)) => write!(f, "stay the same for {time:?}"),
        }
    }
}

/// The time between two looks: a person would not react sooner, and a look costs
/// QEMU a few milliseconds.
const PACE: Duration = Duration::from_millis(100);

/// The cursor of a text screen has up to 9x16 of 720x400 pixels.
const BLINKING: Tolerance = Tolerance {
    channel: 0,
    share: 0.001,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(grey: u8) -> Screenshot {
        Screenshot::from_rgb(1, 1, vec![grey; 3]).unwrap()
    }

    /// Looks that take 1 s each, one every 10 s.
    fn seen(watch: &mut Watch, greys: &[u8]) -> Vec<bool> {
        let begin = Instant::now();
        let second = |number| begin + Duration::from_secs(number);
        let look = |(number, &grey): (u64, _)| {
            watch.look(second(10 * number), second(10 * number + 1), plain(grey))
        };
        (0..).zip(greys).map(look).collect()
    }

    #[test]
    fn a_picture_is_waited_for_within_its_tolerance() {
        let tolerance = Tolerance {
            channel: 2,
            share: 0.0,
        };
        let mut watch = Watch::new(Goal::Match(plain(100)), tolerance);
        assert_eq!(
            seen(&mut watch, &[0, 97, 98, 103]),
            [false, false, true, false]
        );
        let text = watch.to_string();
        assert!(text.contains("100.000 % of its pixels"), "{text}");
        assert_eq!(watch.last, Some(plain(103)));
    }

    #[test]
    fn it_stands_still_if_it_has_for_the_whole_time() {
        // From the end of one look to the start of a later one: 9 s, 19 s, …
        let still = |seconds| Goal::Still(Duration::from_secs(seconds));
        let mut watch = Watch::new(still(19), Tolerance::EXACT);
        assert_eq!(
            seen(&mut watch, &[1, 1, 2, 2, 2]),
            [false, false, false, false, true]
        );
        let mut watch = Watch::new(still(20), Tolerance::EXACT);
        assert_eq!(seen(&mut watch, &[1, 1, 1, 1]), [false, false, false, true]);
        let mut watch = Watch::new(still(0), Tolerance::EXACT);
        assert_eq!(seen(&mut watch, &[1]), [true]);
    }

    #[test]
    fn a_change_is_one_from_the_first_picture() {
        let mut watch = Watch::new(Goal::Change, Tolerance::EXACT);
        assert_eq!(seen(&mut watch, &[1, 1, 2]), [false, false, true]);
        let tolerance = Tolerance {
            channel: 2,
            share: 0.0,
        };
        let mut watch = Watch::new(Goal::Change, tolerance);
        assert_eq!(seen(&mut watch, &[1, 2, 3, 4]), [false, false, false, true]);
    }

    #[test]
    fn a_slow_change_is_a_change() {
        let tolerance = Tolerance {
            channel: 1,
            share: 0.0,
        };
        let mut watch = Watch::new(Goal::Still(Duration::from_secs(19)), tolerance);
        assert_eq!(seen(&mut watch, &[1, 2, 3, 4, 5, 6]), [false; 6]);
        let text = watch.to_string();
        assert!(text.contains("stay the same for 19s"), "{text}");
    }
}
