//! A program for Linux on x86-64 that makes the kernel use the seed that it has
//! (ioctl `RNDRESEEDCRNG`, random(4)). For guests without Perl and Python, whose
//! shells have no other way to call it.

use std::fmt::Write as _;

/// What `uname -m` prints where the program runs.
pub(super) const MACHINE: &str = "x86_64";

/// A POSIX shell script that writes the program to a file, runs it, and removes
/// the file. It tries several folders, because some allow no programs.
pub(super) fn script() -> String {
    // Each escape ends where the next one begins, so none needs zeros.
    let bytes = program().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:o}");
        text
    });
    format!(
        "(exec 2>/dev/null;umask 077;for d in /run /tmp /dev/shm /root /;do \
         p=$d/.reseed-$$;printf \"{bytes}\">$p&&chmod 700 $p&&$p;\
         e=$?;rm -f $p;[ $e = 0 ]&&break;done;:)"
    )
}

/// An ELF file of one segment.
fn program() -> Vec<u8> {
    let size = u64::try_from(START + CODE.len() + DEVICE.len()).expect("a few bytes");
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"); // 64 bits, little endian
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version 1
    file.extend((BASE + START as u64).to_le_bytes()); // entry
    file.extend(HEADER.to_le_bytes()); // program headers
    file.extend([0; 12]); // no section headers, no flags
    file.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // sizes; one program header
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load; read and execute
    file.extend(0_u64.to_le_bytes()); // offset
    file.extend([BASE, BASE, size, size].map(u64::to_le_bytes).concat());
    file.extend(0x1000_u64.to_le_bytes()); // alignment
    file.extend(CODE);
    file.extend(DEVICE);
    file
}

const BASE: u64 = 0x40_0000;
const HEADER: u64 = 64;
/// Where the code begins: after both headers.
const START: usize = 64 + 56;

const DEVICE: &[u8] = b"/dev/urandom\0";

const CODE: &[u8] = &[
    0x6a, 0x02, 0x58, // rax = open
    0x48, 0x8d, 0x3d, 0x1a, 0x00, 0x00, 0x00, // rdi = DEVICE
    0x6a, 0x02, 0x5e, // rsi = O_RDWR
    0x0f, 0x05, // system call
    0x97, // edi = the descriptor
    0x6a, 0x10, 0x58, // rax = ioctl
    0xbe, 0x07, 0x52, 0x00, 0x00, // esi = RNDRESEEDCRNG
    0x0f, 0x05, // system call
    0x89, 0xc7, 0xc1, 0xef, 0x1f, // edi = 1 if it failed, or 0
    0x6a, 0x3c, 0x58, // rax = exit
    0x0f, 0x05, // system call
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_code_ends_where_the_path_begins() {
        // The place of the path is counted from the end of its instruction.
        assert_eq!(CODE.len() - 10, usize::from(CODE[6]));
        assert_eq!(program().len(), START + CODE.len() + DEVICE.len());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_runs_on_this_host() {
        let id = Command::new("id").arg("-u").output().unwrap();
        let is_root = id.stdout == b"0\n";
        let folder = std::env::temp_dir().join(format!("reseed-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let script = script().replace("/run /tmp", ".");
        // The status of the program instead of the script's own.
        let script = script.replace("break;done;:", "exit 0;exit 7;done");
        let mut shell = Command::new("sh");
        let ran = shell.args(["-c", &script]).current_dir(&folder).status();
        let ran = ran.unwrap();
        // Only root may; where programs are forbidden, the loop goes on.
        assert_eq!(ran.code(), Some(if is_root { 0 } else { 7 }));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
    }
}
