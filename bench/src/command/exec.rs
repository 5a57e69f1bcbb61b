//! A program run in a Linux guest by its agent: by the command, and by the
//! library on a connection that exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use qemu_machine::qmp::agent::GuestAgent;
use qemu_machine::{Console, Machine, Wait};

use super::{COMMAND, EXEC, timed};
use crate::Failure;
use crate::operation::{Bar, Limit, Measured, Operation, Unit};
use crate::setting::Setting;
use crate::turns::{Contender, in_turns};

pub(super) fn measure(setting: &Setting) -> Result<Operation, Failure> {
    let guest = Guest::boot(setting)?;
    let contenders = vec![
        Contender::new(FLOOR_LIBRARY, || guest.exec_by_library()),
        Contender::new(COMMAND, || {
            let mut agent = Command::new(&setting.command);
            agent.arg("agent").arg(&guest.socket);
            timed(agent.args(["exec", "/bin/sh", "-c", ":"]))
        }),
    ];
    let mut measured = in_turns(setting.size(60, 1), contenders)?;
    let more = measured[1].values.iter().zip(&measured[0].values);
    let more = more.map(|(command, library)| command - library);
    measured.push(Measured {
        who: MORE,
        values: more.collect(),
    });
    Ok(Operation {
        id: EXEC,
        name: "a program run in a Linux guest".into(),
        about:
            "`qemu-machine agent SOCKET exec /bin/sh -c :`, from the start of the command to its \
                end. The floor is the library's `exec` alone, on a connection that exists and has \
                answered. *More than the library*: the difference of both in each round."
                .into(),
        unit: Unit::Seconds,
        contenders: measured,
        bars: vec![Bar {
            who: MORE,
            limit: Limit::AtMost(0.030),
        }],
    })
}

/// A running Linux, and the socket of its agent.
struct Guest {
    folder: PathBuf,
    socket: PathBuf,
    machine: Option<Machine>,
}

impl Guest {
    fn boot(setting: &Setting) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("qemu-bench-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let mut guest = Self {
            socket: folder.join("agent"),
            folder,
            machine: None,
        };
        let path = guest.socket.display();
        let machine = Machine::builder(&setting.qemu)
            .accel(["tcg"])
            .memory("256M")
            .kernel(setting.linux.join("vmlinuz"))
            .initrd(setting.linux.join("initramfs-agent"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial())
            .args(["-nodefaults", "-device", "virtio-serial", "-chardev"])
            .arg(format!("socket,id=agent,path={path},server=on,wait=off"))
            .arg("-device")
            .arg("virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
            .launch()
            .wait()?;
        machine
            .console()
            .expect("guest ready")
            .timeout(BOOT)
            .wait()?;
        guest.machine = Some(machine);
        guest.exec_by_library()?;
        Ok(guest)
    }

    /// The time of the `exec` alone.
    fn exec_by_library(&self) -> Result<f64, Failure> {
        let connect = GuestAgent::connect_unix(&self.socket).already_listening();
        let agent = connect.wait()?;
        agent.wait_until_ready().timeout(BOOT).wait()?;
        let begun = Instant::now();
        let ran = agent.exec("/bin/sh").args(["-c", ":"]).wait()?;
        let time = begun.elapsed().as_secs_f64();
        match ran.code {
            Some(0) => Ok(time),
            code => Err(format!("the guest's shell ended with {code:?}").into()),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.machine.take());
        let _ = fs::remove_dir_all(Path::new(&self.folder));
    }
}

const FLOOR_LIBRARY: &str = "floor, the library";
const MORE: &str = "ours, more than the library";
const BOOT: Duration = Duration::from_secs(120);
