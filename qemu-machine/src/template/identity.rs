//! What a clone does not share with its siblings, and the script that gives it
//! to a Linux guest. Pure, with the time and the random bytes passed in.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::reseed;

/// What a clone must not share with its siblings: its seed of random numbers,
/// its machine id, boot id and MAC addresses, and if wanted its host name.
///
/// # Examples
/// ```
/// use qemu_machine::template::Identity;
///
/// let identity = Identity::random()?.hostname("node-3");
/// assert_eq!(identity.machine_id().len(), 32);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    seed: [u8; 32],
    machine_id: [u8; 16],
    boot_id: [u8; 16],
    mac_prefix: [u8; 5],
    hostname: Option<String>,
}

impl Identity {
    /// Makes an identity of random bytes of this host.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 69];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8; 69]) -> Self {
        let mut rest = bytes.as_slice();
        let mut take = |buffer: &mut [u8]| rest.read_exact(buffer).expect("as many as are needed");
        let mut identity = Self {
            seed: [0; 32],
            machine_id: [0; 16],
            boot_id: [0; 16],
            mac_prefix: [0; 5],
            hostname: None,
        };
        take(&mut identity.seed);
        take(&mut identity.machine_id);
        take(&mut identity.boot_id);
        take(&mut identity.mac_prefix);
        // A locally administered address of one card (IEEE 802).
        identity.mac_prefix[0] = identity.mac_prefix[0] & 0xfc | 2;
        identity
    }

    /// Also gives the guest this host name.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// The machine id, as `/etc/machine-id` has it: 32 hexadecimal digits.
    pub fn machine_id(&self) -> String {
        hex(&self.machine_id)
    }

    /// The MAC address of the guest's network card with this index, counted from
    /// 0 in the order of `/sys/class/net`.
    pub fn mac(&self, index: u8) -> String {
        let prefix = self.mac_prefix.map(|byte| format!("{byte:02x}:"));
        format!("{}{index:02x}", prefix.concat())
    }

    /// A POSIX shell script that gives a Linux guest this identity, and the time
    /// of this host. It needs the rights of root, `date` and `mount`, and `ip`
    /// or `ifconfig` if there is a network card. [`Machine::wake`] runs it. Run
    /// it at once, because the time in it passes.
    ///
    /// It prints what it could not do, and its status is 1 then.
    ///
    /// [`Machine::wake`]: crate::Machine::wake
    pub fn script(&self) -> String {
        let others = self.script_without_time();
        let (reseed, time) = (reseed::script(), time_script(""));
        // Without the blank, a shell reads arithmetic.
        format!(
            "machine=$( {others})&&{{ [ \"$machine\" != {} ]||{reseed};}}&&{time}>/dev/null||{{ echo \"$machine\";false;}}",
            reseed::MACHINE
        )
    }

    /// The script for all but the time. It prints the guest's `uname -m` if the
    /// guest has nothing that makes the kernel use the seed.
    pub(super) fn script_without_time(&self) -> String {
        format!("(set -- {};{})", self.words(), body("r=$(uname -m)"))
    }

    /// The line for a guest that has the [`functions`], with the time.
    pub(super) fn prepared_line(&self) -> String {
        format!("{WAKE} {} {}", self.words(), time_words(now()))
    }

    /// What differs between two clones, as words of a shell.
    fn words(&self) -> String {
        let name = self.hostname.as_deref().unwrap_or_default();
        // In double quotes, a shell reads only these.
        let name = name.replace(['"', '$', '`', '\\', '\''], "");
        let mac = self.mac(0);
        format!(
            "{} {} {} {} \"{name}\"",
            hex(&self.seed),
            self.machine_id(),
            uuid(&self.boot_id),
            &mac[..mac.len() - 3],
        )
    }
}

/// A script that defines functions in the guest's shell, by which
/// [`Identity::prepared_line`] wakes a clone of the guest.
pub(super) fn functions() -> String {
    let reseed = format!(
        "[ $(uname -m) = {} ]&&{}",
        reseed::MACHINE,
        reseed::script()
    );
    format!(
        "{TIME}(){{ {};}};{WAKE}(){{ {TIME} $6 $7 $8 $9 \"\"&&({});}}",
        time_body(),
        body(&reseed)
    )
}

/// Gives the identity in `$1` to `$5`. Without Perl and Python, `reseed` must
/// make the kernel use the seed. The script has only characters that can be
/// typed as they are, and few of them: a guest's line editor is slow.
fn body(reseed: &str) -> String {
    [
        "exec 2>/dev/null;f= r=;",
        "echo $1>/dev/urandom||f=\"$f seed\";",
        "perl -e \"open F,q(+</dev/urandom);ioctl F,0x5207,0 or exit 1\"||",
        "python3 -c \"import fcntl;fcntl.ioctl(open(\\\"/dev/urandom\\\"),0x5207)\"||",
        reseed,
        ";[ -s /etc/machine-id ]&&{ echo $2>/etc/machine-id||f=\"$f machine-id\";};",
        "b=;for d in /run /var/run \"\";do echo $3>$d/.boot-id&&b=$d/.boot-id&&break;done;",
        "[ $b ]&&mount -o bind $b /proc/sys/kernel/random/boot_id||f=\"$f boot-id\";",
        "[ \"$5\" ]&&{ hostname \"$5\"||f=\"$f hostname\";",
        "[ -e /etc/hostname ]&&echo \"$5\">/etc/hostname;};",
        "i=0;for c in /sys/class/net/*/device;do [ -e \"$c\" ]||continue;",
        "c=${c%/device};c=${c##*/};m=$4:$(printf %02x $i);i=$((i+1));a=\"ip link set dev $c\";",
        "$a address $m||{ $a down;$a address $m;$a up;}||",
        "{ ifconfig $c down;ifconfig $c hw ether $m&&ifconfig $c up;}||f=\"$f $c\";done;",
        "[ \"$f\" ]&&{ echo \"not set:$f\";exit 1;};echo $r",
    ]
    .concat()
}

/// The names of the functions in the guest's shell.
const WAKE: &str = "_qw";
const TIME: &str = "_qt";

/// A script that gives a Linux guest the time of this host, now. If it prints a
/// number, then that is a process which sets the time once more: some `date`
/// takes whole seconds only. It is set to the nearest one first, and at the
/// beginning of the next one again. `earlier` is such a process, which it ends.
pub(super) fn time_script(earlier: &str) -> String {
    time_script_at(now(), earlier)
}

/// The script, with the time since 1970 in it.
fn time_script_at(now: Duration, earlier: &str) -> String {
    let words = time_words(now);
    format!("(set -- {words} \"{earlier}\";{})", time_body())
}

/// Sets the time in `$1` to `$4`; `$5` is an earlier process.
fn time_body() -> &'static str {
    "(exec 3>&1 >/dev/null 2>&1;[ \"$5\" ]&&kill $5;date -u -s @$1||\
     { date -u -s @$2&&{ (sleep $3&&date -u -s @$4)</dev/null 3>&-& echo $!>&3;};}||\
     { echo not set: clock>&3;exit 1;})"
}

/// The time with its fraction, in the nearest second, until the next one, and
/// that second.
fn time_words(now: Duration) -> String {
    let (seconds, nanos) = (now.as_secs(), now.subsec_nanos());
    let nearest = seconds + u64::from(nanos >= 500_000_000);
    let rest = Duration::from_nanos(u64::from(1_000_000_000 - nanos));
    let (rest, next) = (rest.as_secs_f64(), seconds + 1);
    let millis = nanos / 1_000_000;
    format!("{seconds}.{millis:03} {nearest} {rest:.3} {next}")
}

/// The time since 1970.
fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15];
    let digit = |digit| char::from_digit(u32::from(digit), 16).expect("below 16");
    bytes.iter().flat_map(digits).map(digit).collect()
}

/// A random UUID (RFC 9562, version 4).
fn uuid(bytes: &[u8; 16]) -> String {
    let mut bytes = *bytes;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits[part].to_owned()).join("-")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn identity() -> Identity {
        Identity::of(&std::array::from_fn(|index| u8::try_from(index).unwrap()))
    }

    #[test]
    fn the_forms_are_those_of_linux() {
        let identity = identity();
        assert_eq!(identity.machine_id(), "202122232425262728292a2b2c2d2e2f");
        assert_eq!(
            uuid(&identity.boot_id),
            "30313233-3435-4637-b839-3a3b3c3d3e3f"
        );
        assert_eq!(identity.mac(7), "42:41:42:43:44:07");
        assert_ne!(Identity::random().unwrap(), Identity::random().unwrap());
    }

    #[test]
    fn what_is_typed_has_only_characters_that_need_no_escape() {
        let scripts = [
            identity().script_without_time(),
            identity().prepared_line(),
            functions(),
            time_script("7"),
        ];
        for script in scripts {
            assert!(
                script
                    .bytes()
                    .all(|it| matches!(it, b' '..=b'~') && !b"'^".contains(&it)),
                "{script}"
            );
        }
        let words = identity().prepared_line();
        assert_eq!(words.split(' ').count(), 10, "{words}");
    }

    #[test]
    fn the_script_is_one_that_shells_can_read() {
        let identity = identity().hostname("it's");
        let time = time_script_at(Duration::new(1_795_877_222, 750_000_000), "7");
        let script = format!("{}\n{time}", identity.script_without_time());
        for shell in ["dash", "bash"] {
            for script in [&script, &identity.script(), &functions()] {
                let read = Command::new(shell).args(["-n", "-c", script]).output();
                let read = read.unwrap();
                assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
            }
        }
        for part in [
            "set -- 1795877222.750 1795877223 0.250 1795877223 \"7\";",
            "set -- 000102",
            " 42:41:42:43:44 \"its\";",
        ] {
            assert!(script.contains(part), "{part} in {script}");
        }
    }
}
