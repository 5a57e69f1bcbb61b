//! Where no descriptor is left, a command that the kernel does not take at once
//! waits, and its connection lives. Alone in its process, which has the limit.
#![allow(missing_docs)]

mod support;

use std::fs::File;
use std::future::IntoFuture;
use std::os::fd::AsRawFd;
use std::sync::mpsc;

use qemu_qmp::{Client, Wait};
use support::{poll_once, serve};
use testbed::DescriptorLimit;

#[test]
fn what_waits_for_a_descriptor_is_sent_when_there_is_one() {
    let (go, goes) = mpsc::channel();
    let (socket, server) = serve(move |server| {
        server.ready();
        goes.recv().unwrap();
        let long = server.expect("x-long");
        server.answer(&long, "{}");
        server.ends();
    });
    let (other, answering) = serve(|server| {
        server.ready();
        let command = server.expect("x");
        server.answer(&command, "{}");
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let other = Client::over(other).wait().unwrap();

    let lowest_free = File::open("/dev/null").unwrap().as_raw_fd();
    let limit = DescriptorLimit::below(lowest_free.try_into().unwrap());
    let long = serde_json::json!({"x": "x".repeat(1 << 20)});
    let mut sent = qmp.execute_json("x-long", long).into_future();
    assert!(poll_once(&mut sent).is_pending());
    // By the engine, which has tried to make a descriptor before it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(async { other.execute_json("x", ()).await })
        .unwrap();
    drop(limit);

    go.send(()).unwrap();
    sent.wait().unwrap();
    drop((qmp, other));
    server.end();
    answering.end();
}
