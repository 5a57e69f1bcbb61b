"""Events of a machine: waiting, matching, and the cache."""

import asyncio
import unittest
from typing import Any, List

from tests.machines import MachineTest, machine

from qemu.machine import QEMUMachine
from qemu.qmp import ExecInterruptedError


def names(events: Any) -> List[str]:
    return [it["event"] for it in events]


def make(vm: Any, *events: str, **data: Any) -> None:
    """Let the fake send events, before the reply."""
    more = {"data": data} if data else {}
    vm.cmd("fake-events", events=[{"event": name, **more} for name in events])


class Matching(unittest.TestCase):
    def test_a_pattern_is_a_recursive_subset(self) -> None:
        event = {"event": "E", "data": {"id": "a", "n": {"x": 1, "y": None}, "l": [1, 2]}}
        for pattern, expected in (
            (None, True),
            ({}, True),
            ({"data": {"id": "a"}}, True),
            ({"data": {"id": "b"}}, False),
            ({"data": {"n": {"x": 1}}}, True),
            ({"data": {"n": {"x": 2}}}, False),
            ({"data": {"n": {"z": 1}}}, False),
            ({"data": {"none": None}}, False),
            ({"data": {"id": {"x": 1}}}, False),
            ({"data": {"n": 1}}, False),
            ({"data": {"id": "", "n": {}, "l": []}}, True),
            ({"data": {"id": []}}, True),
        ):
            self.assertIs(QEMUMachine.event_match(event, pattern), expected, pattern)

    def test_d12_lists_and_strings_are_compared_as_a_whole(self) -> None:
        for value, pattern, expected in (
            ([1, 2], [1, 2], True),
            ([1, 2], [1], False),
            ([1, 2], [2, 1], False),
            ([{"a": 1}], [{"a": 1}], True),
            ("abc", "abc", True),
            ("abc", "b", False),
            (["a"], {"a": 1}, False),
            ("a", {"a": 1}, False),
        ):
            self.assertIs(QEMUMachine.event_match(value, pattern), expected, (value, pattern))


class Waiting(MachineTest):
    def test_what_does_not_match_stays_in_order(self) -> None:
        with machine() as vm:
            vm.launch()
            make(vm, "A", "B", "C", "D")
            self.assertEqual(vm.event_wait("C")["event"], "C")
            self.assertEqual(names(vm._events), ["A", "B"])
            wanted = [("D", None), ("B", {"event": "B"})]
            self.assertEqual(vm.events_wait(wanted, timeout=5.0)["event"], "B")
            self.assertEqual(vm.get_qmp_event()["event"], "A")
            self.assertEqual(vm.get_qmp_event(wait=True)["event"], "D")
            self.assertIsNone(vm.get_qmp_event())

    def test_passed_over_events_come_last(self) -> None:
        with machine() as vm:
            vm.launch()
            make(vm, "A", "B")
            vm.event_wait(name="B", match=None)
            make(vm, "C")
            self.assertEqual(names(vm.get_qmp_events(wait=True)), ["C", "A"])
            self.assertEqual(vm.get_qmp_events(), [])

    def test_d5_a_limit_is_a_number_of_seconds_also_a_whole_one(self) -> None:
        with machine() as vm:
            vm.launch()
            for timeout in (0.05, 1):
                with self.assertRaises(asyncio.TimeoutError):
                    vm.event_wait("A", timeout=timeout)
            self.assertIsNone(vm.event_wait("A", timeout=0.0))
            make(vm, "A")
            self.assertEqual(vm.event_wait("A", timeout=0.0)["event"], "A")
            make(vm, "A", id="x")
            found = vm.events_wait([("A", {"data": {"id": "x"}})], timeout=True)
            self.assertEqual(found["data"], {"id": "x"})

    def test_events_are_plain_dicts_of_their_own(self) -> None:
        with machine() as vm:
            vm.launch()
            make(vm, "A", a=1)
            event = vm.get_qmp_event(wait=True)
            self.assertIs(type(event), dict)
            self.assertEqual(list(event), ["timestamp", "event", "data"])

    def test_d28_the_end_of_qemu_ends_the_wait(self) -> None:
        vm = machine()
        vm.launch()
        vm.cmd("fake-events", events=[{"event": "A"}])
        vm.qmp("quit")
        self.assertEqual(vm.event_wait("A")["event"], "A")
        with self.assertRaises(ExecInterruptedError):
            vm.event_wait("B", timeout=True)
        vm.wait()

    def test_d15_the_cache_is_bounded(self) -> None:
        with machine() as vm:
            vm.launch()
            vm._events += [{"event": "OLD"}] * 100_000
            make(vm, *"ABC", "Z")
            vm.event_wait("Z")
            self.assertEqual(len(vm._events), 100_000)
            self.assertEqual(names(vm._events[-4:]), ["OLD", "A", "B", "C"])

    def test_the_next_run_has_no_events_of_the_last(self) -> None:
        vm = machine()
        vm.launch()
        make(vm, "A", "B")
        vm.event_wait("B")
        vm.shutdown()
        self.assertEqual(names(vm._events), ["A"])
        vm.launch()
        self.assertEqual(vm.get_qmp_events(), [])
        vm.shutdown()
