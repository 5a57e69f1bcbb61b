"""Templates: a guest boots once, and is cloned."""

import asyncio
import gc
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, List

from qemu_machine import (
    Clone,
    Identity,
    LaunchError,
    Machine,
    Template,
    TemplateError,
    TemplateStore,
    TemplateTimeout,
    WakeError,
)

from support import LONG, Script, Test, has_ended, tiny
from test_linux import linux


def freezable(binary: str = "qemu-system-x86_64", **options: Any) -> Machine:
    """A tiny guest that can be frozen."""
    return tiny(binary, memory="16M", freezable=True, **options)


def frozen(binary: str = "qemu-system-x86_64") -> Template:
    """A template of a tiny guest that waits for a command."""
    with freezable(binary) as vm:
        vm.console.expect("> ")
        return vm.freeze()


def answers(vm: Machine) -> bool:
    """Whether the guest of a clone goes on where it was frozen."""
    vm.console.send("echo cloned\n")
    return vm.console.expect("cloned").text == "cloned"


class Templates(Test):
    def test_a_guest_is_frozen_and_goes_on_in_each_clone(self) -> None:
        for binary in self.each_qemu():
            template = frozen(binary)
            self.assertTrue(Path(template.path).is_dir())
            self.assertTrue(binary.split("/")[-2].startswith(template.version[:2]), binary)
            with tempfile.TemporaryDirectory() as folder:
                log = Path(folder, "one.log")
                one = template.machine(name="one", console_log=log)
                with one, template.machine() as two:
                    self.assertEqual((one.name, one.console.log), ("one", str(log)))
                    self.assertNotEqual(one.pid, two.pid)
                    self.assertTrue(answers(one) and answers(two))
                    pids = [one.pid or 0, two.pid or 0]
                self.assertIn("cloned", log.read_text())
            self.assertTrue(all(has_ended(pid) for pid in pids))
            path = template.path
            del template, one, two
            self.assertFalse(Path(path).exists())

    def test_coroutines_freeze_and_clone(self) -> None:
        async def work() -> None:
            async with freezable() as vm:
                await vm.aio.console.expect("> ")
                template = await vm.aio.freeze()
            async with template.machine() as clone:
                await clone.aio.console.send("echo cloned\n")
                await clone.aio.console.expect("cloned")

        asyncio.run(work())

    def test_a_kept_template_is_opened_again(self) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            path = Path(folder, "kept")
            with freezable() as vm:
                vm.console.expect("> ")
                vm.freeze(keep_at=path)
            with Template.open(path, tiny(memory="16M")).machine() as clone:
                self.assertTrue(answers(clone))
            with self.assertRaises(TemplateError):
                Template.open(path, tiny(memory="32M"))
            with self.assertRaises(TemplateError):
                Template.open(folder, tiny(memory="16M"))

    def test_what_cannot_be_frozen_or_cloned_says_why(self) -> None:
        with tiny() as vm:
            with self.assertRaisesRegex(TemplateError, "freezable") as failed:
                vm.freeze()
            self.assertEqual(failed.exception.kind, "invalid-input")
            self.assertIs(type(pickle.loads(pickle.dumps(failed.exception))), TemplateError)
        with self.assertRaises(LaunchError):
            frozen().machine(args=["-device", "virtio-rng-pci"]).launch()
        with frozen().machine() as clone, self.assertRaises(WakeError):
            # The tiny guest is no Linux.
            clone.wake(timeout=0.5)

    def test_a_linux_wakes_with_an_identity_of_its_own(self) -> None:
        with linux("qemu-system-x86_64", "initramfs", freezable=True) as vm:
            vm.console.expect("~ # ", timeout=LONG)
            template = vm.freeze()
        with template.machine() as clone:
            identity = clone.wake(hostname="node-3", timeout=LONG)
            self.assertEqual(len(identity.machine_id), 32)
            self.assertTrue(identity.mac(1).endswith(":01"))
            self.assertEqual(clone.console.shell().run("hostname").text, "node-3")

    def test_clones_of_a_prepared_linux_wake_by_a_short_line_with_a_given_identity(
        self,
    ) -> None:
        async def prepare(vm: Machine) -> Template:
            await vm.aio.prepare_wake()
            return await vm.aio.freeze()

        identity = Identity.random()
        for is_prepared in (False, True):
            with linux("qemu-system-x86_64", "initramfs", freezable=True) as vm:
                vm.console.expect("~ # ", timeout=LONG)
                template = asyncio.run(prepare(vm)) if is_prepared else vm.freeze()
            with template.machine() as clone:
                got = clone.wake(identity=identity, hostname="node-4", timeout=LONG)
                # The long script reads it, and the console shows what was typed.
                self.assertEqual("urandom" in clone.console.tail, not is_prepared)
                self.assertEqual(got.machine_id, identity.machine_id)
                self.assertEqual(clone.console.shell().run("hostname").text, "node-4")

    def test_an_identity_has_a_script_for_a_shell_that_is_open(self) -> None:
        one, two = Identity.random(), Identity.random()
        self.assertNotEqual(one.machine_id, two.machine_id)
        self.assertNotEqual(one.mac(0), two.mac(0))
        named = one.hostname("node-5")
        self.assertEqual(named.machine_id, one.machine_id)
        self.assertIn("node-5", named.script())
        self.assertNotIn("node-5", one.script())

    def test_no_reference_cycle_is_left(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = TemplateStore(folder)
            gc.collect()
            gc.disable()
            try:
                machine = tiny(memory="16M")
                template = store.template(machine, lambda vm: vm.console.expect("> "))
                with template.pool(1, warm_up=lambda vm: None) as pool, pool.take() as vm:
                    pid = vm.pid or 0
                del machine, template, pool, vm
                self.assertEqual(gc.collect(), 0)
            finally:
                gc.enable()
        self.assertTrue(has_ended(pid))

    def test_a_fork_is_refused(self) -> None:
        script = Script("""
from qemu_machine import ForkError
from test_templates import frozen
template = frozen()
pool = template.pool(1, warm_up=lambda vm: None)
path = template.path
child = os.fork()
if child == 0:
    status = 0
    for use in (template.machine().launch, pool.take, lambda: template.path):
        try:
            use()
            status = 1
        except ForkError:
            pass
    del template, pool
    sys.exit(status)
assert os.waitpid(child, 0)[1] == 0
with pool.take() as clone, template.machine() as other:
    print(os.path.isdir(path), clone.is_running, other.is_running)
""")
        ended = script.finish()
        self.assertEqual((ended.stdout, ended.stderr), ("True True True\n", ""))


class Stores(Test):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.store = TemplateStore(folder.name)
        self.made: List[str] = []

    def boot(self, vm: Machine) -> None:
        """The set-up of the tests."""
        self.made.append(vm.name)
        vm.console.expect("> ")

    def template(self, **options: Any) -> Template:
        return self.store.template(tiny(memory="16M"), self.boot, **options)

    def test_a_guest_boots_once(self) -> None:
        for _ in range(2):
            with self.template().machine() as clone:
                self.assertTrue(answers(clone))
        self.assertEqual(len(self.made), 1)
        # A clone that may be launched again keeps its template open.
        del clone
        template = self.template(version="2")
        self.assertEqual(len(self.made), 2)
        first, second = self.store.list()
        self.assertEqual((first.path, first.is_in_use), (template.path, True))
        self.assertFalse(self.store.remove(first.key))
        self.assertTrue(self.store.remove(second.key))
        del template
        self.assertEqual(self.store.prune(0), [first.key])

    def test_threads_and_processes_share_one_boot(self) -> None:
        threads = [threading.Thread(target=self.template) for _ in range(3)]
        for thread in threads:
            thread.start()
        program = f"""
from qemu_machine import TemplateStore
from support import tiny
boots = []
def boot(vm):
    boots.append(vm)
    vm.console.expect("> ")
TemplateStore({self.store.path!r}).template(tiny(memory="16M"), boot)
print(len(boots))
"""
        other = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, timeout=LONG, cwd=Path(__file__).parent,
        )  # fmt: skip
        for thread in threads:
            thread.join()
        self.assertEqual(len(self.made) + int(other.stdout or other.stderr), 1)

    def test_the_exception_of_a_set_up_is_raised_and_nothing_is_left(self) -> None:
        pids = []

        def fail(vm: Machine) -> None:
            pids.append(vm.pid or 0)
            raise ZeroDivisionError("of the set-up")

        with self.assertRaises(ZeroDivisionError) as failed:
            self.store.template(tiny(memory="16M"), fail)
        self.assertEqual(str(failed.exception), "of the set-up")
        self.assertTrue(all(has_ended(pid) for pid in pids))
        self.assertEqual(self.store.list(), [])

    def test_coroutines_make_templates(self) -> None:
        async def boot(vm: Machine) -> None:
            await vm.aio.console.expect("> ")
            self.made.append(vm.name)

        async def work() -> None:
            machine = tiny(memory="16M")
            made = [self.store.aio.template(machine, boot) for _ in range(3)]
            templates = await asyncio.gather(*made)
            async with templates[0].machine() as clone:
                await clone.aio.console.send("echo cloned\n")
                await clone.aio.console.expect("cloned")

        asyncio.run(work())
        self.assertEqual(len(self.made), 1)

    def test_a_cancelled_set_up_leaves_nothing(self) -> None:
        pids: List[int] = []

        async def stay(vm: Machine) -> None:
            pids.append(vm.pid or 0)
            await vm.aio.console.expect("never", timeout=None)

        async def work() -> None:
            with self.assertRaises(TemplateTimeout):
                await self.store.aio.template(tiny(memory="16M"), stay, timeout=10)

        asyncio.run(work())
        self.assertTrue(pids and has_ended(pids[0]))
        self.assertEqual(self.store.list(), [])


class Pools(Test):
    def test_clones_are_ready_and_warm(self) -> None:
        def warm_up(vm: Machine) -> None:
            vm.console.send("echo warm\n")
            vm.console.expect("warm")

        with frozen().pool(2, warm_up=warm_up) as pool:
            self.assertEqual(pool.wait_until_filled(), 2)
            pids = []
            for _ in range(3):
                with pool.take() as vm:
                    self.assertIsInstance(vm, Clone)
                    self.assertTrue(answers(vm))
                    pids.append(vm.pid or 0)
            self.assertEqual(len(set(pids)), 3)
            with self.assertRaises(RuntimeError):
                vm.launch()
        with self.assertRaises(RuntimeError):
            pool.take()
        self.assertTrue(all(has_ended(pid) for pid in pids))

    def test_coroutines_take_clones(self) -> None:
        warmed = []

        async def warm_up(vm: Machine) -> None:
            await vm.aio.execute("query-status")
            warmed.append(vm.pid)

        async def work() -> None:
            async with frozen().pool(1, warm_up=warm_up) as pool:
                self.assertEqual(await pool.aio.wait_until_filled(), 1)
                async with await pool.aio.take() as vm:
                    self.assertIn(vm.pid, warmed)

        asyncio.run(work())

    def test_the_exception_of_a_warm_up_reaches_the_taker(self) -> None:
        def fail(vm: Machine) -> None:
            raise ZeroDivisionError

        with frozen().pool(1, warm_up=fail) as pool, self.assertRaises(ZeroDivisionError):
            pool.take()

    def test_a_pool_ends_with_its_program(self) -> None:
        body = """
from test_templates import frozen
pids = []
def warm_up(vm):
    pids.append(vm.pid)
    if len(pids) > 1:
        is_second.set()
        time.sleep(60)
is_second = threading.Event()
pool = frozen().pool(2, warm_up=warm_up)
is_second.wait()
print(*pids, flush=True)
"""
        for end, status in (("", 0), ("os._exit(4)", 4), ("os.kill(os.getpid(), 9)", -9)):
            with self.subTest(end):
                script = Script(body + end)
                ended = script.finish()
                self.assertEqual((ended.returncode, ended.stderr), (status, ""))
                for pid in (script.qemu, *map(int, ended.stdout.split())):
                    self.assertTrue(has_ended(pid))
