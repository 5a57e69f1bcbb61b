//! A migration that follows another one.

use std::path::Path;

use crate::support::{Server, scenario, serve};
use qemu_qmp::Client;
use qemu_qmp::error::MigrationError;

/// Answers the commands of one migration that has failed.
fn fails(server: &mut Server) {
    for name in ["getfd", "migrate"] {
        let command = server.expect(name);
        server.answer(&command, "{}");
    }
    server.send(r#"{"event": "MIGRATION", "data": {"status": "failed"}}"#);
    let command = server.expect("query-migrate");
    server.answer(&command, r#"{"status": "failed"}"#);
}

scenario! {
    fn a_migration_waits_until_the_one_before_is_cleaned_up() {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("migrate-set-capabilities");
            server.answer(&command, "{}");
            for instances in [
                r#"[{"type": "migration"}, {"type": "chardev", "id": "c"}]"#,
                r#"[{"type": "migration"}]"#,
                r#"[{"type": "block-node", "node-name": "migration"}]"#,
            ] {
                let command = server.expect("query-yank");
                server.answer(&command, instances);
            }
            fails(server);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let failed = run!(qmp.migrate_over(Path::new("/dev/null"))).unwrap_err();
        assert!(matches!(failed, MigrationError::Failed { .. }), "{failed}");
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_server_without_yank_instances_migrates() {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("migrate-set-capabilities");
            server.answer(&command, "{}");
            let command = server.expect("query-yank");
            server.refuse(&command, "CommandNotFound", "no such command");
            fails(server);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let failed = run!(qmp.migrate_over(Path::new("/dev/null"))).unwrap_err();
        assert!(matches!(failed, MigrationError::Failed { .. }), "{failed}");
        drop(qmp);
        server.end();
    }
}
