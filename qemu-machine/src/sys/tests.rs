//! Starts programs, and checks what they get.

use std::fs::File;
use std::io::{Read, Write};

use super::*;

fn strings(texts: &[&str]) -> Vec<CString> {
    texts
        .iter()
        .map(|&text| CString::new(text).unwrap())
        .collect()
}

#[test]
fn a_program_gets_its_arguments_directory_and_exact_descriptors() {
    let (mut output, write) = io::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    // A descriptor that the program would inherit if spawn did not close it.
    let stray = write.try_clone().unwrap();
    // SAFETY: No memory is involved, and the descriptor is ours.
    unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_SETFD, 0) };
    let [write_fd, null_fd] = [write.as_raw_fd(), null.as_raw_fd()];
    let Spawned { pid, pidfd, .. } = spawn(&Image {
        program: &CString::new("/bin/sh").unwrap(),
        arguments: &strings(&["sh", "-c", "pwd; echo $A $$; ls /proc/$$/fd; :"]),
        environment: &strings(&["A=b", "PATH=/usr/bin:/bin"]),
        directory: Some(&CString::new("/usr").unwrap()),
        descriptors: &[null_fd, write_fd, write_fd, null_fd],
        group_slot: None,
        dies_with_us: true,
    })
    .unwrap();
    drop((write, stray));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("/usr\nb {pid}\n0\n1\n2\n3\n"));
    // The output has ended, but the shell may not have.
    // SAFETY: Plain data, and a pidfd of ours.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = libc::id_t::from(pidfd.as_raw_fd().cast_unsigned());
        libc::waitid(
            libc::P_PIDFD,
            id,
            &raw mut info,
            libc::WEXITED | libc::WNOWAIT,
        );
    }
    assert_eq!(reap(&pidfd), Some(Ended::Exited(0)));
    assert_eq!(reap(&pidfd), None);
}

#[test]
fn a_child_announces_its_group_before_it_is_the_program() {
    let mut list = memory_file(c"list").unwrap();
    let null = File::open("/dev/null").unwrap();
    let spawned = spawn(&Image {
        program: &CString::new("/bin/cat").unwrap(),
        arguments: &strings(&["cat"]),
        environment: &[],
        directory: None,
        descriptors: &[null.as_raw_fd(); 3],
        group_slot: Some(GroupSlot {
            list: list.as_fd(),
            offset: 10,
        }),
        dies_with_us: true,
    })
    .unwrap();
    assert!(spawned.is_listed);
    let mut lines = String::new();
    list.read_to_string(&mut lines).unwrap();
    assert_eq!(lines, format!("{}{:09}\n", "\0".repeat(10), spawned.pid));
}

#[test]
fn a_program_dies_with_the_thread_that_started_it_only_where_it_shall() {
    for dies_with_us in [true, false] {
        let (words, mut to_it) = io::pipe().unwrap();
        let (mut from_it, write) = io::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            spawn(&Image {
                program: &CString::new("/bin/cat").unwrap(),
                arguments: &strings(&["cat"]),
                environment: &[],
                directory: None,
                descriptors: &[words.as_raw_fd(), write.as_raw_fd(), write.as_raw_fd()],
                group_slot: None,
                dies_with_us,
            })
            .unwrap()
        });
        let spawned = thread.join().unwrap();
        if !dies_with_us {
            to_it.write_all(b"alive").unwrap();
            from_it.read_exact(&mut [0; 5]).unwrap();
            drop(to_it);
        }
        from_it.read_to_end(&mut Vec::new()).unwrap();
        reap_failed(&spawned);
    }
}

#[test]
fn a_failure_tells_its_step_and_leaves_no_child() {
    let null_file = File::open("/dev/null").unwrap();
    let null = null_file.as_raw_fd();
    let image = |directory: Option<&CString>, program: &str| {
        let descriptors = [null; 3];
        let image = Image {
            program: &CString::new(program).unwrap(),
            arguments: &strings(&["x"]),
            environment: &[],
            directory,
            descriptors: &descriptors,
            group_slot: None,
            dies_with_us: true,
        };
        spawn(&image).map(drop).map_err(|failed| {
            reap_failed(&failed.child.unwrap());
            (failed.step, failed.cause.kind())
        })
    };
    let missing = CString::new("/nonexistent").unwrap();
    let not_found = io::ErrorKind::NotFound;
    assert_eq!(image(None, "/nonexistent"), Err((Step::Exec, not_found)));
    assert_eq!(
        image(Some(&missing), "/bin/true"),
        Err((Step::Directory, not_found))
    );
}
