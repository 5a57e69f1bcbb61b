//! What real QEMUs tell of themselves.

use std::sync::Arc;

use crate::support::scenario;

scenario! {
    fn each_version_tells_what_it_can_do(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let schema = run!(vm.schema()).unwrap();
        for (question, since_10_0) in [
            ("query-status/ret-type/running/!boolean", None),
            ("screendump/arg-type/format/^png", None),
            ("blockdev-add/arg-type/driver/^no-such-driver", Some(false)),
            ("migrate/arg-type/*uri", Some(true)),
            ("netdev_add/arg-type/+stream/reconnect/$deprecated", Some(true)),
            ("request-ebpf", Some(true)),
        ] {
            let expected = since_10_0.is_none_or(|since| since && qemu.version != "7.2");
            assert_eq!(schema.has(question).unwrap(), expected, "{question}");
        }
        assert!(schema.command("x-query-irq").unwrap().features().unstable());
        assert!(schema.command("nbd-server-add").unwrap().features().deprecated());
        let error = schema.has("screendump/filename").unwrap_err();
        assert!(error.to_string().contains("arg-type"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn what_a_machine_hides_is_hidden_there_alone(qemu) {
        let hiding = qemu.tiny().args(["-compat", "deprecated-output=hide"]);
        let machines = [hiding, qemu.tiny(), qemu.tiny()];
        let mut schemas = Vec::new();
        for builder in machines {
            let vm = run!(builder.launch()).unwrap();
            schemas.push(run!(vm.schema()).unwrap());
            run!(vm.shutdown()).unwrap();
        }
        let has = |index: usize| schemas[index].command("nbd-server-add").is_some();
        assert_eq!([has(0), has(1), has(2)], [false, true, true]);
        assert!(Arc::ptr_eq(&schemas[1], &schemas[2]));
    }
}
