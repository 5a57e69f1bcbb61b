"""The tools that read and write QEMU's objects."""

import contextlib
import io
import sys
from typing import Any, Callable, Dict, Tuple
from unittest import mock

from tests.scripted import Peer, Test, listening

from qemu.utils.qom import QOMGet, QOMList, QOMSet, QOMTree, main
from qemu.utils.qom_common import ObjectPropertyInfo

OBJECTS: Dict[str, Dict[str, Tuple[str, Any]]] = {
    "/": {"machine": ("child<pc>", None), "type": ("string", "container")},
    "/machine": {
        "cpu": ("link<cpu>", "/machine/cpu0"),
        "rtc-time": ("struct tm", {"year": 126, "mon": 10}),
        "secret": ("string", None),
    },
}


def serve(peer: Peer) -> None:
    """Answer from OBJECTS."""
    peer.shake_hands()
    while True:
        command = peer.read()
        if command is None:
            return
        arguments = command["arguments"]
        members = OBJECTS.get(arguments["path"])
        error = None
        if members is None:
            error = f"Device '{arguments['path']}' not found"
        elif command["execute"] == "qom-list":
            found = [{"name": name, "type": type_} for name, (type_, _) in members.items()]
            peer.reply(command, found)
        elif command["execute"] == "qom-set":
            peer.reply(command, {})
        else:
            value = members.get(arguments["property"], ("", None))[1]
            if value is None:
                error = "not readable"
            else:
                peer.reply(command, value)
        if error:
            peer.send({"error": {"class": "GenericError", "desc": error}, "id": command["id"]})


class Tools(Test):
    def run_tool(self, entry_point: Callable[[], int], *args: str) -> Tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with listening(serve) as path:
            words = ["tool", *args]
            words[2 if entry_point is main else 1 : 0] = ["-s", path]
            if entry_point is main:
                words = ["tool", args[0], "-s", path, *args[1:]]
            with mock.patch.object(sys, "argv", words):
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    status = entry_point()
        return status, out.getvalue(), err.getvalue()

    def test_values_are_printed_as_python_shows_them(self) -> None:
        for path, text in (
            ("/machine.cpu", "/machine/cpu0\n"),
            ("/machine.rtc-time", "year: 126\nmon: 10\n"),
        ):
            self.assertEqual(self.run_tool(QOMGet.entry_point, path), (0, text, ""))
        self.assertEqual(self.run_tool(QOMSet.entry_point, "/machine.cpu", "x"), (0, "{}\n", ""))

    def test_a_list_marks_children_and_links(self) -> None:
        self.assertEqual(self.run_tool(QOMList.entry_point, "/")[1], "machine/\ntype\n")
        listed = self.run_tool(QOMList.entry_point, "/machine")[1]
        self.assertEqual(listed, "@cpu/\nrtc-time\nsecret\n")

    def test_a_tree_shows_values_and_what_cannot_be_read(self) -> None:
        expected = (
            0,
            "/\n"
            "  type: container (string)\n"
            "\n"
            "/machine\n"
            "  cpu: /machine/cpu0 (link<cpu>)\n"
            "  rtc-time: {'year': 126, 'mon': 10} (struct tm)\n"
            "  secret: <EXCEPTION: not readable> (string)\n"
            "\n",
            "",
        )
        self.assertEqual(self.run_tool(QOMTree.entry_point), expected)
        self.assertEqual(self.run_tool(main, "tree", "/"), expected)

    def test_an_error_is_one_line_and_a_status(self) -> None:
        for args in (("/nosuch.x",), ("/machine.secret",)):
            status, out, err = self.run_tool(QOMGet.entry_point, *args)
            self.assertEqual((status, out), (-1, ""))
            self.assertTrue(err.startswith("ExecuteError: "), err)

    def test_d23_a_path_without_a_dot_is_an_error_of_one_line(self) -> None:
        for tool, args in ((QOMGet, ["/machine"]), (QOMSet, ["/machine", "x"])):
            err = io.StringIO()
            words = ["tool", "-s", "/nowhere", *args]
            with mock.patch.object(sys, "argv", words), contextlib.redirect_stderr(err):
                self.assertEqual(tool.entry_point(), -1)
            self.assertIn("'/machine' is no <path>.<property>", err.getvalue())

    def test_a_property_knows_what_it_is(self) -> None:
        info = ObjectPropertyInfo.make(
            {"name": "a", "type": "child<x>", "description": "d", "default-value": 0}
        )
        self.assertEqual((info.name, info.type), ("a", "child<x>"))
        self.assertEqual((info.description, info.default_value), ("d", 0))
        self.assertTrue(info.child)
        self.assertFalse(info.link)
