//! What a clone does not share with its siblings, and the script that gives it
//! to a Linux guest. Pure, with the time and the random bytes passed in.

use std::fmt::Write as _;
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
        format!(
            "machine=$({others}) && {{ [ \"$machine\" != {} ] || {reseed}; }} && {time} >/dev/null || {{ echo \"$machine\"; false; }}",
            reseed::MACHINE
        )
    }

    /// The script for all but the time. It prints the guest's `uname -m` if the
    /// guest has nothing that makes the kernel use the seed.
    pub(super) fn script_without_time(&self) -> String {
        let seed = self.seed.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:03o}");
            text
        });
        let machine_id = self.machine_id();
        let boot_id = uuid(&self.boot_id);
        let mac = self.mac(0);
        let mac = &mac[..mac.len() - 2];
        let hostname = self.hostname.as_deref().map(|name| {
            let name = name.replace('\'', "");
            format!(
                "hostname '{name}' || failed=\"$failed hostname\"\n\
                 [ ! -e /etc/hostname ] || echo '{name}' > /etc/hostname\n"
            )
        });
        format!(
            "(\n\
             exec 2>/dev/null; failed= reseed=\n\
             printf '{seed}' > /dev/urandom || failed=\"$failed seed\"\n\
             perl -e 'open F,\"+</dev/urandom\"; ioctl F,0x5207,0 or exit 1' || \
             python3 -c 'import fcntl; fcntl.ioctl(open(\"/dev/urandom\"),0x5207)' || \
             reseed=$(uname -m)\n\
             [ ! -s /etc/machine-id ] || echo {machine_id} > /etc/machine-id || \
             failed=\"$failed machine-id\"\n\
             boot=; for folder in /run /var/run ''; do\n\
             echo {boot_id} > \"$folder/.boot-id\" && boot=$folder/.boot-id && break\n\
             done\n\
             [ \"$boot\" ] && mount -o bind $boot /proc/sys/kernel/random/boot_id || failed=\"$failed boot-id\"\n\
             {hostname}\
             index=0\n\
             for card in /sys/class/net/*/device; do\n\
             [ -e \"$card\" ] || continue\n\
             card=${{card%/device}}; card=${{card##*/}}; mac={mac}$(printf %02x $index)\n\
             index=$((index + 1))\n\
             ip link set dev $card address $mac || {{ ip link set dev $card down; \
             ip link set dev $card address $mac; ip link set dev $card up; }} || {{ \
             ifconfig $card down; ifconfig $card hw ether $mac && ifconfig $card up; }} || \
             failed=\"$failed $card\"\n\
             done\n\
             [ -z \"$failed\" ] || {{ echo \"not set:$failed\"; exit 1; }}\n\
             echo $reseed )",
            hostname = hostname.unwrap_or_default(),
        )
    }
}

/// A script that gives a Linux guest the time of this host, now. If it prints a
/// number, then that is a process which sets the time once more: some `date`
/// takes whole seconds only. It is set to the nearest one first, and at the
/// beginning of the next one again. `earlier` is such a process, which it ends.
pub(super) fn time_script(earlier: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    time_script_at(now.unwrap_or_default(), earlier)
}

/// The script, with the time since 1970 in it.
fn time_script_at(now: Duration, earlier: &str) -> String {
    let end = if earlier.is_empty() {
        String::new()
    } else {
        format!("kill {earlier}; ")
    };
    let (seconds, nanos) = (now.as_secs(), now.subsec_nanos());
    let nearest = seconds + u64::from(nanos >= 500_000_000);
    let rest = Duration::from_nanos(u64::from(1_000_000_000 - nanos));
    let (rest, next) = (rest.as_secs_f64(), seconds + 1);
    format!(
        "( exec 3>&1 >/dev/null 2>&1; {end}date -u -s @{seconds}.{nanos:09} || \
         {{ date -u -s @{nearest} && {{ ( sleep {rest:.3} && date -u -s @{next} ) \
         </dev/null 3>&- & echo $! >&3; }}; }} || {{ echo not set: clock >&3; exit 1; }} )"
    )
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
    fn the_script_is_one_that_shells_can_read() {
        let identity = identity().hostname("it's");
        let time = time_script_at(Duration::new(1_795_877_222, 750_000_000), "7");
        let script = format!("{}\n{time}", identity.script_without_time());
        for shell in ["dash", "bash"] {
            for script in [&script, &identity.script()] {
                let read = Command::new(shell).args(["-n", "-c", script]).output();
                let read = read.unwrap();
                assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
            }
        }
        for part in [
            "@1795877222.750000000 ",
            "kill 7; date",
            "date -u -s @1795877223 &&",
            "sleep 0.250 ",
            "printf '\\000\\001\\002",
            "hostname 'its'",
            "mac=42:41:42:43:44:$",
        ] {
            assert!(script.contains(part), "{part} in {script}");
        }
    }
}
