//! One more monitor: a QMP connection that may end before the machine does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Deadlines, Disconnected, Driver, Ender, Ready};
use socket2::Socket;

use super::{Channel, Word};
use crate::console::MachineWitness;
use crate::report::ExitReport;

pub(super) struct MonitorChannel {
    ender: Ender,
    reader: Mutex<Reader>,
}

enum Reader {
    Idle(Driver),
    Running,
    /// It has ended; who waits is not told yet.
    Ended(Driver, Disconnected),
    Finished,
}

pub(super) fn connect(
    socket: Socket,
    deadlines: &Deadlines,
    witness: MachineWitness,
) -> io::Result<(Client, MonitorChannel, Ready)> {
    let (client, driver, ready) = Driver::new(
        socket,
        Settings::default(),
        deadlines.clone(),
        Arc::new(witness),
        None,
    )?;
    let channel = MonitorChannel {
        ender: driver.ender(),
        reader: Mutex::new(Reader::Idle(driver)),
    };
    Ok((client, channel, ready))
}

impl MonitorChannel {
    fn turn(&self, next: Reader) -> Reader {
        std::mem::replace(&mut self.lock(), next)
    }

    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for MonitorChannel {
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Reader::Idle(mut driver) = self.turn(Reader::Running) {
                let cause = driver.run().await;
                *self.lock() = Reader::Ended(driver, cause);
            }
        })
    }

    fn hang_up(&self) {
        self.ender.cut();
    }

    fn closed(&self) {
        if let Reader::Ended(driver, cause) = self.turn(Reader::Finished) {
            driver.finish(&cause);
        }
    }

    fn machine_ended(&self, report: &Arc<ExitReport>) -> Word {
        let cause = Disconnected::ServerEnded(Arc::clone(report) as _);
        match self.turn(Reader::Finished) {
            Reader::Idle(driver) | Reader::Ended(driver, _) => {
                let untold = driver.end(&cause);
                Box::new(move || untold.tell())
            }
            Reader::Running | Reader::Finished => Box::new(|| ()),
        }
    }
}
