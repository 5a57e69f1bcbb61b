//! Whether a QEMU can save or move a guest while that runs.

use qemu_qmp::Client;

use super::MoveError;

/// Refuses it where the guest would be broken.
///
/// Before 9.0, QEMU clears the dirty bits of the guest's pages without telling
/// TCG, which then writes to them unnoticed: pages that are sent and written
/// again are out of date on the other side. It was fixed by "physmem: Fix
/// migration dirty bitmap coherency with TCG memory access" (03bfc2188f06), which
/// is in none of the 7.2 series. Nothing in QEMU's schema tells of it, so the
/// version does. KVM keeps its own account.
pub(super) async fn check(qmp: &Client, machine: &str) -> Result<(), MoveError> {
    let kvm = qmp.execute_json("query-kvm", ()).timeout(None).await;
    if kvm.is_ok_and(|it| it["enabled"] == true) {
        return Ok(());
    }
    match qmp.greeting().and_then(|it| it.version.as_ref()) {
        Some(version) if version.major < 9 => Err(MoveError::NotLive {
            machine: machine.to_owned(),
            version: format!("{}.{}.{}", version.major, version.minor, version.micro),
        }),
        _ => Ok(()),
    }
}
