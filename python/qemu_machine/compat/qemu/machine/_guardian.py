"""Ends QEMU and removes its folders when this process ends in whatever way.

One small shell for each process that launches machines. It waits for the end of a
pipe. The kernel closes the pipe when this process ends, even by SIGKILL. Then the
shell reads a list of what to end, and does its work. It needs no thread of ours,
and no code of ours runs between fork and exec.

The list is a file in memory, so a change of it wakes nobody. Everything is listed
before it is there. The number of a process is known only after its start. Until
then, the shell can find the process by a socket. The child has the socket from its
beginning. It also has the pipe until it becomes its program, so the pipe does not
end before that.

Process 1 has no guardian. The kernel kills all others of its namespace with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import signal
import tempfile
import threading
from typing import Any, Dict, List, Optional, Tuple

from . import _kernel_errors

#: The start time tells a process from a later one with the same number. It is the
#: 20th field after the name, which ends at the last parenthesis.
#:
#: A process with QEMU's end of a socket pair is QEMU, or its wrapper. If it also has
#: our end, it is a fork of ours. One that has just forked is found in the next turn.
_SCRIPT = r"""
trap '' HUP INT QUIT TERM
cd /
PATH=$PATH:/usr/bin:/bin
exec 4<&0
(
  end_listed() {
    pid=$1 start=$2
    IFS= read -r stat <"/proc/$pid/stat" || return
    set -- ${stat##*')'}
    [ "${20}" = "$start" ] && kill -KILL "$pid"
  }
  is_marked() {
    held=
    for word in $(ls -ln "/proc/$1/fd"); do
      case $ours in *" $word "*) return 1 ;; esac
      case $theirs in *" $word "*) held=1 ;; esac
    done
    [ "$held" ]
  }
  end_marked() {
    for turn in 1 2 3 4 5; do
      found=
      set +f
      set -- /proc/[0-9]*/fd
      set -f
      for word in $(ls -ln "$@"); do
        case $word in
        /proc/*/fd:) pid=${word#/proc/} pid=${pid%/fd:} ;;
        socket:*)
          case $theirs in
          *" $word "*) is_marked "$pid" && kill -KILL "$pid" && found=1 ;;
          esac ;;
        esac
      done
      [ "$found" ] || return
    done
  }
  read -r line
  set --
  while IFS= read -r line; do
    [ "$line" ] && set -- "$@" "$line"
  done <&3
  theirs= ours=
  for item do
    case $item in
    p*) end_listed ${item#p} ;;
    m*)
      item=${item#m}
      theirs="$theirs socket:[${item% *}] " ours="$ours socket:[${item#* }] " ;;
    esac
  done
  [ "$theirs" ] && end_marked
  for item do
    case $item in d*) rm -rf -- "${item#d}" ;; esac
  done
) <&4 4<&- &
"""


#: Lines of about the same length share places, so the list does not grow.
_UNIT = 64
_PAGE = 4096


class Guardian:
    """The shell and its list, from the first use on."""

    def __init__(self) -> None:
        # Our end. The shell has the other.
        self._pipe: Optional[int] = None
        self._list: Optional[int] = None
        # Where in the list each item is: the offset and the size.
        self._items: Dict[str, Tuple[int, int]] = {}
        # The offsets of blank places of each size, and of the end.
        self._blank: Dict[int, List[int]] = {}
        self._end = 0
        # The shells that leave a guardian behind. They are our children.
        self._starters: List[int] = []
        # A signal's handler may end a machine in the middle of our work.
        self._lock = threading.RLock()

    def guard_birth(self, theirs: int, ours: int) -> str:
        """Kill a child that is not told by ``guard_process`` yet.

        It gets one end of a socket pair, and this process keeps the other.

        :param theirs: The inode of the child's end.
        :param ours: The inode of our end.
        :return: The item to release.
        """
        return self._guard(f"m{theirs} {ours}")

    def guard_process(self, pid: int, birth: Optional[str]) -> Optional[str]:
        """Kill this child of ours at our end. Return the item to release.

        :param birth: Its item of ``guard_birth``, which is released.
        """
        start = _start_time(pid)
        if start is None:
            return None
        item = self._guard(f"p{pid} {start}")
        self.release(birth)
        return item

    def guard_folder(self, path: str) -> Optional[str]:
        """Remove this folder at our end. Return the item to release."""
        path = os.path.abspath(path)
        return None if "\n" in path else self._guard(f"d{path}")

    def release(self, item: Optional[str]) -> None:
        """This process or birth has ended, or this folder has been removed."""
        with self._lock:
            place = self._items.pop(item, None) if item is not None else None
            if place is not None:
                self._write(place, b"")
                offset, size = place
                self._blank.setdefault(size, []).append(offset)

    def settle(self) -> None:
        """Wait until all shells that leave a guardian behind have ended.

        There is one in the first launch, and the program must not meet it. It ends
        while QEMU starts.
        """
        for pid in self._starters[:]:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            with contextlib.suppress(ValueError):
                self._starters.remove(pid)

    def forget(self) -> None:
        """After a fork, the machines are those of the parent."""
        for number in (self._pipe, self._list):
            if number is not None:
                os.close(number)
        self.__init__()  # type: ignore[misc]

    def _guard(self, item: str) -> str:
        line = os.fsencode(item) + b"\n"
        size = -(-len(line) // _UNIT) * _UNIT
        with self._lock:
            if not self._is_alive():
                self._start()
            # No longer path can be opened.
            if self._list is not None and size <= _PAGE:
                place = self._place(size), size
                self._items[item] = place
                self._write(place, line)
        return item

    def _place(self, size: int) -> int:
        """The offset of a blank place. None is in two pages: there, the list could
        have the half of a line, if this process is killed while it writes."""
        blank = self._blank.get(size)
        if blank:
            return blank.pop()
        left = -self._end % _PAGE
        if left < size and left:
            rest, self._end = self._end, self._end + left
            self._write((rest, left), b"")
            self._blank.setdefault(left, []).append(rest)
        offset, self._end = self._end, self._end + size
        return offset

    def _write(self, place: Tuple[int, int], line: bytes) -> None:
        offset, size = place
        # Without memory for it, machines work as before, unguarded.
        with _kernel_errors.ignored():
            assert self._list is not None
            os.pwrite(self._list, line.ljust(size, b"\n"), offset)

    def _is_alive(self) -> bool:
        """Whether the shell has its end of the pipe."""
        if self._pipe is None:
            return False
        poll = select.poll()
        poll.register(self._pipe, 0)
        return not poll.poll(0)

    def _start(self) -> None:
        if os.getpid() == 1:
            return
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            os.close(pipe)
        if self._list is None:
            self._list = _file_in_memory()
        read, write = os.pipe()
        try:
            # The shell leaves a child behind in a process group of its own, so no
            # signal to our group reaches it. No wait of ours finds it, unless this
            # process adopts orphans.
            spawn = functools.partial(
                os.posix_spawn,
                file_actions=_file_actions(read, self._list),
                setpgroup=0,
                setsigdef=(signal.SIGCHLD,),
            )
            command = ("/bin/sh", "-c", _SCRIPT)
            self._starters.extend(map(spawn, command[:1], (command,), (os.environ,)))
            self._pipe, write = write, -1
        except OSError as err:
            # Without a shell, machines work as before, unguarded.
            if err.errno is None:
                raise
        finally:
            os.close(read)
            if write != -1:
                os.close(write)


def _file_in_memory() -> int:
    """An empty file without a name. Its number is not one of the first ten."""
    try:
        number = os.memfd_create("qemu-machine")
    except (AttributeError, OSError):
        # Some Pythons are built for a C library that does not know it.
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    finally:
        os.close(number)


def _file_actions(pipe: int, items: int) -> List[Any]:
    """What the shell does with its descriptors before it begins.

    It has the pipe as standard input, and the list as 3. It has none of ours: what
    waits for their end would wait for it.
    """
    actions: List[Any] = [
        # A copy is inheritable. One under its own number is so from glibc 2.29 on.
        (os.POSIX_SPAWN_DUP2, pipe, 1),
        (os.POSIX_SPAWN_DUP2, 1, 0),
        (os.POSIX_SPAWN_DUP2, items, 3),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    with _kernel_errors.ignored():
        for number in map(int, os.listdir("/proc/self/fd")):
            # Another thread may have closed it.
            with _kernel_errors.ignored():
                if number > 3 and os.get_inheritable(number):
                    actions.append((os.POSIX_SPAWN_CLOSE, number))
    return actions


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
