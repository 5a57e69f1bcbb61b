//! Lets other programs freeze a published machine.

use std::sync::{Arc, Weak};

use super::TemplateError;
use crate::Machine;
use crate::registry::freeze::{FreezeDoor, FreezeRequest};

/// As long as this lives, other programs can freeze the machine; made by
/// [`Machine::offer_freeze`].
///
/// Its drop waits for a freeze that is under way. It does not keep the machine
/// alive.
#[derive(Debug)]
#[must_use = "its drop ends the offer"]
pub struct FreezeOffer {
    door: FreezeDoor,
}

impl FreezeOffer {
    /// Ends the offer, and waits for a freeze that is under way.
    pub(super) fn end(&self) -> impl Future<Output = ()> + Send + use<> {
        let door = self.door.state();
        async move { door.close().await }
    }
}

impl Machine {
    /// Lets other programs of this user freeze this machine, by
    /// [`PublishedMachine::freeze`](crate::registry::PublishedMachine::freeze).
    /// It must be published, and be launched with
    /// [`freezable`](crate::MachineBuilder::freezable).
    ///
    /// # Errors
    /// [`TemplateError::NotFreezable`] and [`TemplateError::Publish`].
    pub fn offer_freeze(&self) -> Result<FreezeOffer, TemplateError> {
        let inner = &self.inner;
        if inner.freezable.is_none() {
            return Err(TemplateError::NotFreezable {
                machine: inner.name.clone(),
            });
        }
        let machine = WeakMachine {
            inner: Arc::downgrade(inner),
            rest: (
                self.monitor.clone(),
                self.console.clone(),
                Arc::clone(&self.handles),
            ),
        };
        let freezer = move |request: FreezeRequest| {
            let machine = machine.upgrade();
            let frozen = async move {
                let machine = machine.ok_or("the machine has ended")?;
                let mut freeze = machine.freeze().keep_at(request.path);
                if let Some(name) = request.name {
                    freeze = freeze.named(name);
                }
                let frozen = freeze.await;
                frozen.map(drop).map_err(|error| error.to_string())
            };
            Box::pin(frozen) as _
        };
        let door = FreezeDoor::open(inner.engine, &inner.name, Box::new(freezer));
        Ok(FreezeOffer {
            door: door.map_err(TemplateError::Publish)?,
        })
    }
}

/// A handle that does not keep the machine alive.
struct WeakMachine {
    inner: Weak<crate::machine::Inner>,
    rest: (
        qemu_qmp::Client,
        crate::Console,
        Arc<crate::machine::Handles>,
    ),
}

impl WeakMachine {
    fn upgrade(&self) -> Option<Machine> {
        let inner = self.inner.upgrade()?;
        let (monitor, console, handles) = self.rest.clone();
        Some(Machine {
            inner,
            monitor,
            console,
            handles,
        })
    }
}
