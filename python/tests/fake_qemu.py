"""A fake QEMU: a program that speaks QMP and does what its arguments say.

It takes the command line of a machine. Its own words begin with ``fake-``:

- ``fake-mute``: never greet. ``fake-odd-greeting``: greet with something else.
- ``fake-greet-after=FIFO``: greet when someone opens the FIFO for writing.
- ``fake-exit=CODE``: print and exit at once.
- ``fake-deaf``: answer ``quit``, and run on. ``fake-no-quit``: do not answer it.
- ``fake-bytes``: print what is no UTF-8.

The command ``fake-silent`` is answered when the next one comes. The others that
begin with ``fake-`` are in ``answer``.
"""

import json
import os
import signal
import socket
import sys
import threading

from commands import commands

WORDS = dict(word.partition("=")[::2] for word in sys.argv[1:] if word.startswith("fake-"))


def chardev(name):
    """The socket of a chardev, or None."""
    for word in sys.argv:
        kind, _, rest = word.partition(",")
        found = dict(it.partition("=")[::2] for it in rest.replace(",,", "\0").split(","))
        if kind != "socket" or found.get("id") != name:
            continue
        if "fd" in found:
            return socket.socket(fileno=int(found["fd"]))
        if "path" in found:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(found["path"].replace("\0", ","))
            return sock
        return socket.create_connection((found["host"], int(found["port"])))
    return None


def open_descriptors():
    listed = map(int, os.listdir("/proc/self/fd"))
    return sorted(number for number in listed if os.path.exists(f"/proc/self/fd/{number}"))


def mask():
    with open("/proc/self/status", encoding="ascii") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def answer(command, arguments):
    if command == "fake-descriptors":
        return open_descriptors()
    if command == "fake-status":
        return mask()
    if command == "fake-environment":
        return dict(os.environ)
    if command == "fake-print":
        print(arguments["text"], flush=True)
    if command == "fake-kill":
        os.kill(os.getpid(), arguments["signal"])
    if command == "fake-end":
        os._exit(arguments["code"])
    return arguments


def say(monitor, message):
    try:
        monitor.sendall(json.dumps(message).encode() + b"\r\n")
    except OSError:
        # QEMU lives on when its monitor closes.
        rest()


def rest():
    """Wait for a signal's end. ``pause`` misses a signal that comes just before it."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno())
    while True:
        ours.recv(1)


def received(monitor):
    """What arrives. A client that closes with a reply unread resets the connection."""
    try:
        return monitor.recv(65536)
    except OSError:
        return b""


def serve(monitor):
    version = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": "fake"}
    if "fake-mute" in WORDS:
        rest()
    if "fake-greet-after" in WORDS:
        with open(WORDS["fake-greet-after"], "rb"):
            pass
    if "fake-odd-greeting" in WORDS:
        say(monitor, {"hello": 1})
        rest()
    say(monitor, {"QMP": {"version": version, "capabilities": ["oob"]}})
    replies = []
    for message in commands(lambda: received(monitor)):
        command = message["execute"]
        if command == "quit" and "fake-no-quit" in WORDS:
            continue
        arguments = message.get("arguments", {})
        for event in arguments.get("events", ()) if command == "fake-events" else ():
            say(monitor, {"timestamp": {"seconds": 1, "microseconds": 2}, **event})
        reply = {"return": {} if command == "quit" else answer(command, arguments)}
        if command == "fake-error":
            reply = {"error": {"class": "GenericError", "desc": "as asked"}}
        if "id" in message:
            reply["id"] = message["id"]
        replies.append(reply)
        if command == "fake-silent":
            continue
        while replies:
            say(monitor, replies.pop(0))
        if command == "quit" and "fake-deaf" not in WORDS:
            print("fake: terminating", flush=True)
            os._exit(0)
    rest()


def echo(console):
    while True:
        data = console.recv(65536)
        if not data:
            return
        console.sendall(data)


def drive(qtest):
    for line in qtest.makefile("rb"):
        qtest.sendall(b"OK " + line)


def main():
    if "fake-bytes" in WORDS:
        os.write(2, b"caf\xe9\r\nnext\n")
    if "fake-exit" in WORDS:
        print("fake: cannot start", file=sys.stderr, flush=True)
        os._exit(int(WORDS["fake-exit"]))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    monitor = chardev("mon")
    if monitor is None:
        # Before the channels answer, so that a test can wait for it.
        print("fake: no monitor", flush=True)
    for name, work in (("console", echo), ("qtest", drive)):
        sock = chardev(name)
        if sock is not None:
            threading.Thread(target=work, args=(sock,), daemon=True).start()
    if monitor is None:
        rest()
    serve(monitor)


main()
