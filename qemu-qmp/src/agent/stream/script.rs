//! The shell scripts that keep a program's output in the guest until it is read.
//!
//! ```text
//! program --FIFO out--> dd --out.0, out.1, ...--> guest-file-read
//!         --FIFO err--> dd --err.0, err.1, ...--> guest-file-read
//!                        ^---- FIFOs out.go, err.go: the numbers that were read
//! ```
//!
//! The agent cannot read a FIFO itself: it discards what it has read when the
//! FIFO runs empty. So `dd` cuts each stream into segments, which are files. A
//! stream has two segments at most: the next one begins when the last but one
//! was read. Until then the FIFO fills, and the program waits. So the guest's
//! disk never holds more than 16 MiB of output.
//!
//! An empty segment with a successor is the end of its stream.

/// Makes the private directory, and prints its path. The arguments: its name.
pub(super) const SET_UP: &str = r#"umask 077
for b in "${TMPDIR:-/tmp}" /tmp /run /var/tmp /dev/shm /root; do
  d=$b/$1
  mkdir "$d" 2>/dev/null || continue
  mkfifo "$d/out" "$d/err" "$d/out.go" "$d/err.go" && printf %s "$d" && exit
  rm -rf "$d"
done
echo "no directory for temporary files" >&2
exit 1
"#;

/// Cuts both streams into segments until their ends were read, and removes the
/// directory. The arguments: the directory.
///
/// `dd` ends a segment after 64 reads, and one read of a FIFO has 64 KiB at most.
/// `dd` does not keep the pump's own output open: the agent reports the pump's
/// end only when that is closed.
pub(super) const PUMP: &str = r#"umask 077
d=$1
pump() {
  exec 4<"$d/$1" 5<>"$d/$1.go"
  n=0
  seen=-1
  while :; do
    dd bs=65536 count=64 of="$d/$1.$n" <&4 >/dev/null 2>"$d/$1.log" || {
      cat "$d/$1.log" >&2
      exit 1
    }
    if [ $n -gt 0 ]; then
      until [ "$seen" -ge $((n - 1)) ]; do read -r seen <&5 || exit 1; done
      rm -f "$d/$1.$((n - 1))"
    fi
    [ -s "$d/$1.$n" ] || break
    n=$((n + 1))
  done
  : >"$d/$1.$((n + 1))"
  until [ "$seen" -ge $n ]; do read -r seen <&5 || exit 1; done
}
pump out &
o=$!
pump err &
e=$!
echo $$ $o $e >"$d/pids"
wait $o && wait $e
s=$?
rm -rf "$d"
exit $s
"#;

/// Becomes the program. The arguments: the directory, the file of its input, the
/// program, its arguments.
pub(super) const PROGRAM: &str = r#"d=$1
i=$2
shift 2
exec "$@" <"$i" >"$d/out" 2>"$d/err"
"#;

/// Ends the pump early, and removes the directory. A process that still waits
/// for the other end of a FIFO stops waiting. The arguments: its name, and the
/// program to end too, if any.
pub(super) const CLEAN_UP: &str = r#"[ -z "$2" ] || kill "$2" 2>/dev/null
for b in "${TMPDIR:-/tmp}" /tmp /run /var/tmp /dev/shm /root; do
  d=$b/$1
  [ -d "$d" ] || continue
  [ -f "$d/pids" ] && read -r p <"$d/pids" && kill -9 $p 2>/dev/null
  [ -p "$d/out" ] && : <>"$d/out"
  [ -p "$d/err" ] && : <>"$d/err"
  rm -rf "$d"
done
"#;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn start(words: &[&str], arguments: &[&str], base: &Path) -> Child {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .env("TMPDIR", base);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Reads a stream as the agent's client does. Nothing announces its segments.
    fn read(directory: &Path, name: &str) -> Vec<u8> {
        let segment = |number: u32| directory.join(format!("{name}.{number}"));
        let mut go = fs::File::options()
            .read(true)
            .write(true)
            .open(directory.join(format!("{name}.go")))
            .unwrap();
        let (mut bytes, mut number) = (Vec::new(), 0);
        loop {
            while !segment(number + 1).exists() {
                std::thread::yield_now();
            }
            let piece = fs::read(segment(number)).unwrap();
            std::io::Write::write_all(&mut go, format!("{number}\n").as_bytes()).unwrap();
            if piece.is_empty() {
                return bytes;
            }
            bytes.extend(piece);
            number += 1;
        }
    }

    #[test]
    fn every_shell_carries_both_streams_whole_and_removes_the_directory() {
        // Nothing else has this name: the last script removes it in every place.
        let name = format!("qemu-qmp-script-{}", std::process::id());
        let base = std::env::temp_dir().join(format!("{name}-base"));
        fs::create_dir_all(&base).unwrap();
        let shells: [&[&str]; 3] = [&["sh"], &["bash", "--posix"], &["busybox", "sh"]];
        let is_there = |shell: &&&[&str]| {
            let mut there = Command::new(shell[0]);
            let there = there.arg("--help").stdout(Stdio::null());
            there.stderr(Stdio::null()).status().is_ok()
        };
        for shell in shells.iter().filter(is_there) {
            let words = |script| [shell, &["-c", script, "sh"][..]].concat();
            let made = start(&words(SET_UP), &[&name], &base)
                .wait_with_output()
                .unwrap();
            let directory = PathBuf::from(String::from_utf8(made.stdout).unwrap());
            assert_eq!(directory, base.join(&name), "{shell:?}");
            let path = directory.to_str().unwrap();
            let mut pump = start(&words(PUMP), &[path], &base);
            let script = "head -c 13000000 /dev/zero; echo error >&2; exit 3";
            let arguments = [path, "/dev/null", "sh", "-c", script];
            let mut program = start(&words(PROGRAM), &arguments, &base);
            let streams = std::thread::scope(|scope| {
                let err = scope.spawn(|| read(&directory, "err"));
                (read(&directory, "out"), err.join().unwrap())
            });
            assert!(streams.0 == vec![0; 13_000_000] && streams.1 == b"error\n");
            assert_eq!(program.wait().unwrap().code(), Some(3));
            assert!(pump.wait().unwrap().success() && !directory.exists());

            // It is removed early, too, and nothing waits for a FIFO any more.
            start(&words(SET_UP), &[&name], &base).wait().unwrap();
            let mut pump = start(&words(PUMP), &[path], &base);
            while !directory.join("pids").exists() {
                std::thread::yield_now();
            }
            assert!(
                start(&words(CLEAN_UP), &[&name], &base)
                    .wait()
                    .unwrap()
                    .success()
            );
            assert!(!pump.wait().unwrap().success() && !directory.exists());
        }
        fs::remove_dir(base).unwrap();
    }
}
