//! Questions to the schemas of QEMU 7.2 and 10.0, as they were recorded.

use std::fs;
use std::path::Path;

use qemu_qmp::schema::{Schema, TypeKind};

#[test]
fn what_differs_between_two_versions_is_told() {
    for (question, in_7_2, in_10_0) in [
        // Commands and events.
        ("query-status", true, true),
        ("nonesuch", false, false),
        ("str", false, false),
        ("x-query-virtio-status", true, true),
        ("cxl-inject-poison", false, true),
        ("SHUTDOWN/arg-type/reason/^guest-panic", true, true),
        ("SHUTDOWN/ret-type", false, false),
        // Arguments, and their values.
        ("screendump/arg-type/format/^png", true, true),
        ("screendump/arg-type/format/^jpeg", false, false),
        ("migrate/arg-type/uri", true, true),
        ("migrate/arg-type/*uri", false, true),
        (
            "migrate/arg-type/channels/addr/transport/^rdma",
            false,
            true,
        ),
        ("migrate/arg-type/uri/uri", false, false),
        // Variants, with what they alone take.
        ("blockdev-add/arg-type/driver/^nvme", true, true),
        ("blockdev-add/arg-type/+nvme/namespace", true, true),
        ("blockdev-add/arg-type/namespace", false, false),
        ("netdev_add/arg-type/+stream/reconnect-ms", false, true),
        ("object-add/arg-type/+memory-backend-file/rom", false, true),
        // An alternate: a node by its name, or defined on the spot.
        ("blockdev-add/arg-type/+qcow2/file/!string", true, true),
        ("blockdev-add/arg-type/+qcow2/file/driver/^file", true, true),
        // Keys of replies, through lists.
        ("query-status/ret-type/running/!boolean", true, true),
        ("query-status/ret-type/running/!int", false, false),
        ("query-status/ret-type/singlestep", true, false),
        ("query-fdsets/ret-type/fds/fd/!int", true, true),
        ("query-fdsets/ret-type/*fds", false, false),
    ] {
        for (version, expected) in [("7.2", in_7_2), ("10.0", in_10_0)] {
            let found = recorded(version).has(question).unwrap();
            assert_eq!(found, expected, "{question} of {version}");
        }
    }
}

#[test]
fn special_features_are_told_wherever_they_are() {
    let schema = recorded("10.0");
    for question in [
        "x-query-irq/$unstable",
        "query-migrationthreads/$deprecated",
        "blockdev-add/arg-type/+file/$dynamic-auto-read-only",
        "netdev_add/arg-type/+stream/reconnect/$deprecated",
        "device_add/$json-cli-hotplug",
        "object-add/arg-type/qom-type/^x-remote-object/$unstable",
    ] {
        assert!(schema.has(question).unwrap(), "{question}");
    }
    for question in [
        "query-status/$deprecated",
        "netdev_add/arg-type/+stream/addr/$deprecated",
        "object-add/arg-type/qom-type/^secret/$unstable",
    ] {
        assert!(!schema.has(question).unwrap(), "{question}");
    }
}

#[test]
fn commands_events_and_members_tell_of_themselves() {
    let schema = recorded("10.0");
    assert_eq!(
        (schema.commands().count(), schema.events().count()),
        (233, 55)
    );
    let unstable = schema.command("x-query-irq").unwrap();
    assert!(unstable.features().unstable() && !unstable.features().deprecated());
    assert!(unstable.features().iter().eq(["unstable"]));
    assert!(schema.command("migrate-pause").unwrap().allows_oob());

    let screendump = schema.command("screendump").unwrap();
    let names: Vec<_> = screendump.arguments().map(|it| it.name()).collect();
    assert_eq!(names, ["filename", "device", "head", "format"]);
    let format = screendump.argument("format").unwrap();
    assert!(format.is_optional() && format.values().eq(["ppm", "png"]));
    assert!(!screendump.argument("filename").unwrap().is_optional());
    assert!(screendump.returns().next().is_none());

    let sets = schema.command("query-fdsets").unwrap();
    let descriptors = sets.returned("fds").unwrap();
    assert!(
        descriptors
            .members()
            .any(|it| it.name() == "opaque" && it.is_optional())
    );

    let shutdown = schema.event("SHUTDOWN").unwrap();
    assert!(shutdown.data().map(|it| it.name()).eq(["guest", "reason"]));
    assert!(schema.event("query-status").is_none() && schema.command("SHUTDOWN").is_none());
}

#[test]
fn a_type_describes_its_values_and_its_variants() {
    for version in ["7.2", "10.0"] {
        let schema = recorded(version);
        let add = schema.command("blockdev-add").unwrap();
        let options = add.argument_type();
        assert_eq!(
            (options.kind(), options.tag()),
            (TypeKind::Object, Some("driver"))
        );
        let (_, qcow2) = options.variants().find(|it| it.0 == "qcow2").unwrap();
        let file = qcow2.members().find(|it| it.name() == "file").unwrap();
        let file = file.member_type();
        assert_eq!(file.kind(), TypeKind::Alternate);
        assert_eq!(file.to_string(), "object or string", "{version}");
        assert!(file.json_types().eq(["string"]) && file.tag() == Some("driver"));
        // What is inside of it is the same again.
        assert!(file.variants().any(|it| it.0 == "qcow2"));

        let argument = |command: &str, name: &str| {
            let command = schema.command(command).unwrap();
            command.argument(name).unwrap().member_type().to_string()
        };
        assert_eq!(argument("screendump", "format"), "ppm|png");
        assert_eq!(argument("qom-set", "value"), "any value");
        assert_eq!(argument("transaction", "actions"), "list of object");
        assert_eq!(argument("set_link", "up"), "boolean");
        let cpus = schema.command("query-cpus-fast").unwrap();
        assert_eq!(cpus.return_type().kind(), TypeKind::List);
        let element = cpus.return_type().parts().next().unwrap();
        assert_eq!(element.kind(), TypeKind::Object);
        let shutdown = schema.event("SHUTDOWN").unwrap().data_type();
        assert!(shutdown.members().any(|it| it.name() == "reason"));
    }
}

fn recorded(version: &str) -> Schema {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let path = folder.join(format!("qemu-{version}/query-qmp-schema.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}
