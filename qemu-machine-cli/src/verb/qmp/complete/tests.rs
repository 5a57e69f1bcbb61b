//! Completion by the schemas of both QEMUs, as they were recorded.

use std::cell::RefCell;

use super::*;

/// A machine of a test.
#[derive(Default)]
struct Machine {
    asked: RefCell<Vec<String>>,
}

impl Facts for Machine {
    fn names(&self, kind: Kind) -> Vec<String> {
        let names: &[&str] = match kind {
            Kind::Device => &["net0", "rng0"],
            Kind::DeviceType => &["virtio-net-pci", "virtio-rng-pci"],
            Kind::Node => &["disk", "file0"],
            Kind::NodeOrDevice => &["disk", "file0", "net0"],
            Kind::Job => &["backup1"],
            _ => &[],
        };
        names.iter().map(|it| (*it).to_owned()).collect()
    }

    fn children(&self, path: &str) -> Vec<Property> {
        self.asked.borrow_mut().push(path.to_owned());
        let list: &[(&str, &str)] = match path {
            "/" => &[
                ("machine", "child<pc>"),
                ("objects", "child<container>"),
                ("type", "string"),
            ],
            "/machine" => &[
                ("peripheral", "child<container>"),
                ("peripheral-anon", "child<container>"),
                ("smp", "SMPConfiguration"),
            ],
            "/machine/peripheral" => &[("rng0", "child<virtio-rng-pci>"), ("type", "string")],
            _ => &[("realized", "bool")],
        };
        properties(list)
    }

    fn device_properties(&self, driver: &str) -> Vec<Property> {
        match driver {
            "virtio-net-pci" => properties(&[("mac", "str"), ("mq", "bool"), ("netdev", "str")]),
            _ => Vec::new(),
        }
    }

    fn human_help(&self, topic: &str) -> String {
        match topic {
            "" => {
                "cont|c  -- resume emulation\ninfo [subcommand] -- show\nquit|q  -- quit\n".into()
            }
            _ => "info balloon  -- show balloon\ninfo block [-n] -- show block\n".into(),
        }
    }
}

fn properties(list: &[(&str, &str)]) -> Vec<Property> {
    let property = |(name, of): &(&str, &str)| Property {
        name: (*name).to_owned(),
        of: (*of).to_owned(),
    };
    list.iter().map(property).collect()
}

fn schemas() -> [Schema; 2] {
    let read = |text| serde_json::from_str(text).unwrap();
    [
        read(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../qemu-qmp/tests/wire/qemu-7.2/query-qmp-schema.json"
        ))),
        read(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../qemu-qmp/tests/wire/qemu-10.0/query-qmp-schema.json"
        ))),
    ]
}

/// The lines that the candidates would make of this one, in both QEMUs.
fn lines(text: &str) -> Vec<String> {
    let [old, new] = schemas();
    let lines = |schema| {
        let (start, candidates) = complete(schema, &Machine::default(), text);
        let line = |it: Candidate| format!("{}{}", &text[..start], it.text);
        candidates.into_iter().map(line).collect::<Vec<_>>()
    };
    let (old, new) = (lines(&old), lines(&new));
    assert_eq!(old, new, "{text}");
    new
}

#[test]
fn commands_are_completed_and_the_shells_words_with_them() {
    assert_eq!(
        lines("query-sta"),
        ["query-stats ", "query-stats-schemas ", "query-status "]
    );
    assert_eq!(lines("  query-statu"), ["  query-status "]);
    assert_eq!(lines("hel"), ["help "]);
    assert_eq!(lines("trans"), ["transaction ", "transaction( "]);
    assert_eq!(lines("help SHUTD"), ["help SHUTDOWN "]);
    assert_eq!(lines("help query-vers"), ["help query-version "]);
    assert_eq!(lines("stop\nquery-vers"), ["stop\nquery-version "]);
    assert!(lines("nonesuch ").is_empty() && lines("xyz").is_empty());
    let [old, new] = schemas();
    for schema in [old, new] {
        let all = complete(&schema, &Machine::default(), "").1;
        assert_eq!(all.len(), schema.commands().count() + 4);
    }
}

#[test]
fn arguments_are_completed_and_none_is_offered_twice() {
    assert_eq!(
        lines("screendump "),
        ["filename=", "device=", "head=", "format="].map(|it| format!("screendump {it}"))
    );
    assert_eq!(
        lines("screendump f"),
        ["screendump filename=", "screendump format="]
    );
    assert_eq!(
        lines("screendump filename='a b' f"),
        ["screendump filename='a b' format="]
    );
    assert_eq!(lines("screendump {"), [""; 0]);
}

#[test]
fn values_of_enumerations_and_switches_are_completed() {
    assert_eq!(
        lines("screendump format="),
        ["screendump format=png ", "screendump format=ppm "]
    );
    assert_eq!(
        lines("screendump format=\"pn"),
        ["screendump format=\"png\" "]
    );
    assert_eq!(lines("set_link up=t"), ["set_link up=true "]);
    assert_eq!(lines("screendump filename="), [""; 0]);
    assert_eq!(
        lines("migrate-set-capabilities capabilities."),
        ["migrate-set-capabilities capabilities.0."]
    );
    assert_eq!(
        lines("migrate-set-capabilities capabilities.0.c"),
        ["migrate-set-capabilities capabilities.0.capability="]
    );
    assert_eq!(
        lines("migrate-set-capabilities capabilities.0.state=true capabilities."),
        ["migrate-set-capabilities capabilities.0.state=true capabilities.1."]
    );
    assert_eq!(
        lines("migrate-set-capabilities capabilities.0.capability=xbz"),
        ["migrate-set-capabilities capabilities.0.capability=xbzrle "]
    );
}

#[test]
fn a_variant_is_chosen_by_what_is_given() {
    assert!(lines("blockdev-add lazy").is_empty());
    assert_eq!(
        lines("blockdev-add driver=qcow2 lazy"),
        ["blockdev-add driver=qcow2 lazy-refcounts="]
    );
    assert_eq!(
        lines("blockdev-add driver=qcow2 fil"),
        [
            "blockdev-add driver=qcow2 file=",
            "blockdev-add driver=qcow2 file."
        ]
    );
    assert_eq!(
        lines("blockdev-add driver=qcow2 file.driver=host_dev"),
        ["blockdev-add driver=qcow2 file.driver=host_device "]
    );
    assert_eq!(
        lines("blockdev-add driver=qcow2 file.driver=file file.file"),
        ["blockdev-add driver=qcow2 file.driver=file file.filename="]
    );
    // A reference is the name of a node.
    assert_eq!(
        lines("blockdev-add driver=qcow2 file="),
        ["disk", "file0"].map(|it| format!("blockdev-add driver=qcow2 file={it} "))
    );
    assert_eq!(
        lines("object-add qom-type=memory-backend-file id=m mem"),
        ["object-add qom-type=memory-backend-file id=m mem-path="]
    );
}

#[test]
fn the_steps_of_a_transaction_are_completed() {
    let typed = "transaction( block-dirty-bitmap-a";
    assert_eq!(lines(typed), ["transaction( block-dirty-bitmap-add "]);
    for begin in [
        "transaction( ",
        "transaction(\n",
        "transaction( abort ; ",
        "transaction(\nabort\n",
    ] {
        let [old, _] = schemas();
        let (_, all) = complete(&old, &Machine::default(), begin);
        assert!(
            all.iter().any(|it| it.shown == "blockdev-snapshot-sync"),
            "{begin}"
        );
        assert!(!all.iter().any(|it| it.shown == "query-status"), "{begin}");
        let name = format!("{begin}block-dirty-bitmap-add no");
        assert_eq!(
            lines(&name),
            [format!("{begin}block-dirty-bitmap-add node=")]
        );
        let node = format!("{begin}block-dirty-bitmap-add node=d");
        assert_eq!(lines(&node), [format!("{node}isk ")]);
    }
    assert_eq!(
        lines("transaction( abort )\nquery-vers"),
        ["transaction( abort )\nquery-version "]
    );
}

#[test]
fn what_the_machine_has_is_completed() {
    assert_eq!(
        lines("device_del id="),
        ["device_del id=net0 ", "device_del id=rng0 "]
    );
    assert_eq!(
        lines("device_add driver=virtio-n"),
        ["device_add driver=virtio-net-pci "]
    );
    assert_eq!(
        lines("device_add driver=virtio-net-pci m"),
        ["mac=", "mq="].map(|it| format!("device_add driver=virtio-net-pci {it}"))
    );
    assert_eq!(
        lines("device_add driver=virtio-net-pci mq=t"),
        ["device_add driver=virtio-net-pci mq=true "]
    );
    assert_eq!(
        lines("blockdev-del node-name="),
        ["disk", "file0"].map(|it| format!("blockdev-del node-name={it} "))
    );
    assert!(lines("blockdev-add node-name=").is_empty());
    assert_eq!(lines("job-cancel id="), ["job-cancel id=backup1 "]);
    assert_eq!(lines("block_resize d"), ["block_resize device="]);
    assert_eq!(
        lines("block_resize device=n"),
        ["block_resize device=net0 "]
    );
}

#[test]
fn a_path_of_objects_is_completed_step_by_step() {
    assert_eq!(lines("qom-list path="), ["qom-list path=/"]);
    assert_eq!(lines("qom-list path=/m"), ["qom-list path=/machine/"]);
    assert_eq!(
        lines("qom-list path=/machine/peri"),
        [
            "qom-list path=/machine/peripheral",
            "qom-list path=/machine/peripheral-anon"
        ]
    );
    assert_eq!(
        lines("qom-get path=/machine/peripheral/"),
        ["qom-get path=/machine/peripheral/rng0 "]
    );
    assert_eq!(
        lines("qom-get path=/machine/peripheral/rng0 property=re"),
        ["qom-get path=/machine/peripheral/rng0 property=realized "]
    );
    assert_eq!(lines("qom-get path='/m"), ["qom-get path='/machine/"]);
}

#[test]
fn the_human_monitor_is_completed_by_its_help() {
    let line = |text: &str| {
        let (start, candidates) = human(&Machine::default(), text);
        let lines = candidates
            .iter()
            .map(|it| format!("{}{}", &text[..start], it.text));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(line("c"), ["c ", "cont "]);
    assert_eq!(line("info b"), ["info balloon ", "info block "]);
    assert_eq!(line("help q"), ["help q ", "help quit "]);
    assert_eq!(line("device_del r"), ["device_del rng0 "]);
    assert_eq!(line("qom-list /m"), ["qom-list /machine/"]);
    assert!(line("nonesuch ").is_empty());
    assert_eq!(
        lines("hmp info b"),
        ["hmp info balloon ", "hmp info block "]
    );
    assert_eq!(lines("hmp con"), ["hmp cont "]);
}

#[test]
fn every_prefix_of_every_line_has_an_answer() {
    let [old, new] = schemas();
    for text in [
        "transaction(\n abort ; block-dirty-bitmap-add node='é x' name=\"b\\\"\n)\nquery-status",
        "blockdev-add driver=qcow2 file.driver=file 'file.x'.y.0.z= {'a': [1, 'b']} é=ü",
        "help blockdev-add driver=qcow2 file.",
        "hmp info block é",
        "a.0.0=1 ? help ; ) ( .. =",
    ] {
        for (at, _) in text.char_indices() {
            for schema in [&old, &new] {
                let (start, _) = complete(schema, &Machine::default(), &text[..at]);
                assert!(start <= at && text.is_char_boundary(start));
            }
            human(&Machine::default(), &text[..at]);
        }
    }
}
