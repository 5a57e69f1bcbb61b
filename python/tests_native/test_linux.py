"""A real Linux: its shell, and its guest agent."""

from typing import Any

from qemu_machine import AgentError, CommandError, Machine, ShellTimeout

from support import LINUX, LONG, Test


def linux(binary: str, initrd: str, **options: Any) -> Machine:
    """A small Linux."""
    return Machine(
        binary,
        args=["-nodefaults"],
        accel="tcg",
        memory="256M",
        kernel=LINUX / "vmlinuz",
        initrd=LINUX / initrd,
        append="console=ttyS0 quiet no_timer_check cryptomgr.notests",
        console=True,
        **options,
    )


class Linux(Test):
    def test_the_shell_runs_commands(self) -> None:
        for binary in self.each_qemu():
            with linux(binary, "initramfs") as vm:
                vm.console.expect("~ # ", timeout=LONG)
                shell = vm.console.shell()
                self.assertEqual(shell.run("echo $((6 * 7))").text, "42")
                failed = shell.run("echo gone >&2; false")
                self.assertEqual((failed.status, failed.text), (1, "gone"))
                self.assertFalse(failed.success)
                with self.assertRaises(ShellTimeout):
                    shell.run("sleep 60", timeout=0.2)
                shell.recover()
                self.assertEqual(shell.run("uname -s").text, "Linux")
                vm.console.send("poweroff -f\n")
                self.assertEqual(vm.wait().cause, "guest")

    def test_the_agent_runs_programs_and_carries_files(self) -> None:
        for binary in self.each_qemu():
            with linux(binary, "initramfs-agent", agent=True) as vm:
                vm.agent.wait_until_ready(timeout=LONG)
                agent = vm.agent
                agent.ping()
                path = {"PATH": "/bin"}
                done = agent.exec("/bin/sh", "-c", "cat; exit 3", env=path, input="in")
                self.assertEqual((done.code, done.stdout, done.success), (3, b"in", False))
                agent.write_file("/tmp-file", "a\0b")
                self.assertEqual(agent.read_file("/tmp-file"), b"a\0b")
                with self.assertRaises((AgentError, CommandError)):
                    agent.read_file("/no/such/file")
                self.assertIn("version", agent.execute_json("guest-info"))
