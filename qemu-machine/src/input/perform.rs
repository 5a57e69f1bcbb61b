//! Strokes, one after the other, none faster than the guest takes them.
//!
//! QEMU keeps 16 bytes, some 5 keys, for a guest that has not read them yet, and
//! drops what comes then without a word. It has no event that tells when the
//! guest has read; but on a PC the keyboard controller's own status does (port
//! 0x64, "output buffer full"), which can be read without changing it. So it is
//! asked for, at a pace, before each stroke and after the last one. Where there
//! is no such controller, the pace of the strokes alone keeps them few.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp::supervise::PeerContext;
use qemu_qmp::{Client, ExecuteError, QueryStatus};
use qemu_qmp_engine::{self as engine, Elapsed, Engine, TurnLock, operation, timeout_option};
use serde_json::{Value, json};

use super::InputError;
use super::stroke::Stroke;

/// What is done at a keyboard or with a mouse; made by
/// [`Keyboard`](super::Keyboard) and [`Mouse`](super::Mouse).
///
/// It ends when all of it was given to the guest; on a PC's own keyboard and
/// mouse, when the guest's driver has taken it. What the guest makes of it shows
/// on its screen.
///
/// # Errors
/// Each variant of [`InputError`] says when.
///
/// # Cancel safety
/// If the future is dropped, what is pressed just then is released all the same
/// when its time has come; what was to follow is not done.
#[derive(Debug)]
#[must_use = "nothing is done until awaited or waited for"]
pub struct InputAction {
    input: Input,
    strokes: Result<Vec<Stroke>, InputError>,
    hold: Duration,
    pace: Duration,
    timeout: Option<Duration>,
}

/// The way to a machine's keyboard and mouse.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) engine: &'static Engine,
    pub(crate) qmp: Client,
    pub(crate) context: Arc<dyn PeerContext>,
    pub(crate) turns: Turns,
}

/// Whoever types on a machine does so alone.
pub(crate) type Turns = TurnLock<()>;

impl InputAction {
    pub(super) fn new(
        input: Input,
        strokes: Result<Vec<Stroke>, InputError>,
        hold: Duration,
    ) -> Self {
        Self {
            timeout: input.qmp.deadlines().limit(),
            input,
            strokes,
            hold,
            pace: PACE,
        }
    }

    /// Holds each key, chord or button for so long.
    pub fn hold(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    /// Has so much time pass from one key to the next, instead of 20 ms. A
    /// guest's software may lose what comes faster than it reads, as a firmware
    /// that keeps but 15 keys; its keyboard controller does not.
    pub fn pace(mut self, time: Duration) -> Self {
        self.pace = time;
        self
    }
}

timeout_option!(InputAction, timeout);

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
        let limit = timeout.map(|it| it.saturating_add(hold.max(pace).saturating_mul(each)));
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

/// How far it has come, for an error.
struct Progress {
    done: usize,
    waited_for: &'static str,
}

impl Progress {
    fn new() -> Self {
        Self {
            done: 0,
            waited_for: "others are typing",
        }
    }
}

impl Input {
    async fn perform(
        &self,
        strokes: Vec<Stroke>,
        hold: Duration,
        pace: Duration,
        progress: &mut Progress,
    ) -> Result<(), ExecuteError> {
        let turn = Arc::new(self.turns.lock().await);
        // Of a guest that is stopped this says so, before it is waited for.
        progress.waited_for = QEMU;
        send(&self.qmp, &[]).await?;
        for stroke in strokes {
            self.guest_has_read(progress).await?;
            let begun = Instant::now();
            // On the engine, so that what goes down comes up again, whoever
            // gives up; and nobody else's turn comes before.
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
        self.guest_has_read(progress).await
    }

    /// Waits until nothing is left in a PC's keyboard controller.
    async fn guest_has_read(&self, progress: &mut Progress) -> Result<(), ExecuteError> {
        // QMP has no command for it.
        while is_full(&self.qmp.human("i /1b 0x64").timeout(None).await?) {
            progress.waited_for = "the guest does not read its keyboard or mouse";
            // One that was stopped meanwhile never will.
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
        // A guest that was stopped meanwhile takes nothing. It is not left with
        // a key that is down when it goes on.
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

/// Waits so long, or until there is no machine to wait for.
async fn pause(qmp: &Client, time: Duration) {
    if !time.is_zero() {
        let mut end = qmp.events_named([""; 0]);
        let _ = engine::timeout(Some(time), end.next().timeout(None).into_future()).await;
    }
}

/// Whether a PC's keyboard controller holds what the guest has not read, by what
/// the monitor says of its port. Where there is no controller, every bit of the
/// port is set, or there are no ports at all.
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

const QEMU: &str = "QEMU does not answer";

/// 50 keys a second: faster than a person, and slow enough for a USB keyboard,
/// whose two events for a key are fetched 8 ms apart.
const PACE: Duration = Duration::from_millis(20);

/// How often the guest's keyboard controller is looked at until it is empty.
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_keyboard_controller_is_told_from_an_empty_and_from_none() {
        assert!(is_full("portb[0x0064] = 0x1d\r\n"));
        assert!(!is_full("portb[0x0064] = 0x1c\r\n"));
        assert!(!is_full("portb[0x0064] = 0xff\r\n"));
        assert!(!is_full("unknown command: 'i'\r\n"));
        assert!(!is_full(""));
    }
}
