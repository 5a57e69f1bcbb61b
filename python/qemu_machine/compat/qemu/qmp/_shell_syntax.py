"""The command line of ``qmp-shell``. Pure: a line becomes a command."""

from __future__ import annotations

import ast
import json
import re
from typing import Any, Dict, List, Tuple

from .error import QMPError


class QMPShellError(QMPError):
    """A line is no command, or the shell's setup is wrong."""

    __module__ = "qemu.qmp.qmp_shell"


def split(line: str) -> List[str]:
    """Split a line at blanks, but not within quotes, or a value in brackets.

    The words keep their quotes. A quote without an end is a letter of its word.

    :raise QMPShellError: A word or value begins with a quote that has no end.
    """
    words: List[str] = []
    word, quote, depth = "", "", 0
    for place, character in enumerate(line):
        begins = not word or _is_key(word)
        if quote:
            if character == quote:
                quote = ""
        elif character in "'\"":
            if line.find(character, place + 1) >= 0:
                quote = character
            elif begins:
                raise QMPShellError(f"the quote {character} has no end")
        elif character in "{[":
            # Elsewhere in a word, a bracket is a letter.
            depth += bool(depth or _is_key(word))
        elif character in "}]":
            depth = max(0, depth - 1)
        elif character.isspace() and depth == 0:
            if word:
                words.append(word)
            word = ""
            continue
        word += character
    if word:
        words.append(word)
    return words


def _is_key(word: str) -> bool:
    """Return whether a value follows this part of a word."""
    return word.find("=") == len(word) - 1 >= 0


def parse(words: List[str]) -> Tuple[str, Dict[str, Any]]:
    """Return the command and its arguments. Dots in a key nest objects.

    :raise QMPShellError: A word is no ``key=value``, or two keys clash.
    """
    arguments: Dict[str, Any] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise QMPShellError(f"expected a key=value pair, got '{word}'")
        _put(arguments, key, parse_value(value))
    return words[0], arguments


def parse_value(text: str) -> object:
    """Return the value of a word: a number, a truth, JSON, or a string.

    JSON may also be written as a Python literal.
    """
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if is_quoted:
        text = text[1:-1]
    if text[:1] in ("{", "["):
        return _parse_json(text)
    if is_quoted:
        return text
    if re.fullmatch("[-+]?[0-9]{1,30}", text):
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        tree = ast.parse(text, mode="eval")
        value: object = ast.literal_eval(_Words().visit(tree))
        json.dumps(value)  # A set is a literal, and no JSON.
        return value
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        raise QMPShellError(f"neither JSON nor a Python literal: '{text}'") from None


class _Words(ast.NodeTransformer):
    """Replaces JSON's words by Python's."""

    def visit_Name(self, node: ast.Name) -> ast.AST:  # pylint: disable=invalid-name
        words = {"true": True, "false": False, "null": None}
        if node.id not in words:
            return node
        return ast.copy_location(ast.Constant(words[node.id]), node)


def _put(arguments: Dict[str, Any], key: str, value: object) -> None:
    """Put a value at a dotted key. Objects on the way are shared."""
    parts = key.split(".")
    parent = arguments
    for depth, part in enumerate(parts[:-1], 1):
        parent = parent.setdefault(part, {})
        if not isinstance(parent, dict):
            raise QMPShellError(f"'{'.'.join(parts[:depth])}' is a value already, no object")
    if parts[-1] in parent:
        raise QMPShellError(f"'{key}' is given twice")
    parent[parts[-1]] = value
