//! The Linux guest, its template, and what is done with its machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qemu_machine::template::{Pool, Template};
use qemu_machine::{Console, Machine, MachineBuilder, Wait};

use crate::Failure;
use crate::lifetime::rollup_kib;
use crate::setting::{Extent, Setting};

/// A Linux guest of one QEMU, and its template at the shell prompt.
pub(super) struct Guest {
    pub(super) qemu: PathBuf,
    pub(super) template: Template,
    /// Of the same guest, but its kernel is compressed.
    pub(super) compressed: Template,
    /// How long each boot, freeze and clone took, in seconds.
    pub(super) lives: Vec<Life>,
}

/// A boot up to the first answer, the freeze of that guest, and its first clone
/// up to the first answer.
pub(super) struct Life {
    pub(super) boot: f64,
    pub(super) freeze: f64,
    pub(super) clone: f64,
}

impl Guest {
    /// One of each QEMU that is measured.
    pub(super) fn of_each_qemu(setting: &Setting) -> Result<Vec<Self>, Failure> {
        let mut guests = Vec::new();
        for qemu in qemus(setting)? {
            let (first, mut template) = live(&qemu, &setting.linux, KERNEL)?;
            let mut lives = vec![first];
            for _ in 1..setting.size(7, 1) {
                let (life, of_life) = live(&qemu, &setting.linux, KERNEL)?;
                lives.push(life);
                template = of_life;
            }
            let (_, compressed) = live(&qemu, &setting.linux, "vmlinuz")?;
            guests.push(Self {
                qemu,
                template,
                compressed,
                lives,
            });
        }
        Ok(guests)
    }
}

/// The newest QEMU, and the oldest if there are several. A smoke run takes the
/// newest alone, as each boot takes seconds.
pub(super) fn qemus(setting: &Setting) -> Result<Vec<PathBuf>, Failure> {
    let oldest = match setting.extent {
        Extent::Full => oldest(&setting.qemu)?,
        Extent::Smoke => None,
    };
    let newest = setting.qemu.clone();
    Ok([Some(newest), oldest].into_iter().flatten().collect())
}

fn live(qemu: &Path, linux: &Path, kernel: &str) -> Result<(Life, Template), Failure> {
    let begun = Instant::now();
    let vm = machine(qemu)
        .kernel(linux.join(kernel))
        .initrd(linux.join("initramfs"))
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .freezable()
        .launch()
        .wait()?;
    vm.console().expect("~ # ").wait()?;
    answer(&vm)?;
    let boot = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let template = vm.freeze().wait()?;
    let freeze = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let vm = template.machine().launch().wait()?;
    answer(&vm)?;
    let clone = begun.elapsed().as_secs_f64();
    let life = Life {
        boot,
        freeze,
        clone,
    };
    Ok((life, template))
}

/// A machine like that, whose guest does not run.
pub(super) fn without_guest(qemu: &Path) -> MachineBuilder {
    machine(qemu).arg("-S")
}

fn machine(qemu: &Path) -> MachineBuilder {
    Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .memory("256M")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120))
}

/// Runs a command in the console's shell.
pub(super) fn answer(vm: &Machine) -> Result<(), Failure> {
    let mut shell = vm.console().shell().wait()?;
    let ran = shell.run(COMMAND).wait()?;
    if ran.text().trim() == "42" {
        Ok(())
    } else {
        Err(format!("the guest answered {:?}", ran.text()).into())
    }
}

/// A pool of clones that have run that command.
pub(super) fn pool(guest: &Guest) -> Result<Pool, Failure> {
    let pool = guest.template.pool(2).warm_up(|vm| async move {
        let mut shell = vm.console().shell().await?;
        shell.run(COMMAND).await?;
        Ok(())
    });
    Ok(pool.start()?)
}

/// The memory of its QEMU that is in no file: its own, and the guest's pages that
/// were written. `Private_Dirty` would also count pages of the template's file
/// that the kernel has not written to the disk yet, if one clone alone maps them.
pub(super) fn own_bytes(vm: &Machine) -> Result<f64, Failure> {
    let pid = vm.pid().ok_or("the machine has ended")?;
    let process = PathBuf::from(format!("/proc/{pid}"));
    Ok(f64::from(rollup_kib(&process, "Anonymous:")?) * 1024.0)
}

/// The oldest QEMU of the set-up, which keeps each in a folder with its version
/// as the name. `None` if `newest` is the only one.
fn oldest(newest: &Path) -> Result<Option<PathBuf>, Failure> {
    let (Some(folder), Some(program)) = (newest.parent(), newest.file_name()) else {
        return Ok(None);
    };
    let version = |folder: &Path| -> Option<Vec<u32>> {
        let name = folder.file_name()?.to_str()?;
        name.split('.').map(|part| part.parse().ok()).collect()
    };
    let Some((all, than)) = folder.parent().zip(version(folder)) else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        let older = version(&path).filter(|version| *version < than);
        found.extend(older.map(|version| (version, path.join(program))));
    }
    found.retain(|(_, program)| program.is_file());
    Ok(found.into_iter().min().map(|(_, program)| program))
}

/// The kernel of the guest, not compressed. QEMU maps such a file. A compressed
/// one it reads into its memory, in each clone too.
pub(super) const KERNEL: &str = "vmlinux";

const COMMAND: &str = "echo $((6 * 7))";
