//! Waiting for what a screen shows.
//!
//! QEMU has no event of a change on its screen, so it is asked again and again,
//! at a pace. [`Watch`] decides by what it is shown, and asks for nothing.

use std::fmt;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{self as engine, Elapsed, operation, race, timeout_option};

use super::{Display, DisplayError, Screenshot, Tolerance};

/// Waits for what the screen shows, and gives it; made by [`Display::expect`] and
/// [`Display::still`].
///
/// # Errors
/// Each variant of [`DisplayError`] says when.
///
/// # Cancel safety
/// As for [`TakeScreenshot`](super::TakeScreenshot).
#[derive(Debug, Clone)]
#[must_use = "nothing is waited for until awaited or waited for"]
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
}

impl WatchDisplay {
    pub(super) fn new(display: Display, goal: Goal) -> Self {
        let tolerance = match goal {
            Goal::Match(_) => Tolerance::EXACT,
            Goal::Still(_) => BLINKING,
        };
        Self {
            timeout: display.qmp.deadlines().limit(),
            display,
            goal,
            tolerance,
            pace: PACE,
        }
    }

    /// How far what is shown may differ from the picture, or from what it was
    /// when it came to stand still.
    pub fn tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Looks again so long after each look, instead of 100 ms. What comes and
    /// goes between two looks is not seen.
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
        // The end of the connection, and what may hold the guest, do not
        // wait for the next look.
        let mut end = display.qmp.events_named(["GUEST_PANICKED", "STOP"]);
        let looks = async {
            loop {
                let asked = deadlines.now();
                // Known before the look, which shows what such a guest shows
                // for good.
                let is_held = display.context.paused_for_good().is_some();
                let shown = display.take().await.map_err(Some)?;
                if watch.look(asked, deadlines.now(), shown) {
                    return Ok(());
                }
                if is_held && watch.awaits_change() {
                    return Err(None);
                }
                // After the end, the next look fails with its cause.
                race(engine::pause(pace), end.next().timeout(None).into_future()).await;
            }
        };
        match deadlines.timeout(timeout, looks).await {
            Ok(Ok(())) => Ok(watch.last.expect("what was waited for was seen")),
            Ok(Err(Some(error))) => Err(error),
            Ok(Err(None)) => Err(display.guest_held(watch.to_string(), watch.last)),
            Err(Elapsed(limit)) => Err(display.timeout(watch.to_string(), limit, watch.last)),
        }
    }
}

/// What was seen of a screen, and whether it is what is waited for.
#[derive(Debug)]
struct Watch {
    goal: Goal,
    tolerance: Tolerance,
    last: Option<Screenshot>,
    /// What part of the last picture was different from what it was compared
    /// with.
    difference: f64,
    /// Since when it stands still, and what it showed then.
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

    /// Whether what is waited for is a change.
    fn awaits_change(&self) -> bool {
        matches!(self.goal, Goal::Match(_))
    }

    /// Takes what was shown at a time between these two; tells whether that was
    /// waited for.
    fn look(&mut self, asked: Instant, told: Instant, shown: Screenshot) -> bool {
        let wanted = match &self.goal {
            Goal::Match(picture) => Some(picture),
            // With the first one, so that no slow change is taken for none.
            Goal::Still(_) => self.still.as_ref().map(|(_, first)| first),
        };
        let (channel, tolerance) = (self.tolerance.channel, self.tolerance);
        self.difference = wanted.map_or(1.0, |it| it.difference(&shown, channel));
        let matches = wanted.is_some_and(|it| it.matches(&shown, tolerance));
        let is_seen = match (&self.goal, &self.still) {
            (Goal::Match(_), _) => matches,
            // The least that can have passed between the two.
            (Goal::Still(time), Some((since, _))) if matches => {
                asked.saturating_duration_since(*since) >= *time
            }
            (Goal::Still(time), _) => {
                self.still = Some((told, shown.clone()));
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
            (_, None) => f.write_str("show itself"),
            (Goal::Match(picture), Some(last)) => {
                let size = |it: &Screenshot| (it.width(), it.height());
                f.write_str("look as expected")?;
                if size(picture) == size(last) {
                    return write!(f, " (last, {part:.3} % of its pixels were different)");
                }
                write!(f, " (last, it was a {last:?}, and not a {picture:?})")
            }
            (Goal::Still(time), Some(_)) => write!(f, "stand still for {time:?}"),
        }
    }
}

/// How long after a look the next one is: a person would not see it sooner, and
/// a look costs QEMU some milliseconds.
const PACE: Duration = Duration::from_millis(100);

/// A cursor of text is no larger than 9x16 of 720x400 pixels.
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
        let told = watch.to_string();
        assert!(told.contains("100.000 % of its pixels"), "{told}");
        assert_eq!(watch.last, Some(plain(103)));
    }

    #[test]
    fn it_stands_still_if_it_has_for_the_whole_time() {
        // From the end of a look to the begin of another there are 9 s, 19 s, …
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
    fn a_slow_change_is_a_change() {
        let tolerance = Tolerance {
            channel: 1,
            share: 0.0,
        };
        let mut watch = Watch::new(Goal::Still(Duration::from_secs(19)), tolerance);
        assert_eq!(seen(&mut watch, &[1, 2, 3, 4, 5, 6]), [false; 6]);
        let told = watch.to_string();
        assert!(told.contains("stand still for 19s"), "{told}");
    }
}
