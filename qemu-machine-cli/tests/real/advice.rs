//! Mistakes at a machine that runs: each has its answer at once, and advice for
//! this command.

use std::process::Stdio;

use super::published::Place;
use crate::status_table::redirected;
use crate::support::{finish, qemus, text};

#[test]
fn mistakes_at_a_machine_have_advice_for_this_command() {
    for qemu in qemus() {
        let place = Place::new();
        place.tiny(&qemu, "web", &[]);
        no_display(&place);
        no_such_key(&place);
        the_timeout_stands_after_the_task(&place);
        no_standard_output(&place);
        two_end_it_at_once(&place);
    }
}

fn no_display(place: &Place) {
    for words in [
        &["screenshot", "web", "x.png"][..],
        &["wait-screen", "web", "--change"],
    ] {
        let advice = place.failed(1, words);
        assert!(
            advice.contains("it has no display; run it with one: `qemu-machine run … -- -device"),
            "{advice}"
        );
    }
}

/// The tiny guest never reads its keyboard, so a key waits for the first ones.
fn no_such_key(place: &Place) {
    place.ask(&["key", "web", "--timeout", "0.1", "a", "b"]);
    let unknown = place.failed(1, &["key", "web", "--timeout", "60", "a", "retn"]);
    assert!(
        unknown.contains("no key 'retn'; did you mean 'ret'?"),
        "{unknown}"
    );
    let unknown = place.failed(1, &["key", "web", "--timeout", "60", "ctrl-größe"]);
    assert!(
        unknown.contains("no key 'größe'; there are: ") && unknown.contains(", ctrl, "),
        "{unknown}"
    );
}

fn the_timeout_stands_after_the_task(place: &Place) {
    let refused = place.failed(1, &["agent", "web", "ping", "--timeout", "5"]);
    assert!(refused.contains("no port for a guest agent"), "{refused}");
    place.said(&["mouse", "web", "click", "--times", "0", "--timeout", "9"]);
}

fn no_standard_output(place: &Place) {
    for words in [
        &["ps"][..],
        &["--version"],
        &["logs", "web", "--console", "-f"],
        &["console", "web"],
    ] {
        let closed = finish(&redirected(&place.verb(words), ">&-"));
        let said = text(&closed.stderr);
        assert_eq!(closed.status.code(), Some(125), "{words:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
    }
    let nothing_to_say = redirected(&place.verb(&["pause", "web"]), ">&-");
    assert_eq!(finish(&nothing_to_say).status.code(), Some(0));
    let discarded = redirected(&place.verb(&["ps"]), "1<>/dev/null");
    assert_eq!(finish(&discarded).status.code(), Some(0));
}

fn two_end_it_at_once(place: &Place) {
    let stop = |verb: &str| {
        let mut stop = place.verb(&[verb, "web"]);
        let stop = stop.stdout(Stdio::piped()).stderr(Stdio::piped());
        stop.spawn().unwrap()
    };
    let all = ["stop", "kill", "stop", "kill"].map(stop);
    let mut ended = 0;
    for stop in all {
        let output = stop.wait_with_output().unwrap();
        let said = text(&output.stderr);
        // The name may be gone before they look for it.
        if said.contains("no machine with the name 'web'") {
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(text(&output.stdout), "web\n", "{said}");
        ended += 1;
    }
    assert!(ended > 0);
}
