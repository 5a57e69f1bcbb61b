//! How often a schema is read, which a real QEMU does not tell.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Scratch, fake_qemu, scenario};
use qemu_machine::error::SchemaError;
use qemu_machine::qmp::schema::Schema;
use qemu_machine::{Machine, MachineBuilder, Wait};

/// A peer that returns its schema once; `serve` answers everything else in
/// another shape.
fn telling(binary: &Path, command: &str) -> MachineBuilder {
    playing(
        binary,
        &format!("expect query-qmp-schema\nreply {}\nserve", schema(command)),
    )
}

fn playing(binary: &Path, script: &str) -> MachineBuilder {
    let script = format!("greet\nnegotiate\n{script}");
    Machine::builder(binary).args(["-fake-script", &script])
}

fn schema(command: &str) -> String {
    format!(
        r#"[{{"name": "{command}", "meta-type": "command", "arg-type": "0", "ret-type": "0"}}, {{"name": "0", "meta-type": "object", "members": []}}]"#
    )
}

/// A binary that no other test has.
fn own_binary(scratch: &Scratch) -> std::path::PathBuf {
    let path = scratch.join("qemu");
    let _ = fs::remove_file(&path);
    // Another test may fork while this process has the program open for writing.
    let copied = Command::new("cp").arg(fake_qemu()).arg(&path).status();
    assert!(copied.unwrap().success());
    path
}

scenario! {
    fn a_schema_is_read_once_for_each_binary_however_many_ask() {
        let scratch = Scratch::new("schema-once");
        let binary = own_binary(&scratch);
        let vm = run!(telling(&binary, "old").launch()).unwrap();
        let schemas: Vec<Arc<Schema>> = std::thread::scope(|scope| {
            let askers = [(); 8].map(|()| scope.spawn(|| vm.schema().wait().unwrap()));
            askers.into_iter().map(|asker| asker.join().unwrap()).collect()
        });
        assert!(schemas.iter().all(|it| Arc::ptr_eq(it, &schemas[0])));
        assert!(schemas[0].command("old").is_some());

        // Another machine of this binary is not even asked, also when the
        // first one has gone.
        run!(vm.shutdown()).unwrap();
        let vm = run!(playing(&binary, "serve").launch()).unwrap();
        assert!(Arc::ptr_eq(&run!(vm.schema()).unwrap(), &schemas[0]));
        run!(vm.shutdown()).unwrap();

        // What hides a part of the schema makes it another one.
        let hiding = telling(&binary, "shown").args(["-compat", "deprecated-output=hide"]);
        let vm = run!(hiding.launch()).unwrap();
        assert!(run!(vm.schema()).unwrap().command("shown").is_some());
        run!(vm.shutdown()).unwrap();

        // An upgrade puts another file in its place.
        let binary = own_binary(&scratch);
        let vm = run!(telling(&binary, "new").launch()).unwrap();
        assert!(run!(vm.schema()).unwrap().command("new").is_some());
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn behind_a_wrapper_each_machine_is_asked() {
        let scratch = Scratch::new("schema-wrapped");
        let binary = own_binary(&scratch);
        for command in ["first", "second"] {
            let builder = telling(&binary, command).wrapper(["env"]);
            let vm = run!(builder.launch()).unwrap();
            assert!(run!(vm.schema()).unwrap().command(command).is_some());
            run!(vm.shutdown()).unwrap();
        }
    }
}

scenario! {
    fn who_asks_after_one_whose_deadline_has_passed_asks_anew() {
        let scratch = Scratch::new("schema-late");
        let script = format!(
            "expect query-qmp-schema\nexpect query-qmp-schema\nreply {}\nserve",
            schema("told")
        );
        let vm = run!(playing(&own_binary(&scratch), &script).launch()).unwrap();
        let limit = Duration::from_millis(50);
        let error = run!(vm.schema().timeout(limit)).unwrap_err();
        assert!(matches!(&error, SchemaError::Timeout { server, .. } if server.contains(vm.name())), "{error}");
        assert!(run!(vm.schema()).unwrap().command("told").is_some());
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn the_end_of_the_machine_ends_who_asks() {
        let scratch = Scratch::new("schema-end");
        let vm = run!(playing(&own_binary(&scratch), "expect *\ndie SIGSEGV").launch()).unwrap();
        let error = run!(vm.schema().timeout(None)).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("SIGSEGV"), "{told}");
    }
}
