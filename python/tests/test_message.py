"""Messages, models, and the words of errors."""

import json
import pickle
import unittest

from tests.scripted import VERSION

from qemu.qmp import ConnectError, ExecuteError, ExecInterruptedError, Message, StateError
from qemu.qmp.error import ProtocolError, QMPError
from qemu.qmp.events import ListenerError
from qemu.qmp.legacy import QMPBadPortError
from qemu.qmp.message import DeserializationError, UnexpectedTypeError
from qemu.qmp.models import ErrorResponse, Greeting
from qemu.qmp.protocol import Runstate
from qemu.qmp.qmp_client import (
    BadReplyError,
    GreetingError,
    NegotiationError,
    ServerParseError,
)

ERROR = {"error": {"class": "GenericError", "desc": "no such thing"}, "id": "a"}


class Messages(unittest.TestCase):
    def test_bytes_are_kept_until_a_change(self) -> None:
        message = Message(b'{ "b": 1,  "a": [2] }')
        self.assertEqual(bytes(message), b'{ "b": 1,  "a": [2] }')
        message["c"] = "\u00fc"
        self.assertEqual(bytes(message), b'{"b":1,"a":[2],"c":"\\u00fc"}')
        del message["b"]
        self.assertEqual(list(message), ["a", "c"])

    def test_a_mapping_is_copied(self) -> None:
        given = {"execute": "stop"}
        message = Message(given)
        message["id"] = "x"
        self.assertEqual(given, {"execute": "stop"})
        self.assertEqual(message, {"execute": "stop", "id": "x"})

    def test_numbers_and_lone_surrogates_survive(self) -> None:
        text = b'{"big":18446744073709551615,"low":-9223372036854775808,"f":1.0,"s":"\\ud800"}'
        message = Message(text)
        message["x"] = 0
        del message["x"]
        self.assertEqual(bytes(message), text)
        self.assertIsInstance(message["f"], float)

    def test_text_is_indented(self) -> None:
        self.assertEqual(str(Message({"a": 1})), '{\n  "a": 1\n}')
        self.assertEqual(repr(Message({"a": 1})), "Message({'a': 1})")
        self.assertEqual(bytes(Message()), b"{}")

    def test_the_encoder_is_that_of_json(self) -> None:
        values = [
            {},
            {"execute": "\u00fc\n\"\\", "arguments": {"a": [1, 2.5, True, None, {}]}},
            {"int": 2**70, "tuple": (1, [], "")},
            {1: 2, None: 3},
        ]
        for value in values:
            expected = json.dumps(value, separators=(",", ":")).encode()
            self.assertEqual(Message._serialize(value), expected)

    def test_what_is_no_json_is_refused_at_once_or_when_it_is_used(self) -> None:
        for value in ({"a": {1}}, {"a": float("nan")}):
            with self.assertRaises((TypeError, ValueError)):
                Message(value)
            late = Message(value, eager=False)
            with self.assertRaises((TypeError, ValueError)):
                bytes(late)
        for data in (b"hello", b"", b'{"a":', b'{"a": "\xff"}', b"[" * 100_000):
            with self.assertRaises(DeserializationError) as caught:
                Message(data)
            self.assertEqual(caught.exception.raw, data)
        with self.assertRaises(UnexpectedTypeError) as wrong:
            Message(b"[1]")
        self.assertEqual(wrong.exception.value, [1])


class Models(unittest.TestCase):
    def test_a_greeting_is_checked(self) -> None:
        raw = {"QMP": {"version": VERSION, "capabilities": ["oob"]}}
        greeting = Greeting(raw)
        self.assertEqual(greeting.QMP.version, VERSION)
        self.assertEqual(greeting.QMP.capabilities, ["oob"])
        copied = greeting._asdict()
        self.assertEqual(copied, raw)
        copied["QMP"]["version"].clear()
        self.assertEqual(raw["QMP"]["version"], VERSION)
        self.assertEqual(repr(greeting), f"Greeting({raw!r})")

    def test_a_missing_or_wrong_member_is_named(self) -> None:
        with self.assertRaises(KeyError) as missing:
            Greeting({})
        self.assertIn("'Greeting' object requires 'QMP' member", str(missing.exception))
        with self.assertRaises(TypeError) as wrong:
            Greeting({"QMP": {"version": VERSION, "capabilities": "oob"}})
        self.assertIn("'capabilities' must be a JSON array", str(wrong.exception))
        with self.assertRaises(TypeError):
            ErrorResponse({"error": {"class": "A", "desc": 7}})

    def test_an_error_reply_has_class_text_and_id(self) -> None:
        response = ErrorResponse(ERROR)
        found = (response.error.class_, response.error.desc, response.id)
        self.assertEqual(found, ("GenericError", "no such thing", "a"))


class Errors(unittest.TestCase):
    """Each error says what it must, and survives pickling."""

    def check(self, error: Exception, text: str) -> None:
        again = pickle.loads(pickle.dumps(error))
        for it in (error, again):
            self.assertEqual(str(it), text)
        self.assertEqual(vars(again).keys(), vars(error).keys())
        self.assertIs(type(again), type(error))
        # Its public module, as tracebacks show it.
        self.assertNotIn("._", type(error).__module__)

    def test_words(self) -> None:
        message = Message({"a": 1})
        shown = "\n  Message was: " + json.dumps({"a": 1}, indent=2) + "\n"
        failed = "Failed to establish session"
        for error, text in (
            (ConnectError(failed, EOFError()), f"{failed}: EOFError"),
            (ConnectError(failed, OSError(2, "No such")), f"{failed}: [Errno 2] No such"),
            (StateError("busy", Runstate.IDLE, Runstate.RUNNING), "busy"),
            (ExecuteError(ErrorResponse(ERROR), message, Message(ERROR)), "no such thing"),
            (ExecInterruptedError("Disconnected"), "Disconnected"),
            (GreetingError("Did not understand Greeting", ValueError("x")),
             "Did not understand Greeting: x"),
            (NegotiationError("Negotiation failed", ValueError("x")), "Negotiation failed: x"),
            (ServerParseError("bad", message), "bad" + shown),
            (BadReplyError("bad", message, message), "bad" + shown),
            (DeserializationError("bad", b"x\n"), "bad\n  raw bytes were: b'x\\n'"),
            (UnexpectedTypeError("bad", [1]), "bad\n  json value was: [\n  1\n]"),
            (ProtocolError("bad"), "bad"),
            (ListenerError("bad"), "bad"),
            (QMPBadPortError("bad"), "bad"),
        ):
            with self.subTest(type(error).__name__):
                self.check(error, text)
                self.assertIsInstance(error, QMPError)
                self.assertNotIsInstance(error, (OSError, TimeoutError))
