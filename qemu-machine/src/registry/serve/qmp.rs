//! Serves one QMP client: moves the bytes, commands and events of its
//! [`Session`].

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use qemu_qmp::error::{EventError, ExecuteError, ExecuteFailure};
use qemu_qmp::wire::Greeting;
use qemu_qmp::{Client, Event, Events};
use qemu_qmp_engine::{self as engine, PacedSocket, Watched, first};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::request::{Request, RequestId};
use super::session::{Output, Session};
use super::{Closing, PIECE_BYTES, Served, closed};
use crate::life::{ExitReport, Ladder};
use crate::registry::own_command::OwnCommand;
use crate::registry::report_json::{write_guest, write_report};

/// Serves the client until it or the machine ends.
///
/// # Errors
/// The client has gone, or does not read.
pub(super) async fn serve(
    socket: &PacedSocket,
    served: &Served,
    closing: &Watched<Closing>,
) -> io::Result<()> {
    let mut client = QmpClient::new(served);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        client.perform();
        client.flush(socket)?;
        if client.is_done() {
            return Ok(());
        }
        if client.outbox.len() > OUTBOX_BYTES {
            return Err(too_slow(served));
        }
        match client.next(socket, closing, &mut buffer).await? {
            Step::Received(0) => client.input_has_ended = true,
            Step::Received(count) => client.session.receive(&buffer[..count]),
            Step::Sent(count) => drop(client.outbox.drain(..count)),
            Step::Event(event) => {
                client.session.event(&event);
                // The others too: in a flood, one event a turn would be too slow.
                client.take_events();
            }
            Step::MonitorEnded => client.events = None,
            Step::Lagged => return Err(too_slow(served)),
            Step::Replied(index, reply) => client.replied(index, reply),
            Step::Unkillable => client.unkillable(),
            Step::Closed(Closing::Ended(report)) => {
                client.finish(&report).await;
                return socket.write_all(client.outbox.make_contiguous()).await;
            }
            Step::HungUp | Step::Closed(_) => return Ok(()),
        }
        engine::yield_now().await;
    }
}

fn too_slow(served: &Served) -> io::Error {
    engine::log(log::Level::Warn, module_path!(), || {
        let name = &served.entry.name;
        format!("machine '{name}': left a QMP client that does not read")
    });
    io::ErrorKind::TimedOut.into()
}

struct QmpClient<'a> {
    served: &'a Served,
    session: Session,
    outbox: VecDeque<u8>,
    /// The forwarded commands, in their order.
    calls: Vec<Call>,
    /// `None` before negotiation, and after the end of the monitor.
    events: Option<Events>,
    /// The ids of the commands that wait for the end of the machine.
    ends: Vec<RequestId>,
    /// The client sends nothing more, but may still read.
    input_has_ended: bool,
}

struct Call {
    request: Request,
    reply: Pin<Box<dyn Future<Output = Reply> + Send>>,
}

type Reply = Result<Box<RawValue>, ExecuteError>;

enum Step {
    Received(usize),
    Sent(usize),
    Event(Event),
    MonitorEnded,
    Lagged,
    Replied(usize, Reply),
    Unkillable,
    HungUp,
    Closed(Closing),
}

impl<'a> QmpClient<'a> {
    fn new(served: &'a Served) -> Self {
        let monitor = served.monitor.as_ref();
        let greeting = monitor.and_then(Client::greeting);
        let offers_oob = monitor.is_some_and(Client::oob);
        Self {
            served,
            session: Session::new(&version(greeting), offers_oob),
            outbox: VecDeque::new(),
            calls: Vec::new(),
            events: None,
            ends: Vec::new(),
            input_has_ended: false,
        }
    }

    fn is_done(&self) -> bool {
        let is_answered = self.session.is_idle() && self.ends.is_empty();
        self.outbox.is_empty() && (self.session.is_over() || (self.input_has_ended && is_answered))
    }

    /// Sends what the kernel accepts now. In a flood of events it would never be
    /// the next step.
    fn flush(&mut self, socket: &PacedSocket) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let sent = socket.write_now(self.outbox.as_slices().0)?;
            if sent == 0 {
                break;
            }
            self.outbox.drain(..sent);
        }
        Ok(())
    }

    /// Performs the outputs of the session.
    fn perform(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.outbox.extend(bytes),
                Output::Listen => self.events = self.served.monitor.as_ref().map(Client::events),
                Output::Forward(request) => self.forward(request),
                Output::Own(id, OwnCommand::Status) => {
                    let status = status(self.served);
                    self.session.answer(&id, Ok(&status));
                }
                Output::Own(id, OwnCommand::Kill) => {
                    self.served.owner.end(Ladder::kill());
                    self.ends.push(id);
                }
                Output::Own(id, OwnCommand::Shutdown(options)) => {
                    let (quit, terminate) =
                        (self.served.quit_timeout, self.served.terminate_timeout);
                    self.served.owner.end(options.ladder(quit, terminate));
                    self.ends.push(id);
                }
            }
        }
    }

    fn forward(&mut self, request: Request) {
        let Some(monitor) = &self.served.monitor else {
            let why = "the machine was launched without a monitor";
            self.session.failed(&request, why);
            return;
        };
        let command = monitor
            .execute_json(&request.command, &request.arguments)
            .returning::<Box<RawValue>>()
            .timeout(None);
        let command = if request.out_of_band {
            command.out_of_band()
        } else {
            command
        };
        let reply = command.into_future();
        self.calls.push(Call { request, reply });
    }

    /// Waits for the next step. Events come before replies, as QEMU sends the
    /// event of a command before its reply.
    async fn next(
        &mut self,
        socket: &PacedSocket,
        closing: &Watched<Closing>,
        buffer: &mut [u8],
    ) -> io::Result<Step> {
        let Self {
            served,
            session,
            outbox,
            calls,
            events,
            ends,
            input_has_ended,
        } = self;
        let event = pin!(next_event(events.as_mut()));
        let replied = pin!(next_reply(calls));
        let unkillable = pin!(async {
            if ends.is_empty() {
                pending::<()>().await;
            }
            served.owner.unkillable().await;
            Ok(Step::Unkillable)
        });
        let closed = pin!(async { Ok(Step::Closed(closed(closing).await)) });
        let sent = pin!(async {
            if outbox.is_empty() {
                pending::<()>().await;
            }
            socket.write(outbox.as_slices().0).await.map(Step::Sent)
        });
        let received = pin!(async {
            if *input_has_ended {
                socket.hung_up().await;
                return Ok(Step::HungUp);
            }
            if !session.wants_input() {
                pending::<()>().await;
            }
            socket.read(buffer).await.map(Step::Received)
        });
        let machine = pin!(first(event, replied));
        let end = pin!(first(closed, unkillable));
        let bytes = pin!(first(sent, received));
        let others = pin!(first(end, bytes));
        first(machine, others).await
    }

    fn replied(&mut self, index: usize, reply: Reply) {
        let Call { request, .. } = self.calls.remove(index);
        match reply {
            Ok(value) => self.session.replied(&request, Ok(&value)),
            Err(error) => match &*error.failure {
                ExecuteFailure::Refused { reply, .. } => {
                    self.session.replied(&request, Err(&reply.raw));
                }
                failure => {
                    let why = format!("the command {failure}");
                    self.session.failed(&request, &why);
                }
            },
        }
    }

    fn take_events(&mut self) {
        let events = self.events.as_mut().map(Events::take_all);
        for event in events.into_iter().flatten() {
            self.session.event(&event);
        }
    }

    fn unkillable(&mut self) {
        let pid = self.served.entry.pid;
        let why =
            format!("process {pid} was killed but has not ended: it is blocked in the kernel");
        for id in std::mem::take(&mut self.ends) {
            self.session.answer(&id, Err(&why));
        }
    }

    /// The machine has ended: prepares everything that the client gets.
    async fn finish(&mut self, report: &Arc<ExitReport>) {
        self.take_events();
        while let Some((index, reply)) = poll_fn(|context| {
            let mut replied = pin!(poll_calls(&mut self.calls));
            match replied.as_mut().poll(context) {
                Poll::Ready(replied) => Poll::Ready(Some(replied)),
                Poll::Pending => Poll::Ready(None),
            }
        })
        .await
        {
            self.replied(index, reply);
        }
        let answer = json!({
            "report": write_report(report),
            "forced": report.was_forced(),
            "failed": report.is_failure(),
            "text": report.to_string(),
        });
        for id in std::mem::take(&mut self.ends) {
            self.session.answer(&id, Ok(&answer));
        }
        while let Some(output) = self.session.poll_output() {
            if let Output::Send(bytes) = output {
                self.outbox.extend(bytes);
            }
        }
    }
}

async fn next_event(events: Option<&mut Events>) -> io::Result<Step> {
    let Some(events) = events else {
        return pending().await;
    };
    Ok(match events.next().timeout(None).await {
        Ok(event) => Step::Event(event),
        Err(EventError::Lagged { .. }) => Step::Lagged,
        Err(_) => Step::MonitorEnded,
    })
}

async fn next_reply(calls: &mut [Call]) -> io::Result<Step> {
    let (index, reply) = poll_calls(calls).await;
    Ok(Step::Replied(index, reply))
}

/// Waits for the first command that has its reply.
fn poll_calls(calls: &mut [Call]) -> impl Future<Output = (usize, Reply)> {
    poll_fn(|context| {
        for (index, call) in calls.iter_mut().enumerate() {
            if let Poll::Ready(reply) = call.reply.as_mut().poll(context) {
                return Poll::Ready((index, reply));
            }
        }
        Poll::Pending
    })
}

/// QEMU's version, as in its greeting; an empty object if it is not known.
fn version(greeting: Option<&Greeting>) -> Value {
    let version = greeting.and_then(|greeting| greeting.version.as_ref());
    let Some(version) = version else {
        return json!({});
    };
    let (major, minor, micro) = (version.major, version.minor, version.micro);
    json!({
        "qemu": {"major": major, "minor": minor, "micro": micro},
        "package": version.package,
    })
}

/// The answer to the owner's command of that name.
fn status(served: &Served) -> Value {
    let guest = served.owner.guest();
    json!({
        "machine": served.entry.to_json(),
        "uptime": served.started.elapsed().as_secs_f64(),
        "guest": write_guest(&guest),
        "text": guest.to_string(),
    })
}

/// How much may wait for a client that does not read. One message may pass it.
const OUTBOX_BYTES: usize = 16 << 20;
