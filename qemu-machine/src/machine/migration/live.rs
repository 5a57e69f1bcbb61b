//! Checks whether a QEMU can save or move a running guest.

use qemu_qmp::Client;

use super::MoveError;

/// Fails if the guest would be broken.
///
/// Before 9.0, QEMU clears the dirty bits of pages without a notice to TCG,
/// which then writes to them unnoticed. So pages that are sent and then written
/// are out of date on the other side. The fix is "physmem: Fix migration dirty
/// bitmap coherency with TCG memory access" (03bfc2188f06), which no 7.2
/// release has. The schema of QEMU does not show it, so the version decides.
/// KVM tracks the pages itself.
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
