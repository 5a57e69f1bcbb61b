//! The peer `qapi`: its blocking client, and its client for tokio.

use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use ::qapi::ExecuteError;
use ::qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use ::qapi::qmp::{query_name, query_qmp_schema, query_status};
use futures_core::Stream;
use tokio::io::{ReadHalf, WriteHalf};

use super::commands::{AT_ONCE, Asked};
use crate::Failure;

pub(super) const QAPI: &str = "qapi, blocking";
pub(super) const QAPI_TOKIO: &str = "qapi, tokio";

/// The blocking client, with one command in flight.
pub(super) struct Blocking(::qapi::Qmp<::qapi::Stream<io::BufReader<UnixStream>, UnixStream>>);

impl Blocking {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let socket = UnixStream::connect(path)?;
        let reader = io::BufReader::new(socket.try_clone()?);
        let mut qmp = ::qapi::Qmp::new(::qapi::Stream::new(reader, socket));
        qmp.handshake()?;
        Ok(Self(qmp))
    }

    pub(super) fn round(&mut self, asked: Asked, times: u32) -> Result<(), Failure> {
        for _ in 0..times {
            if asked == Asked::Schema {
                self.0.execute(&query_qmp_schema {})?;
            } else {
                self.0.execute(&query_status {})?;
            }
        }
        Ok(())
    }

    /// The client returns events together with the reply after them.
    pub(super) fn hear(&mut self, events: u32) -> Result<(), Failure> {
        self.0.execute(&query_name {})?;
        all(self.0.events().map(std::hint::black_box).count(), events)
    }
}

/// The client for tokio.
pub(super) struct OnTokio(Arc<QapiService<QmpStreamTokio<WriteHalf<tokio::net::UnixStream>>>>);

impl OnTokio {
    pub(super) async fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = QmpStreamTokio::open_uds(path).await?;
        let (service, _reader) = stream.negotiate().await?.spawn_tokio();
        Ok(Self(Arc::new(service)))
    }

    pub(super) async fn round(&self, asked: Asked, times: u32) -> Result<(), Failure> {
        match asked {
            Asked::Status => {
                for _ in 0..times {
                    self.0.execute(query_status {}).await?;
                }
            }
            Asked::StatusAtOnce => {
                let tasks = (0..AT_ONCE).map(|_| {
                    let service = Arc::clone(&self.0);
                    tokio::spawn(async move {
                        for _ in 0..times / AT_ONCE {
                            service.execute(query_status {}).await?;
                        }
                        Ok::<_, ExecuteError>(())
                    })
                });
                for task in tasks.collect::<Vec<_>>() {
                    task.await??;
                }
            }
            Asked::Schema => {
                for _ in 0..times {
                    self.0.execute(query_qmp_schema {}).await?;
                }
            }
        }
        Ok(())
    }
}

/// The same; the task that receives events also reads the socket.
pub(super) struct Hearing {
    service: QapiService<QmpStreamTokio<WriteHalf<tokio::net::UnixStream>>>,
    events: QapiEvents<QmpStreamTokio<ReadHalf<tokio::net::UnixStream>>>,
}

impl Hearing {
    pub(super) async fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = QmpStreamTokio::open_uds(path).await?;
        let (service, events) = stream.negotiate().await?.into_parts();
        Ok(Self { service, events })
    }

    pub(super) async fn hear(&mut self, events: u32) -> Result<(), Failure> {
        let mut reply = pin!(self.service.execute(query_name {}));
        let mut heard = 0;
        poll_fn(|context| {
            while let Poll::Ready(event) = Pin::new(&mut self.events).poll_next(context) {
                std::hint::black_box(event.ok_or("the server has ended")??);
                heard += 1;
            }
            reply.as_mut().poll(context).map(|reply| {
                reply?;
                Ok::<_, Failure>(())
            })
        })
        .await?;
        all(heard, events)
    }
}

fn all(heard: usize, events: u32) -> Result<(), Failure> {
    if heard == events as usize {
        Ok(())
    } else {
        Err(format!("only {heard} of {events} events arrived").into())
    }
}
