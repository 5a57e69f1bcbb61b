"""Which command a reply answers, also when nobody waits for it any more."""

import unittest
from typing import Any, List

import tests.scripted  # noqa: F401

from qemu.qmp._replies import MAX_LATE, Replies, ServerParseError

#: More than are remembered, many times.
MANY = 10 * MAX_LATE


def abandoned(replies: "Replies[List[Any]]", count: int, named: bool) -> List[Any]:
    """Send so many commands, and abandon each. Return their ids."""
    ids: List[Any] = []
    for _ in range(count):
        ids.append(replies.next_id() if named else None)
        waiter: List[Any] = []
        replies.add(ids[-1], waiter)
        replies.abandon(waiter)
    return ids


class Late(unittest.TestCase):
    def test_d15_abandoned_commands_are_bounded_and_each_late_reply_is_known(self) -> None:
        replies: Replies[List[Any]] = Replies()
        first: List[Any] = []
        first_id = replies.next_id()
        replies.add(first_id, first)
        ids = abandoned(replies, MANY, named=True)
        self.assertLess(len(replies._sent), 2 * MAX_LATE + 2)
        for msg_id in ids:
            self.assertEqual(replies.answer({"return": {}, "id": msg_id}), (True, None))
        self.assertEqual(len(replies._sent), 1)
        known, waiter = replies.answer({"return": {}, "id": first_id})
        self.assertIs(waiter, first)
        numbers = ("", "x", f"{MANY + 1:05d}", "1" * 9999)
        for unknown in ("mine", *("__qmp#" + it for it in numbers)):
            self.assertEqual(replies.answer({"return": {}, "id": unknown}), (False, None))

    def test_d15_late_replies_without_ids_answer_no_other_command(self) -> None:
        for in_order, named in ((False, False), (True, False), (True, True)):
            with self.subTest(in_order=in_order, named=named):
                replies: Replies[List[Any]] = Replies(in_order)
                abandoned(replies, MANY, named)
                waiter: List[Any] = []
                replies.add("mine" if named else None, waiter)
                self.assertLess(len(replies._sent), 2 * MAX_LATE + 2)
                for number in range(MANY):
                    for _ in range(2):  # A signal's exception has repeated it.
                        answer = replies.answer({"return": {}}, number)
                        self.assertEqual(answer, (True, None))
                self.assertIs(replies.answer({"return": {}}, MANY)[1], waiter)
                with self.assertRaises(ServerParseError):
                    replies.answer({"error": {}}, MANY + 1)

    def test_an_agent_answers_in_order_also_past_those_only_counted(self) -> None:
        replies: Replies[List[Any]] = Replies(in_order=True)
        waiters: List[List[Any]] = []
        for _ in range(3):
            abandoned(replies, MANY, named=True)
            waiters.append([])
            replies.add(replies.next_id(), waiters[-1])
        self.assertLess(len(replies._sent), 2 * MAX_LATE + 8)
        answers = [replies.answer({"return": {}})[1] for _ in range(3 * MANY + 3)]
        for number, waiter in enumerate(waiters, 1):
            self.assertIs(answers[number * MANY + number - 1], waiter)
        self.assertEqual(sum(it is not None for it in answers), 3)

    def test_an_own_id_is_in_use_until_its_late_reply(self) -> None:
        replies: Replies[List[Any]] = Replies()
        waiter: List[Any] = []
        replies.add(replies.check_id("mine"), waiter)
        replies.abandon(waiter)
        with self.assertRaises(ValueError):
            replies.check_id("mine")
        self.assertEqual(replies.answer({"return": {}, "id": "mine"}), (True, None))
        self.assertEqual(replies.check_id("mine"), "mine")
