"""Ends QEMU and removes its folders when this process ends in whatever way.

One small shell for each process that launches machines. It reads what to guard
from a pipe. The kernel closes the pipe when this process ends, even by SIGKILL,
and then the shell does its work. It needs no thread of ours, and no code of ours
runs between fork and exec.

Not covered: SIGKILL of this process within the moment between the start of QEMU
and ``guard``. In the first launch, it is also the one in which the folder is made.
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Dict, Optional

from . import _kernel_errors

#: The start time tells a process from a later one with the same number. It is the
#: 20th field after the name, which ends at the last parenthesis.
_SCRIPT = r"""
trap '' HUP INT QUIT TERM
exec 3<&0
(
  end() {
    pid=$1 start=$2
    IFS= read -r stat <"/proc/$pid/stat" || return
    set -- ${stat##*')'}
    [ "${20}" = "$start" ] && kill -KILL "$pid"
  }
  set --
  while IFS= read -r line; do
    case $line in
    +*) set -- "$@" "${line#+}" ;;
    *)
      for item do
        shift
        [ "$item" = "${line#-}" ] || set -- "$@" "$item"
      done ;;
    esac
  done
  for item do
    case $item in p*) end ${item#p} ;; esac
  done
  for item do
    case $item in d*) rm -rf -- "${item#d}" ;; esac
  done
) <&3 3<&- &
"""


class Guardian:
    """The shell, from the first use on."""

    def __init__(self) -> None:
        self._pipe: Optional[int] = None
        # In the order of their arrival.
        self._items: Dict[str, None] = {}
        # What the shell gets together with the next line.
        self._unsaid = ""
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether the shell was started. Then to guard something takes one write."""
        return self._pipe is not None

    def guard_process(self, pid: int) -> Optional[str]:
        """Kill this child of ours at our end. Return the item to release."""
        start = _start_time(pid)
        return None if start is None else self._guard(f"p{pid} {start}")

    def guard_folder(self, path: str) -> Optional[str]:
        """Remove this folder at our end. Return the item to release."""
        path = os.path.abspath(path)
        return None if "\n" in path else self._guard(f"d{path}")

    def release_process(self, item: Optional[str]) -> None:
        """This process has ended.

        The shell may learn of it later, because the start time is in the item.
        """
        if item is not None:
            with self._lock:
                if self._items.pop(item, item) is None:
                    self._unsaid += f"-{item}\n"

    def release_folder(self, item: Optional[str]) -> None:
        """This folder has been removed."""
        if item is not None:
            with self._lock:
                if self._items.pop(item, item) is None:
                    self._say(f"-{item}\n")

    def forget(self) -> None:
        """After a fork, the machines are those of the parent."""
        if self._pipe is not None:
            os.close(self._pipe)
        self.__init__()  # type: ignore[misc]

    def _guard(self, item: str) -> str:
        with self._lock:
            self._items[item] = None
            self._say(f"+{item}\n")
        return item

    def _say(self, lines: str) -> None:
        unsaid, self._unsaid = self._unsaid + lines, ""
        # If the shell is gone, a new one learns of everything.
        for _ in range(2):
            if self._pipe is not None:
                with _kernel_errors.ignored():
                    os.write(self._pipe, os.fsencode(unsaid))
                    return
                os.close(self._pipe)
                self._pipe = None
            self._start()
            if self._pipe is None:
                return
            unsaid = "".join(f"+{item}\n" for item in self._items) or "-\n"

    def _start(self) -> None:
        read, write = os.pipe()
        try:
            # The shell leaves a child behind in a session of its own, so no signal
            # to our process group reaches it, and no `wait` of ours finds it.
            subprocess.run(
                ["/bin/sh", "-c", _SCRIPT],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                check=True,
            )
        except BaseException as err:
            os.close(write)
            # Without a shell, machines work as before, unguarded.
            if isinstance(err, OSError) and err.errno is not None:
                return
            if not isinstance(err, subprocess.SubprocessError):
                raise
        else:
            self._pipe = write
        finally:
            os.close(read)


def _start_time(pid: int) -> Optional[str]:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read(4096)
    except OSError:
        return None
    return stat.rpartition(b")")[2].split()[19].decode()


#: The guardian of this process.
GUARDIAN = Guardian()
os.register_at_fork(after_in_child=GUARDIAN.forget)
