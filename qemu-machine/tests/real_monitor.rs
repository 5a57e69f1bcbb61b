//! What the monitor of a real QEMU is asked beside its commands.
#![allow(missing_docs)]

mod support;

use std::net::TcpStream;

use qemu_machine::qmp::HumanMonitorCommand;
use qemu_machine::{ForwardError, UserNet};
use support::scenario;

// P15
scenario! {
    fn the_human_monitor_answers_by_text(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let status = run!(vm.qmp().human("info status")).unwrap();
        assert_eq!(status, "VM status: running\r\n");
        let command = HumanMonitorCommand::new("nonesuch");
        let unknown = run!(vm.qmp().execute(command)).unwrap();
        assert_eq!(unknown, "unknown command: 'nonesuch'\r\n");
        run!(vm.shutdown()).unwrap();
    }
}

// P30, W9
scenario! {
    fn the_port_that_the_system_chose_is_told(qemu) {
        let any = ([127, 0, 0, 1], 0).into();
        let net = |id| UserNet::new(id).model("e1000").forward_tcp(any, 22).forward_tcp(any, 80);
        let builder = qemu.tiny().netdev_user(net("net0")).netdev_user(net("net1"));
        let vm = run!(builder.launch()).unwrap();
        let mut ports = Vec::new();
        for (network, port) in [("net0", 22), ("net0", 80), ("net1", 22), ("net1", 80)] {
            let port = run!(vm.forwarded_port(network, port)).unwrap();
            // QEMU listens there, whatever the guest does.
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            ports.push(port);
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
        let error = run!(vm.forwarded_port("net0", 443)).unwrap_err();
        assert!(matches!(&error, ForwardError::None { server, .. } if server.contains(vm.name())), "{error}");
        assert!(error.to_string().contains("HOST_FORWARD"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}
