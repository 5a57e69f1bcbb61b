//! The display, the keyboard and the mouse of a PC whose firmware shows a menu.

use std::path::Path;
use std::time::Duration;

use qemu_machine::display::Screenshot;

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
        let path = |name: &str| scratch.join(name).to_str().unwrap().to_owned();
        let (first, now) = (path("first.ppm"), path("now.ppm"));
        let still = |file: &str| {
            does(&["wait-screen", "--still", "0.5", "--save", file]);
            Screenshot::from_ppm(std::fs::read(file).unwrap()).unwrap()
        };
        let at_first = still(&first);
        // The firmware discards a key that comes before its menu. A cursor blinks.
        while at_first.difference(&still(&now), 0) < 0.001 {
            does(&["key", "esc", "f11"]);
        }
        let other = [
            "wait-screen",
            "--share",
            "0.0005",
            "--timeout",
            "0.3",
            "--picture",
        ];
        assert_eq!(
            verb(&socket, &[&other[..], &[&first]].concat()).0,
            Some(124)
        );
        still(&now);
        does(&[
            "wait-screen",
            "--picture",
            &now,
            "--share",
            "0.01",
            "--channel",
            "8",
        ]);
        does(&["screenshot", &path("shot.png")]);
        let picture = std::fs::read(path("shot.png")).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        let unchanged = ["wait-screen", "--change", "--timeout", "0.3"];
        assert_eq!(verb(&socket, &unchanged).0, Some(124));

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
        let (status, stderr) = verb(&socket, &["mouse", "move", "0.5", "0.5"]);
        assert_eq!(status, Some(1));
        let advice = "advice: the machine has no tablet";
        assert!(stderr.contains(advice), "{stderr}");
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
