//! Another monitor: a QMP connection that may end before the machine does.

use crate::channel::MachineContext;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use qemu_qmp::supervise::{self, PendingNotices, Reader, ReadySignal};
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Deadlines, Disconnected};
use socket2::Socket;

use super::Channel;
use crate::life::ExitReport;

pub(crate) struct MonitorChannel {
    reader: Reader,
}

pub(crate) fn connect(
    socket: Socket,
    deadlines: &Deadlines,
    context: MachineContext,
) -> io::Result<(Client, MonitorChannel, ReadySignal)> {
    let (client, reader, ready) = supervise::monitor(
        socket.into(),
        Settings::default(),
        deadlines.clone(),
        Arc::new(context),
        None,
    )?;
    Ok((client, MonitorChannel { reader }, ready))
}

impl Channel for MonitorChannel {
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            self.reader.run().await;
        })
    }

    fn hang_up(&self) {
        self.reader.cut();
    }

    fn closed(&self) {
        self.reader.finish();
    }

    fn machine_ended(&self, report: &Arc<ExitReport>) -> PendingNotices {
        self.reader
            .end(&Disconnected::ServerEnded(Arc::clone(report) as _))
    }
}
