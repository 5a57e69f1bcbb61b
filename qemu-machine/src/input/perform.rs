//! Sends strokes one after the other, no faster than the guest reads them.
//!
//! QEMU buffers 16 bytes, about 5 keys, until the guest reads them. It silently
//! drops further keys, and has no event for a read by the guest. On a PC, the
//! status of the keyboard controller shows it: port 0x64, "output buffer full".
//! Reading this port changes nothing. So it is read at intervals before each
//! stroke and after the last one.
//!
//! Without such a controller, only the pace of the strokes limits them.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp::command::QueryStatus;
use qemu_qmp::error::ExecuteError;
use qemu_qmp::supervise::{self, PeerContext};
use qemu_qmp::{Client, Events};
use qemu_qmp_engine::{self as engine, Elapsed, Engine, TurnLock, operation};
use serde_json::{Value, json};

use super::InputError;
use super::stroke::Stroke;

/// An action of a keyboard or mouse; returned by the methods of
/// [`Keyboard`](super::Keyboard) and [`Mouse`](super::Mouse).
///
/// It ends when QEMU has passed all of it to the guest. With a PC's built-in
/// keyboard and mouse, it ends when the guest's driver has read it, or when the
/// guest was reset. The effect is visible on the guest's screen.
///
/// # Errors
/// Each variant of [`InputError`] says when.
///
/// # Cancel safety
/// If the future is dropped, pressed keys and buttons are still released in
/// time. The rest of the action is not done.
#[derive(Debug)]
#[must_use = "nothing is done until awaited or waited for"]
pub struct InputAction {
    input: Input,
    strokes: Result<Vec<Stroke>, InputError>,
    hold: Duration,
    pace: Duration,
    timeout: Timeout,
}

/// The deadline of an action.
#[derive(Debug, Clone, Copy)]
enum Timeout {
    /// This time, and the time that the strokes need.
    BesideStrokes(Option<Duration>),
    /// This time for the whole action.
    Whole(Option<Duration>),
}

impl Timeout {
    /// The time limit of an action whose strokes need `strokes` themselves.
    fn limit(self, strokes: Duration) -> Option<Duration> {
        match self {
            Self::BesideStrokes(limit) => limit.map(|it| it.saturating_add(strokes)),
            Self::Whole(limit) => limit,
        }
    }
}

/// Sends input to a machine.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) engine: &'static Engine,
    pub(crate) qmp: Client,
    pub(crate) context: Arc<dyn PeerContext>,
    pub(crate) turns: Turns,
}

/// One action at a time on each machine.
pub(crate) type Turns = TurnLock<()>;

impl InputAction {
    pub(super) fn new(
        input: Input,
        strokes: Result<Vec<Stroke>, InputError>,
        hold: Duration,
    ) -> Self {
        Self {
            timeout: Timeout::BesideStrokes(input.qmp.deadlines().limit()),
            input,
            strokes,
            hold,
            pace: PACE,
        }
    }

    /// Sets how long each key, chord or button is held.
    pub fn hold(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    /// Sets the time from one key to the next, instead of 20 ms.
    ///
    /// The software of a guest may lose keys that arrive faster than it reads
    /// them: some firmware keeps only 15 keys. The keyboard controller loses
    /// none.
    pub fn pace(mut self, time: Duration) -> Self {
        self.pace = time;
        self
    }

    // Not by `timeout_option!`: the default depends on the length of the text,
    // because a long text needs more than 30 s to type.
    /// Waits at most this long for the whole action. With `None` it waits until
    /// the machine ends.
    ///
    /// The default is the default of the machine (30 s, if that was not
    /// changed), plus the time that the strokes themselves need.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = Timeout::Whole(timeout.into());
        self
    }
}

operation!(InputAction => Result<(), InputError>);

impl InputAction {
    async fn run(self) -> Result<(), InputError> {
        let Self {
            input,
            strokes,
            hold,
            pace,
            timeout,
        } = self;
        let (strokes, mut progress) = (strokes?, Progress::new());
        let all = strokes.len();
        let each = u32::try_from(all).unwrap_or(u32::MAX);
        let limit = timeout.limit(hold.max(pace).saturating_mul(each));
        let perform = input.perform(strokes, hold, pace, &mut progress);
        match input.qmp.deadlines().timeout(limit, perform).await {
            Ok(performed) => performed.map_err(InputError::Execute),
            Err(Elapsed(limit)) => Err(InputError::Timeout {
                machine: input.context.name(),
                done: progress.done,
                all,
                limit,
                waited_for: progress.waited_for,
                seen: input.context.seen(),
            }),
        }
    }
}

/// The progress of an action, for its error.
struct Progress {
    done: usize,
    waited_for: &'static str,
}

impl Progress {
    fn new() -> Self {
        Self {
            done: 0,
            waited_for: "another keyboard or mouse action is running",
        }
    }
}

impl Input {
    /// The input of a QEMU that something else has launched.
    pub(crate) fn of(monitor: &Client) -> io::Result<Self> {
        Ok(Self {
            engine: Engine::start()?,
            qmp: monitor.clone(),
            context: supervise::context(monitor),
            turns: Turns::default(),
        })
    }

    async fn perform(
        &self,
        strokes: Vec<Stroke>,
        hold: Duration,
        pace: Duration,
        progress: &mut Progress,
    ) -> Result<(), ExecuteError> {
        let turn = Arc::new(self.turns.lock().await);
        let mut resets = self.qmp.events_named(["RESET"]);
        // This fails if the guest is paused, before anything waits for it.
        progress.waited_for = QEMU;
        send(&self.qmp, &[]).await?;
        for stroke in strokes {
            self.guest_has_read(progress, None).await?;
            let begun = Instant::now();
            // On the engine: keys that went down come up again even if the
            // future is dropped, and no other action runs before that.
            let (qmp, turn) = (self.qmp.clone(), Arc::clone(&turn));
            let made = self.engine.spawn(async move {
                let made = make(&qmp, &stroke, hold).await;
                drop(turn);
                made
            });
            made.await.transpose()?;
            progress.done += 1;
            pause(&self.qmp, pace.saturating_sub(begun.elapsed())).await;
        }
        // A chord may reset the guest, and then nobody may be there to read the rest.
        self.guest_has_read(progress, Some(&mut resets)).await
    }

    /// Waits until the keyboard controller of a PC is empty, or until one of these
    /// resets.
    async fn guest_has_read(
        &self,
        progress: &mut Progress,
        mut resets: Option<&mut Events>,
    ) -> Result<(), ExecuteError> {
        // QMP has no command to read a port.
        while is_full(&self.qmp.human("i /1b 0x64").timeout(None).await?) {
            if resets.as_mut().is_some_and(|it| it.try_next().is_some()) {
                break;
            }
            progress.waited_for = "the guest is not reading its keyboard or mouse";
            // This fails if the guest was paused: it will not read any more.
            send(&self.qmp, &[]).await?;
            pause(&self.qmp, LOOK).await;
        }
        progress.waited_for = QEMU;
        Ok(())
    }
}

async fn make(qmp: &Client, stroke: &Stroke, hold: Duration) -> Result<(), ExecuteError> {
    let mut resumed = qmp.events_named(["RESUME"]);
    send(qmp, &stroke.down).await?;
    if stroke.up.is_empty() {
        return Ok(());
    }
    pause(qmp, hold).await;
    while let Err(error) = send(qmp, &stroke.up).await {
        if error.reply().is_none() {
            return Err(error);
        }
        // QEMU refuses input for a paused guest. When the guest resumes, the
        // keys must come up.
        let runs = qmp.execute(QueryStatus).timeout(None).await?.running;
        let has_resumed = if runs {
            resumed.try_next().is_some()
        } else {
            resumed.next().timeout(None).await.is_ok()
        };
        if !has_resumed {
            return Err(error);
        }
    }
    Ok(())
}

async fn send(qmp: &Client, events: &[Value]) -> Result<(), ExecuteError> {
    let command = qmp.execute_json("input-send-event", json!({"events": events}));
    command.timeout(None).await.map(drop)
}

/// Waits for this time, or until the monitor's connection ends.
async fn pause(qmp: &Client, time: Duration) {
    if !time.is_zero() {
        let mut end = qmp.events_named([""; 0]);
        let _ = engine::timeout(Some(time), end.next().timeout(None).into_future()).await;
    }
}

/// Whether a PC's keyboard controller has unread bytes, from the monitor's
/// answer about its port. Without a controller, every bit of the port is set, or
/// the machine has no ports.
fn is_full(said: &str) -> bool {
    const OUTPUT_BUFFER_FULL: u8 = 1;
    let value = said.rsplit("0x").next().map(str::trim);
    let status = value.and_then(|value| u8::from_str_radix(value, 16).ok());
    status.is_some_and(|status| status != 0xff && status & OUTPUT_BUFFER_FULL != 0)
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("machine", &self.context.name())
            .finish_non_exhaustive()
    }
}

const QEMU: &str = "QEMU is not answering";

/// 50 keys a second: faster than a person, and slow enough for a USB keyboard.
/// Its guest fetches the two events of a key 8 ms apart.
const PACE: Duration = Duration::from_millis(20);

/// The time between two reads of the keyboard controller's status.
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_has_the_time_to_type_it_unless_a_timeout_is_set() {
        let [limit, strokes] = [30, 60].map(Duration::from_secs);
        let of = |timeout: Timeout| timeout.limit(strokes);
        assert_eq!(
            of(Timeout::BesideStrokes(Some(limit))),
            Some(limit + strokes)
        );
        assert_eq!(of(Timeout::BesideStrokes(None)), None);
        assert_eq!(of(Timeout::Whole(Some(limit))), Some(limit));
        assert_eq!(of(Timeout::Whole(None)), None);
    }

    #[test]
    fn a_full_keyboard_controller_is_told_from_an_empty_and_from_none() {
        assert!(is_full("portb[0x0064] = 0x1d\r\n"));
        assert!(!is_full("portb[0x0064] = 0x1c\r\n"));
        assert!(!is_full("portb[0x0064] = 0xff\r\n"));
        assert!(!is_full("unknown command: 'i'\r\n"));
        assert!(!is_full(""));
    }
}
