//! The display, the keyboard and the mouse of a PC whose firmware shows a menu.

use std::path::Path;
use std::time::Duration;

use crate::support::{Running, Scratch, command, finish, qemus, text};

/// The status of a verb at this monitor, and what it printed to standard error.
fn verb(socket: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut verb = command();
    verb.arg(words[0]).arg(socket).args(&words[1..]);
    let output = finish(&verb);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_menu_is_waited_for_and_used() {
    for qemu in qemus() {
        let scratch = Scratch::new();
        let socket = scratch.join("qmp");
        let mut run = qemu.run(["--stay", "--qmp"]);
        run.arg(&socket).args(["--", "-device", "VGA"]);
        run.args(["-boot", "menu=on,splash-time=60000", "-net", "none"]);
        let running = Running::start(&mut run);
        while !socket.exists() {
            std::thread::yield_now();
        }
        let does = |words: &[&str]| {
            let (status, stderr) = verb(&socket, words);
            assert_eq!(status, Some(0), "{words:?}: {stderr}");
        };
        let (first, now) = (scratch.join("first.png"), scratch.join("now.ppm"));
        let (first, now) = (first.to_str().unwrap(), now.to_str().unwrap());
        let still = |file: &str| does(&["wait-screen", "--still", "0.5", "--save", file]);
        still(first);
        // The firmware throws away a key that comes before its menu does.
        let looks_as_at_first = || {
            verb(
                &socket,
                &["wait-screen", "--picture", first, "--timeout", "0.3"],
            )
            .0
        };
        while looks_as_at_first() == Some(0) {
            does(&["key", "esc", "f11"]);
            still(now);
        }
        assert_eq!(looks_as_at_first(), Some(124));
        still(now);
        does(&[
            "wait-screen",
            "--picture",
            now,
            "--share",
            "0.01",
            "--channel",
            "8",
        ]);
        does(&["screenshot", scratch.join("shot.png").to_str().unwrap()]);
        let picture = std::fs::read(scratch.join("shot.png")).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        let (status, stderr) = verb(&socket, &["wait-screen", "--change", "--timeout", "0.3"]);
        assert!(
            status == Some(124) && stderr.contains("did not change"),
            "{stderr}"
        );

        does(&["type", "a\\tB"]);
        does(&["mouse", "move", "--by", "3", "-4"]);
        does(&["mouse", "click", "right", "--times", "2"]);
        for (words, status) in [
            (&["key", "nonesuch"][..], 1),
            (&["key", "ctrl-"], 1),
            (&["type", "\u{20ac}"], 1),
            (&["mouse", "move", "--by", "0.5", "1"], 2),
            (&["wait-screen"], 2),
            (&["wait-screen", "--picture", "/nonesuch"], 125),
            (&["screenshot", "--device", "nonesuch", "x.png"], 1),
        ] {
            assert_eq!(verb(&socket, words).0, Some(status), "{words:?}");
        }
        // No descriptor of ours stays in QEMU.
        let mut sets = command();
        sets.arg("qmp")
            .arg(&socket)
            .args(["--json", "query-fdsets"]);
        let sets = text(&finish(&sets).stdout);
        assert!(!sets.contains("fdset-id"), "{sets}");
        running.signal("TERM");
        assert_eq!(running.status(Duration::from_secs(20)), Some(143));
    }
}
