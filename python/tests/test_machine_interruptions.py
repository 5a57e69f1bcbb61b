"""A signal's handler may raise after every bytecode of a machine's end or launch.

QEMU is dead and reaped then, nothing is left of it, and the object can be used.
"""

import faulthandler
import os
import warnings
from typing import Any, Callable, Tuple

from tests.machines import BASE, MachineTest, machine
from tests.scripted import HANGS
from tests.test_interruptions import interrupted_at

TRACED = (
    "/machine/machine.py",
    "/machine/_console_face.py",
    "/machine/_output_log.py",
    "/machine/_process.py",
    "/machine/console_socket.py",
)


#: What a machine uses of its monitor.
MONITOR = ("legacy.py", "_sync_connection.py", "_blocking_stream.py")


class MachineInterruptions(MachineTest):
    def setUp(self) -> None:
        super().setUp()
        # Of a descriptor that is closed because nobody has it any more.
        block = warnings.catch_warnings()
        block.__enter__()
        self.addCleanup(block.__exit__, None, None, None)
        warnings.simplefilter("ignore", ResourceWarning)

    def each_place(
        self,
        prepare: Callable[[], Any],
        call: Callable[[Any], Any],
        traced: Tuple[str, ...] = TRACED,
    ) -> None:
        """Interrupt a call at each place."""
        place, is_interrupted = 1, True
        while is_interrupted:
            # The limit is that of one place.
            faulthandler.dump_traceback_later(HANGS, exit=True)
            vm = prepare()
            is_interrupted = interrupted_at(place, lambda: call(vm), traced)
            with self.subTest(place=place):
                self.check(vm)
            place += 1
        self.assertGreater(place, 50)

    def check(self, vm: Any) -> None:
        # Before its begin, and after the end of a launch, a call has no effect.
        runs = vm._launched and not vm._user_killed and vm.is_running()
        if not runs and vm._popen is not None:
            self.assertFalse(vm._launched)
            self.assertEqual(os.listdir(BASE[0]), [])
            self.assertIsNotNone(vm._popen.returncode)
        vm.kill()
        self.assertFalse(vm._launched or vm.is_running())
        vm.launch()
        self.assertTrue(os.path.isdir(vm.temp_dir))
        vm.kill()
        # The fake prints at its start, unless it is killed before.
        self.assertIsNotNone(vm.get_log())
        self.assertEqual(vm.exitcode(), -9)
        self.assertEqual(os.listdir(BASE[0]), [])

    def new(self) -> Any:
        # Without a monitor, a launch does not wait for QEMU.
        vm = machine(drain_console=True)
        vm.set_qmp_monitor(enabled=False)
        vm.set_console()
        return vm

    def launched(self) -> Any:
        vm = self.new()
        vm.launch()
        return vm

    def test_an_interrupted_kill_leaves_nothing(self) -> None:
        def prepare() -> Any:
            vm = self.launched()
            self.assertTrue(vm.temp_dir and vm.console_socket)
            return vm

        self.each_place(prepare, lambda vm: vm.kill())

    def test_an_interrupted_launch_leaves_nothing(self) -> None:
        self.each_place(self.new, lambda vm: vm.launch())

    def test_an_interrupted_creation_of_the_folder_is_done_again(self) -> None:
        self.each_place(self.launched, lambda vm: vm.temp_dir)

    def test_an_interrupted_close_of_the_monitor_leaves_nothing(self) -> None:
        def prepare() -> Any:
            vm = machine()
            vm.launch()
            # The rest of the test needs none.
            vm.set_qmp_monitor(enabled=False)
            return vm

        self.each_place(prepare, lambda vm: vm.kill(), MONITOR)
