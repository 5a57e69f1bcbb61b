"""The command line of qmp-shell."""

import unittest

import tests.scripted  # noqa: F401

from qemu.qmp._shell_syntax import QMPShellError, parse, split


class Lines(unittest.TestCase):
    def test_blanks_part_words_outside_quotes_and_brackets(self) -> None:
        for line, words in (
            ("a", ["a"]),
            ("  a\tb=1  ", ["a", "b=1"]),
            ("a b='x y' c=\"it's\"", ["a", "b='x y'", "c=\"it's\""]),
            ('a b={"c": [1, 2]} d=e', ["a", 'b={"c": [1, 2]}', "d=e"]),
            ("a b=[[1, 2], '] x'] d=e", ["a", "b=[[1, 2], '] x']", "d=e"]),
            ("a b={'c': \"it's\"} d=e", ["a", "b={'c': \"it's\"}", "d=e"]),
            # A bracket within a word is a letter, and so is a lonely quote.
            ("a=b[ c=2", ["a=b[", "c=2"]),
            ("a b=c{d e=]f g=[1]x[ h=1", ["a", "b=c{d", "e=]f", "g=[1]x[", "h=1"]),
            ("a b==[ c=[", ["a", "b==[", "c=["]),
            ("[ a", ["[", "a"]),
            ("a desc=it's", ["a", "desc=it's"]),
            ("a desc=it's b=5\" c=1", ["a", "desc=it's", "b=5\"", "c=1"]),
            # But two quotes keep what is between them, wherever they are.
            ("a b=c'd e'f g=1", ["a", "b=c'd e'f", "g=1"]),
        ):
            self.assertEqual(split(line), words)

    def test_values(self) -> None:
        for text, value in (
            ("5", 5),
            ("-7", -7),
            ("0x10", "0x10"),
            ("1.5", "1.5"),
            ("TRUE", True),
            ("false", False),
            ("null", "null"),
            ("word", "word"),
            ("", ""),
            ("a=b", "a=b"),
            ("'a b'", "a b"),
            ('"5"', "5"),
            ('{"a":[1,null]}', {"a": [1, None]}),
            ("{'a':true,'b':null}", {"a": True, "b": None}),
            ("[1,False]", [1, False]),
        ):
            with self.subTest(text):
                self.assertEqual(parse(["c", "k=" + text]), ("c", {"k": value}))

    def test_d21_dotted_keys_share_their_objects(self) -> None:
        words = ["c", "a.b=1", "a.c.d=2", "a.c.e=3", "f=4"]
        self.assertEqual(
            parse(words)[1], {"a": {"b": 1, "c": {"d": 2, "e": 3}}, "f": 4}
        )
        self.assertEqual(parse(["c", 'a={"b":1}', "a.c=2"])[1], {"a": {"b": 1, "c": 2}})

    def test_mistakes_are_errors(self) -> None:
        for words in (
            ["c", "word"],
            ["c", "=1"],
            ["c", "a=1", "a=2"],
            ["c", "a=1", "a.b=2"],
            ["c", "a.b=1", "a=2"],
            ["c", "a={1}"],
            ["c", "a={x}"],
            ["c", "a=[" + "(" * 5000],
            ["c", "a=" + "[" * 100_000],
            ["c", "a={f()}"],
        ):
            with self.assertRaises(QMPShellError):
                parse(words)
        for line in ("a b='c", "a 'b=c", 'a b="'):
            with self.assertRaises(QMPShellError):
                split(line)
