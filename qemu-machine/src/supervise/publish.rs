//! What the clients of a published machine may ask of its supervisor. It does not
//! keep the machine alive.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use qemu_qmp::Client;
use qemu_qmp_engine::Watched;
use tokio::sync::mpsc;

use super::{Request, Status, Supervisor};
use crate::console::Console;
use crate::life::{GuestState, Ladder, ObservedState};
use crate::registry::{Announcement, Owner, Served};

/// The supervisor, for the clients.
pub(super) struct OwnerLink {
    requests: mpsc::WeakUnboundedSender<Request>,
    status: Arc<Watched<Status>>,
    observed: ObservedState,
}

impl Supervisor {
    pub(super) fn owner(&self) -> OwnerLink {
        OwnerLink {
            requests: self.own_requests.clone(),
            status: Arc::clone(&self.status),
            observed: self.resources.observed.clone(),
        }
    }
}

impl Owner for OwnerLink {
    fn end(&self, ladder: Ladder) {
        // Without a handle, the machine ends already.
        if let Some(requests) = self.requests.upgrade() {
            let _ = requests.send(Request::End(ladder));
        }
    }

    fn guest(&self) -> GuestState {
        self.observed.guest()
    }

    fn unkillable(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let unkillable = |status: &Status| matches!(status, Status::Unkillable).then_some(());
        Box::pin(self.status.until(unkillable))
    }
}

/// The machine as its clients see it.
pub(super) fn served(
    announcement: Announcement,
    owner: OwnerLink,
    started: Instant,
    monitor: Option<Client>,
    consoles: &[Console],
) -> Served {
    let Announcement {
        entry,
        agent,
        quit_timeout,
        terminate_timeout,
    } = announcement;
    let is_served = |name: Option<&str>| entry.consoles.iter().any(|it| it.name.as_deref() == name);
    let consoles = consoles.iter().map(|console| {
        let name = console.seen().name().map(str::to_owned);
        (name, console.clone())
    });
    let consoles = consoles.filter(|(name, _)| is_served(name.as_deref()));
    Served {
        consoles: consoles.collect(),
        entry,
        started,
        monitor,
        agent,
        quit_timeout,
        terminate_timeout,
        owner: Box::new(owner),
    }
}
