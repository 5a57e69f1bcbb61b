"""Listeners: what they take, keep, and give."""

import asyncio

from tests.scripted import AsyncTest

from qemu.qmp import EventListener, Message
from qemu.qmp.events import Events, ListenerError


def named(name: str, **data: object) -> Message:
    return Message({"event": name, "data": data})


class Listeners(AsyncTest):
    async def test_names_come_first_and_then_the_filter(self) -> None:
        asked = []

        def is_odd(event: Message) -> bool:
            asked.append(event)
            return event["data"]["n"] % 2 == 1

        listener = EventListener(("A", "B"), is_odd)
        self.assertEqual(listener.names, {"A", "B"})
        self.assertTrue(listener.accept(named("A", n=1)))
        self.assertFalse(listener.accept(named("B", n=2)))
        self.assertFalse(listener.accept(named("C", n=1)))
        self.assertEqual(len(asked), 2)
        listener.names.add("C")
        self.assertTrue(listener.accept(named("C", n=1)))
        self.assertEqual(EventListener("STOP").names, {"STOP"})
        self.assertTrue(EventListener().accept(named("ANY")))

    async def test_events_come_in_order_and_the_history_keeps_them(self) -> None:
        listener = EventListener()
        for name in "ABCD":
            await listener.put(named(name))
        self.assertEqual((await listener.get())["event"], "A")
        async for event in listener:
            self.assertEqual(event["event"], "B")
            break
        self.assertEqual([it["event"] for it in listener.clear()], ["C", "D"])
        self.assertTrue(listener.empty())
        self.assertEqual([it["event"] for it in listener.history], list("ABCD"))

    async def test_a_cancelled_get_loses_no_event(self) -> None:
        listener = EventListener()
        first = asyncio.ensure_future(listener.get())
        second = asyncio.ensure_future(listener.get())
        await asyncio.sleep(0)
        await listener.put(named("A"))
        first.cancel()  # The event has woken it already.
        self.assertEqual((await second)["event"], "A")
        with self.assertRaises(asyncio.CancelledError):
            await first

    async def test_d15_a_listener_that_nobody_reads_is_bounded(self) -> None:
        listener = EventListener()
        for number in range(100_003):
            await listener.put(named("A", n=number))
        self.assertEqual(len(listener.history), 100_000)
        kept = [it["data"]["n"] for it in listener.clear()]
        self.assertEqual(kept, list(range(3, 100_003)))


class Registration(AsyncTest):
    async def test_listeners_are_registered_once_and_for_a_scope(self) -> None:
        events = Events()
        outer = EventListener()
        with events.listen(outer), events.listener("B") as inner:
            await events._event_dispatch(named("A"))
            await events._event_dispatch(named("B"))
            with self.assertRaises(ListenerError):
                events.register_listener(outer)
            self.assertEqual(len(outer.history), 2)
            self.assertEqual(len(inner.history), 1)
        self.assertTrue(outer.empty() and inner.empty())
        await events._event_dispatch(named("C"))
        self.assertEqual(len(outer.history), 2)
        self.assertEqual(len(events.events.history), 3)

    async def test_a_failed_listen_registers_none(self) -> None:
        events = Events()
        first = EventListener()
        with self.assertRaises(ListenerError):
            with events.listen(first, first):
                self.fail("the block must not run")
        events.register_listener(first)

    async def test_only_registered_listeners_can_be_removed(self) -> None:
        events = Events()
        with self.assertRaises(ListenerError):
            events.remove_listener(events.events)
        with self.assertRaises(ValueError):
            events.remove_listener(EventListener())
