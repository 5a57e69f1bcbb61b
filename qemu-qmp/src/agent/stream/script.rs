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
//! A stream that ends with the program, in its first segment, comes as a whole:
//! the script prints the segment, and the agent keeps it for the program's exit. So a short program
//! needs no more commands than one whose output the agent keeps. Any other stream
//! ends with an empty segment that has a successor.
//!
//! The agent reports the exit when the program and the script have ended. The
//! script prints a [`Trailer`] last, on standard error. So output that was lost
//! is never taken for a stream that ended.

/// Makes a private directory for the input, and prints its path. The arguments:
/// its name, the directories to try.
pub(super) const MAKE_INPUT: &str = r#"n=$1
shift
for b in "$@"; do
  [ -w "$b" ] && mkdir -m 700 "$b/$n" 2>/dev/null && printf %s "$b/$n" && exit
done
echo "no directory for temporary files" >&2
exit 1
"#;

/// Makes the private directory, starts the part that cuts the streams, and
/// becomes the program. The arguments: the directory's name, the file of the
/// input or nothing, the directories to try, `--`, the program, its arguments.
///
/// `dd` ends a segment after 64 reads, and one read of a FIFO has 64 KiB at most.
/// It prints how many reads it has made. Fewer than 64 are the end of the stream.
/// `/proc/PID/stat` shows a program that has exited as `Z`, until its parent, the
/// agent, has noticed.
///
/// The names of its variables are long: a name that the environment has too
/// would change what the program gets.
pub(super) const START: &str = r#"stream_path=$PATH stream_name=$1 stream_input=$2 stream_directory=
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}
shift 2
while [ "$1" != -- ]; do
  [ -z "$stream_directory" ] && [ -w "$1" ] &&
    mkdir -m 700 "$1/$stream_name" 2>/dev/null && stream_directory=$1/$stream_name
  shift
done
shift
if [ -z "$stream_directory" ]; then
  printf '%s
%s' "no directory for temporary files" "${stream_name}no" >&2
  exit 1
fi
if ! mkfifo "$stream_directory/out" "$stream_directory/err" \
  "$stream_directory/out.go" "$stream_directory/err.go"; then
  printf %s "${stream_name}no" >&2
  rm -rf "$stream_directory"
  exit 1
fi

# Marks the end of a stream after its last segment, and waits until all was read.
end() {
  number=$2
  [ -s "$1.$number" ] && number=$((number + 1)) && : >"$1.$number"
  : >"$1.$((number + 1))"
  until [ "$seen" -ge $number ]; do read -r seen || return; done
}

# Cuts one stream. Its end: 0 if it is one segment; 3 if it is more, which were
# read.
pump() {
  number=0 seen=-1
  exec 4<"$1"
  while :; do
    dd bs=65536 count=64 of="$1.$number" <&4 >/dev/null 2>"$1.log" || {
      cat "$1.log" >&2
      return 1
    }
    [ $number -eq 0 ] && [ ! -s "$1.0" ] && return
    reads=
    while [ -z "$reads" ] && read -r line; do
      case $line in
      [0-9]*+[0-9]*)
        reads=${line#*+}
        reads=$((${line%%+*} + ${reads%%[!0-9]*}))
        ;;
      esac
    done <"$1.log"
    if [ "${reads:-64}" -lt 64 ]; then
      [ $number -eq 0 ] && return
      end "$1" $number <&5
      return 3
    fi
    exec 5<>"$1.go"
    if [ $number -gt 0 ]; then
      until [ "$seen" -ge $((number - 1)) ]; do read -r seen <&5 || return 1; done
      rm -f "$1.$((number - 1))"
    fi
    number=$((number + 1))
  done
}

# Prints a segment. Some shells start `dd` faster than `cat`.
print() { [ ! -s "$1" ] || dd bs=65536 <"$1" 2>/dev/null; }

# Whether the program runs on. It may be about to exit: a process that is
# started and waited for gives it the processor.
runs() {
  for i in 1 2 3; do
    read -r stat </proc/$$/stat || return
    case $stat in *') Z '*) return 1 ;; esac
    (:)
  done
} 2>/dev/null

# It is no child of the program, which must not see its end.
(
  {
    cd "$stream_directory" || exit
    pump err &
    echo $! >err.pid
    pump out
    out=$?
    [ $out = 1 ] && kill -9 $!
    wait $!
    err=$?
    if [ $out$err != 33 ] && runs; then
      exec 5<>out.go 6<>err.go
      seen=-1
      [ $out = 0 ] && end out 0 <&5 && out=3
      seen=-1
      [ $err = 0 ] && end err 0 <&6 && err=3
    fi
    case $out$err in
    [03][03])
      { [ $out = 3 ] || print out.0; } &&
        { [ $err = 3 ] || print err.0 >&2; } &&
        printf %s "$stream_name$out$err" >&2
      ;;
    esac
    # The agent need not wait for the rest.
    exec >/dev/null 2>&1
    cd /
    rm -rf "$stream_directory"
  } </dev/null &
  echo $! >"$stream_directory/pid"
)
if [ "$stream_input" ]; then
  exec <"$stream_input"
  rm -rf "${stream_input%/*}"
fi
PATH=$stream_path
exec "$@" >"$stream_directory/out" 2>"$stream_directory/err"
"#;

/// A script without its comments and indents: the guest reads it each time.
pub(super) fn compact(script: &str) -> String {
    let lines = script.lines().map(str::trim_start);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    lines.join("\n")
}

/// Ends the scripts early, and removes the directories. A process that still
/// waits for the other end of a FIFO stops waiting. The arguments: the
/// directory's name, the program to end too or nothing, the directories to try.
///
/// The scripts may only begin, and cannot notify this one. So it looks again
/// after a second, and a second time.
pub(super) const CLEAN_UP: &str = r#"n=$1 program=$2
shift 2
[ -z "$program" ] || kill "$program" 2>/dev/null
for last in '' '' yes; do
  for b in "$@"; do
    rm -rf "$b/$n-input"
    d=$b/$n
    [ -d "$d" ] || continue
    [ "$last" ] || { [ -s "$d/pid" ] && [ -s "$d/err.pid" ]; } || continue
    for p in pid err.pid; do
      [ -s "$d/$p" ] && read -r p <"$d/$p" && kill -9 "$p" 2>/dev/null
    done
    [ -p "$d/out" ] && : <>"$d/out"
    [ -p "$d/err" ] && : <>"$d/err"
    rm -rf "$d"
    exit
  done
  [ -z "$program" ] || kill -0 "$program" 2>/dev/null || exit
  [ "$last" ] || sleep 1
done
"#;

/// The directories to try, in this order.
pub(super) const BASES: [&str; 5] = ["/tmp", "/run", "/var/tmp", "/dev/shm", "/root"];

/// What the script has printed last on standard error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trailer {
    /// Each stream, standard output first: whether its only segment was printed.
    /// Otherwise its segments were read.
    Streams([bool; 2]),
    /// The directory or the FIFOs could not be made, so the program was not
    /// started.
    NotStarted,
}

impl Trailer {
    /// Takes the trailer of the directory with this name off the end.
    pub(super) fn take(name: &str, printed: &mut Vec<u8>) -> Option<Self> {
        let at = printed.len().checked_sub(name.len() + 2)?;
        let flags = printed[at..].strip_prefix(name.as_bytes())?;
        let trailer = match flags {
            b"no" => Self::NotStarted,
            [out @ (b'0' | b'3'), err @ (b'0' | b'3')] => {
                Self::Streams([*out == b'0', *err == b'0'])
            }
            _ => return None,
        };
        printed.truncate(at);
        Some(trailer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};

    use super::*;

    /// A shell, and the place of a directory.
    struct Place<'a> {
        shell: &'a [&'a str],
        base: &'a Path,
        name: &'a str,
    }

    impl Place<'_> {
        fn directory(&self) -> PathBuf {
            self.base.join(self.name)
        }

        fn start(&self, script: &str, arguments: &[&str]) -> Child {
            let mut command = Command::new(self.shell[0]);
            let command = command.args(&self.shell[1..]);
            let command = command
                .args(["-c", &compact(script), "sh", self.name])
                .args(arguments);
            let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
            command.stderr(Stdio::piped()).spawn().unwrap()
        }

        fn start_program(&self, input: &str, program: &str) -> Child {
            let base = self.base.to_str().unwrap();
            let words = [input, "/nonesuch", base, "--", "sh", "-c", program];
            self.start(START, &words)
        }

        fn clean_up(&self, program: &str) -> Child {
            self.start(CLEAN_UP, &[program, self.base.to_str().unwrap()])
        }

        /// The script removes the directory at its very end.
        fn wait_until_gone(&self) {
            while self.directory().exists() {
                std::thread::yield_now();
            }
        }

        /// What a program has printed, its segments first.
        fn run(&self, program: &str) -> ([Vec<u8>; 2], Output) {
            let child = self.start_program("", program);
            let reads = |stream| {
                let mut bytes = Vec::new();
                while !self.read(stream, &mut bytes) && !has_ended(&child) {
                    std::thread::yield_now();
                }
                bytes
            };
            let streams = std::thread::scope(|scope| {
                let err = scope.spawn(|| reads("err"));
                [reads("out"), err.join().unwrap()]
            });
            (streams, child.wait_with_output().unwrap())
        }

        /// Reads the segments of a stream, as the agent's client does, if there is
        /// more than one. Nothing announces them.
        fn read(&self, stream: &str, bytes: &mut Vec<u8>) -> bool {
            let segment = |number: u32| self.directory().join(format!("{stream}.{number}"));
            let mut number = 0;
            loop {
                while !segment(number + 1).exists() {
                    if number == 0 {
                        return false;
                    }
                    std::thread::yield_now();
                }
                let piece = fs::read(segment(number)).unwrap();
                let go = self.directory().join(format!("{stream}.go"));
                let go = fs::File::options().read(true).write(true).open(go);
                std::io::Write::write_all(&mut go.unwrap(), format!("{number}\n").as_bytes())
                    .unwrap();
                if piece.is_empty() {
                    return true;
                }
                bytes.extend(piece);
                number += 1;
            }
        }
    }

    /// Whether a program has exited that was not waited for.
    fn has_ended(child: &Child) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.contains(") Z ")
    }

    #[test]
    fn every_shell_carries_both_streams_whole_and_removes_the_directory() {
        let shells: [&[&str]; 3] = [&["sh"], &["bash", "--posix"], &["busybox", "sh"]];
        let is_there = |shell: &&&[&str]| {
            let mut there = Command::new(shell[0]);
            let there = there.arg("--help").stdout(Stdio::null());
            there.stderr(Stdio::null()).status().is_ok()
        };
        let name = format!("qemu-qmp-script-{}", std::process::id());
        let base = std::env::temp_dir().join(format!("{name}-base"));
        fs::create_dir_all(&base).unwrap();
        for shell in shells.iter().filter(is_there) {
            let (base, name) = (base.as_path(), name.as_str());
            let place = Place { shell, base, name };

            let (read, mut end) = place.run("head -c 13000000 /dev/zero; echo error >&2; exit 3");
            assert_eq!(end.status.code(), Some(3), "{shell:?}: {end:?}");
            let trailer = Trailer::take(name, &mut end.stderr).unwrap();
            let Trailer::Streams([false, err_is_printed]) = trailer else {
                panic!("{shell:?}: {trailer:?}");
            };
            assert!(read[0] == vec![0; 13_000_000] && end.stdout.is_empty());
            let err = if err_is_printed {
                &end.stderr
            } else {
                &read[1]
            };
            assert_eq!(err, b"error\n", "{shell:?}");
            place.wait_until_gone();

            // A short one is printed, unless the program seemed to run on.
            let (read, mut end) = place.run("printf 'o\\0ut'; printf err >&2; kill -9 $$");
            assert_eq!(end.status.code(), None, "{shell:?}");
            assert!(Trailer::take(name, &mut end.stderr).is_some(), "{end:?}");
            assert_eq!([&read[0][..], &end.stdout].concat(), b"o\0ut", "{shell:?}");
            assert_eq!([&read[1][..], &end.stderr].concat(), b"err", "{shell:?}");
            place.wait_until_gone();

            // Both are removed early, and nothing waits for a FIFO any more.
            let input = base.join(format!("{name}-input"));
            fs::create_dir(&input).unwrap();
            let fifo = Command::new("mkfifo").arg(input.join("in")).status();
            assert!(fifo.unwrap().success());
            let waiting = place.start_program(input.join("in").to_str().unwrap(), "echo no");
            let program = waiting.id().to_string();
            while !place.directory().join("err.pid").exists() {
                std::thread::yield_now();
            }
            assert!(place.clean_up(&program).wait().unwrap().success());
            let mut end = waiting.wait_with_output().unwrap();
            assert!(!end.status.success() && Trailer::take(name, &mut end.stderr).is_none());
            assert!(!place.directory().exists() && !input.exists());
        }
        fs::remove_dir(base).unwrap();
    }

    #[test]
    fn a_program_is_not_started_without_a_directory() {
        let name = format!("qemu-qmp-nowhere-{}", std::process::id());
        let place = Place {
            shell: &["sh"],
            base: Path::new("/nonesuch"),
            name: &name,
        };
        let mut end = place
            .start_program("", "echo no")
            .wait_with_output()
            .unwrap();
        let trailer = Trailer::take(&name, &mut end.stderr);
        assert_eq!(trailer, Some(Trailer::NotStarted));
        assert_eq!(end.stderr, b"no directory for temporary files\n");
        assert!(end.stdout.is_empty() && end.status.code() == Some(1));
    }

    #[test]
    fn a_trailer_is_the_last_of_what_was_printed() {
        let take = |printed: &[u8]| {
            let mut printed = printed.to_vec();
            let trailer = Trailer::take("name", &mut printed);
            (trailer, printed)
        };
        let streams = |streams| Some(Trailer::Streams(streams));
        assert_eq!(take(b"name03"), (streams([true, false]), b"".to_vec()));
        assert_eq!(
            take(b"e\nname30"),
            (streams([false, true]), b"e\n".to_vec())
        );
        for printed in [
            &b""[..],
            b"name",
            b"name0",
            b"name01",
            b"name00\n",
            b"nome00",
        ] {
            assert_eq!(take(printed), (None, printed.to_vec()));
        }
    }
}
