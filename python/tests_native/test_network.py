"""The user-mode network, and its forwarded ports."""

import asyncio
import socket

from qemu_machine import ForwardError, LaunchError, Machine, MachineEnded, UserNet

from support import Test

ANY = ("127.0.0.1", 0)


def networked(binary: str = "qemu-system-x86_64", **options: object) -> Machine:
    """A machine that runs no guest, so QEMU answers on the network alone."""
    return Machine(binary, args=["-S", "-nodefaults"], **options)  # type: ignore[arg-type]


class Networks(Test):
    def test_the_system_chooses_the_port_of_a_forward(self) -> None:
        for binary in self.each_qemu():
            one = UserNet("one").model("e1000").forward_tcp(ANY, 22).forward_tcp(ANY, 80)
            two = UserNet("two").restrict().forward_tcp(("localhost", 0), 22)
            with networked(binary, netdev_user=[one, two]) as vm:
                ports = {
                    vm.forwarded_port("one", 22),
                    vm.forwarded_port("one", 80),
                    asyncio.run(_port(vm, "two", 22)),
                }
                self.assertEqual(len(ports), 3)
                for port in ports:
                    socket.create_connection(("127.0.0.1", port)).close()
                words = " ".join(vm.argv)
                self.assertIn("e1000,netdev=one", words)
                self.assertIn("restrict=on", words)
                with self.assertRaises(ForwardError) as failed:
                    vm.forwarded_port("one", 443)
                self.assertEqual(failed.exception.kind, "not-found")

    def test_one_network_needs_no_list_and_takes_any_option(self) -> None:
        network = UserNet("net0").set("hostname", "a,b")
        # Each method returns a new one.
        self.assertIsNot(network.restrict(), network)
        with networked(netdev_user=network) as vm:
            self.assertIn("user,id=net0,hostname=a,,b", vm.argv)
            self.assertNotIn("restrict", " ".join(vm.argv))

    def test_a_port_that_is_in_use_fails_the_launch(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            network = UserNet("net0").forward_tcp(server.getsockname(), 22)
            with self.assertRaises(LaunchError) as failed:
                networked(netdev_user=network).launch()
            assert failed.exception.report is not None
            self.assertEqual(failed.exception.report.code, 1)

    def test_wrong_networks_are_refused_before_anything_runs(self) -> None:
        for wrong in ("net0", ["net0"], 5):
            with self.subTest(wrong), self.assertRaises(TypeError):
                networked(netdev_user=wrong).launch()
        with self.assertRaises((TypeError, OverflowError)):
            UserNet("net0").forward_tcp(("127.0.0.1", 65536), 22)

    def test_a_port_of_a_machine_that_has_ended_has_its_report(self) -> None:
        with networked(netdev_user=UserNet("net0")) as vm:
            vm.shutdown()
            with self.assertRaises(MachineEnded) as failed:
                vm.forwarded_port("net0", 22)
            assert failed.exception.report is not None


async def _port(vm: Machine, network: str, guest_port: int) -> int:
    return await vm.aio.forwarded_port(network, guest_port)
