//! The end of a supervised server. Current and later waiters are notified when the
//! supervisor notifies them, and not before.

use std::error::Error;
use std::future::{Future, IntoFuture};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::support::poll_once;
use qemu_qmp::command::QueryStatus;
use qemu_qmp::supervise::{self, PeerContext};
use qemu_qmp::wire::{AgentSettings, Settings};
use qemu_qmp::{Client, Deadlines, Disconnected, Wait};

struct Somebody;

impl PeerContext for Somebody {
    fn name(&self) -> String {
        "somebody".to_owned()
    }

    fn seen(&self) -> String {
        String::new()
    }
}

fn ended() -> Disconnected {
    let end: Box<dyn Error + Send + Sync> = "it has ended".into();
    Disconnected::ServerEnded(end.into())
}

/// The waiter's result. It ends only when `word` is called.
fn is_told_by<F: Future>(waiting: F, word: impl FnOnce()) -> F::Output {
    let mut waiting = Box::pin(waiting);
    assert!(poll_once(&mut waiting).is_pending());
    word();
    waiting.wait()
}

#[test]
fn a_command_that_comes_between_the_end_and_its_word_has_it_by_the_word() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let (client, reader, _ready): (Client, _, _) = supervise::monitor(
        ours.into(),
        Settings::default(),
        Deadlines::default(),
        Arc::new(Somebody),
        None,
    )
    .unwrap();
    let notices = reader.end(&ended());
    let late = client.execute(QueryStatus).into_future();
    let error = is_told_by(late, || notices.notify()).unwrap_err();
    assert!(error.to_string().contains("it has ended"), "{error}");
}

#[test]
fn a_guest_agent_s_user_hears_of_the_end_by_its_word_alone() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let (agent, reader, _link) = supervise::agent(
        ours.into(),
        AgentSettings::default(),
        Deadlines::default(),
        Arc::new(Somebody),
    )
    .unwrap();
    let notices = reader.end(&ended());
    let late = agent.exec("true").into_future();
    let error = is_told_by(late, || notices.notify()).unwrap_err();
    assert!(error.to_string().contains("it has ended"), "{error}");
}
