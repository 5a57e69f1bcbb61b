//! QEMU's object model: its commands, and walks over a tree.

use std::time::Duration;

use crate::support::{Received, Server, scenario, serve};
use qemu_qmp::error::{ErrorKind, ExecuteFailure};
use qemu_qmp::qom::{Object, PropertyKind, QomGet, QomList, QomSet};
use qemu_qmp::{Client, Wait};
use serde_json::{Value, json};

scenario! {
    fn properties_are_listed_got_and_set() {
        let (socket, server) = serve(|server| {
            server.ready();
            let list = server.expect("qom-list");
            assert_eq!(list.arguments(), &json!({"path": "/machine"}));
            server.answer(&list, r#"[{"name": "d", "type": "child<VGA>", "default-value": 1}]"#);
            let get = server.expect("qom-get");
            assert_eq!(get.arguments(), &json!({"path": "d", "property": "on"}));
            server.answer(&get, "true");
            let set = server.expect("qom-set");
            let arguments = json!({"path": "d", "property": "on", "value": [1]});
            assert_eq!(set.arguments(), &arguments);
            server.answer(&set, "{}");
            let list = server.expect("qom-list");
            server.answer(&list, r#"[{"name": "d"}]"#);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let listed = run!(qmp.execute(QomList::new("/machine"))).unwrap();
        assert_eq!((&*listed[0].name, listed[0].kind()), ("d", PropertyKind::Child("VGA")));
        assert_eq!(run!(qmp.execute(QomGet::new("d", "on"))).unwrap(), true);
        run!(qmp.execute(QomSet::new("d", "on", json!([1])))).unwrap();
        let error = run!(qmp.execute(QomList::new("d"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        drop(qmp);
        server.end();
    }
}

fn path(question: &Received) -> &str {
    question.arguments()["path"].as_str().unwrap()
}

/// Answers a tree of three objects:
///
/// ```text
/// / n=1
///   a  bad: refused, link -> /b
///     c  refused
///   b
/// ```
///
/// It reads all commands that are in flight before it answers any.
fn answer_tree(server: &mut Server, rounds: &[usize]) {
    for count in rounds {
        let questions: Vec<_> = (0..*count).map(|_| server.command()).collect();
        for question in &questions {
            let property = question.arguments()["property"].as_str();
            let answer = match (path(question), property) {
                ("/", None) => {
                    r#"[{"name": "a", "type": "child<A>"}, {"name": "n", "type": "int"},
                        {"name": "b", "type": "child<B>"}]"#
                }
                ("/a", None) => {
                    r#"[{"name": "l", "type": "link<B>"}, {"name": "bad", "type": "int"},
                        {"name": "c", "type": "child<C>"}]"#
                }
                ("/b", None) => "[]",
                ("/", Some("type")) => r#""container""#,
                ("/", Some("n")) => "1",
                ("/a", Some("l")) => r#""/b""#,
                _ => {
                    server.refuse(question, "GenericError", "gone");
                    continue;
                }
            };
            server.answer(question, answer.replace('\n', " "));
        }
    }
    server.ends();
}

fn paths(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| &*object.path).collect()
}

scenario! {
    fn a_walk_has_many_commands_in_flight_and_refusals_do_not_end_it() {
        let (socket, server) = serve(|server| {
            server.ready();
            // What each reply leads to is asked at once.
            answer_tree(server, &[2, 3, 3]);
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let objects = run!(qmp.walk_qom("/").values(true)).unwrap();
        assert_eq!(paths(&objects), ["/", "/a", "/a/c", "/b"]);
        let types: Vec<_> = objects.iter().map(|it| it.type_name.as_deref()).collect();
        assert_eq!(types, [Some("container"), Some("A"), Some("C"), Some("B")]);
        let depths: Vec<_> = objects.iter().map(|it| it.depth).collect();
        assert_eq!(depths, [0, 1, 2, 1]);
        let value = |object: usize, property: usize| {
            let value: &Option<_> = &objects[object].properties[property].value;
            value.clone().map(|value| value.map_err(|refusal| refusal.desc))
        };
        assert_eq!(value(0, 0), None);
        assert_eq!(value(0, 2), Some(Ok(Value::from(1))));
        assert_eq!(value(1, 0), Some(Err("gone".to_owned())));
        assert_eq!(value(1, 2), Some(Ok("/b".into())));
        let refusals: Vec<_> = objects.iter().map(|it| it.refusal.is_some()).collect();
        assert_eq!(refusals, [false, false, true, false]);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_walk_goes_as_deep_as_asked_and_reads_values_only_if_asked() {
        let (socket, server) = serve(|server| {
            server.ready();
            answer_tree(server, &[2, 2, 2, 2, 1]);
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let objects = run!(qmp.walk_qom("/").depth(1)).unwrap();
        assert_eq!(paths(&objects), ["/", "/a", "/b"]);
        assert!(objects.iter().flat_map(|it| &it.properties).all(|it| it.value.is_none()));
        let objects = run!(qmp.walk_qom("/").depth(0)).unwrap();
        assert_eq!((objects.len(), objects[0].properties.len()), (1, 3));
        let objects = run!(qmp.walk_qom("/a").depth(0).links(true)).unwrap();
        let read: Vec<_> = objects[0].properties.iter().map(|it| it.value.is_some()).collect();
        assert_eq!(read, [false, false, true]);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_walk_fails_if_its_first_object_is_not_there_or_its_time_is_up() {
        let (socket, server) = serve(|server| {
            server.ready();
            for _ in 0..2 {
                let question = server.command();
                server.refuse(&question, "DeviceNotFound", "not here");
            }
            server.command();
            server.command();
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let error = run!(qmp.walk_qom("/none")).unwrap_err();
        assert_eq!(error.reply().unwrap().desc, "not here");
        let slow = qmp.walk_qom("/").timeout(Duration::from_millis(20));
        let error = run!(slow).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        drop(qmp);
        server.end();
    }
}

#[test]
fn a_walk_over_an_endless_tree_ends_with_an_error() {
    let (socket, server) = serve(|server| {
        server.ready();
        let child = r#"{"name": "endless", "type": "child<endless>"}"#;
        let children = format!("[{}]", vec![child; 10_000].join(","));
        let list = server.expect("qom-list");
        server.answer(&list, &children);
        let get = server.expect("qom-get");
        server.answer(&get, r#""container""#);
        server.answer_all(&children);
    });
    let qmp = Client::over(socket).wait().unwrap();
    let error = qmp.walk_qom("/").timeout(None).wait().unwrap_err();
    assert!(
        matches!(*error.failure, ExecuteFailure::Shape { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("larger than any"), "{error}");
    drop(qmp);
    server.end();
}
