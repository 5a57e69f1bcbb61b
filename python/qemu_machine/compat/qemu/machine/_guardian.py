"""Ends QEMU and removes its folders when this process ends in whatever way.

One small shell for each process that launches machines. It reads what to guard
from a pipe. The kernel closes the pipe when this process ends, even by SIGKILL,
and then the shell does its work. It needs no thread of ours, and no code of ours
runs between fork and exec.

Everything is announced before it is there. Nobody has to wait for the shell: the
pipe keeps what it has not read. The number of a process is known only after its
start. Until then, the shell can find the process by a socket. The child has the
socket from its beginning. It also has the pipe until it becomes its program, so the
pipe does not end before that.

Process 1 has no guardian. The kernel kills all others of its namespace with it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from typing import Any, Dict, List, Optional

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
exec 3<&0
(
  end() {
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
  theirs= ours=
  for item do
    case $item in
    p*) end ${item#p} ;;
    m*)
      item=${item#m}
      theirs="$theirs socket:[${item% *}] " ours="$ours socket:[${item#* }] " ;;
    esac
  done
  [ "$theirs" ] && end_marked
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
        return None if start is None else self._guard(f"p{pid} {start}", birth)

    def guard_folder(self, path: str) -> Optional[str]:
        """Remove this folder at our end. Return the item to release."""
        path = os.path.abspath(path)
        return None if "\n" in path else self._guard(f"d{path}")

    def release_process(self, item: str) -> None:
        """This process, or this birth, has ended.

        The shell may learn of it later: the start time is in the item, or the number
        of a socket, which the kernel does not use again for long.
        """
        with self._lock:
            if self._items.pop(item, item) is None:
                self._unsaid += f"-{item}\n"

    def release_folder(self, item: Optional[str]) -> None:
        """This folder has been removed."""
        if item is not None:
            with self._lock:
                if self._items.pop(item, item) is None:
                    self._say(f"-{item}\n")

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
        if self._pipe is not None:
            os.close(self._pipe)
        self.__init__()  # type: ignore[misc]

    def _guard(self, item: str, instead: Optional[str] = None) -> str:
        with self._lock:
            self._items[item] = None
            lines = f"+{item}\n"
            if instead is not None and self._items.pop(instead, instead) is None:
                lines += f"-{instead}\n"
            self._say(lines)
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
        if os.getpid() == 1:
            return
        read, write = os.pipe()
        try:
            # The shell leaves a child behind in a process group of its own, so no
            # signal to our group reaches it. No wait of ours finds it, unless this
            # process adopts orphans.
            spawn = functools.partial(
                os.posix_spawn,
                file_actions=_file_actions(read),
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


def _file_actions(stdin: int) -> List[Any]:
    """What the shell does with its descriptors before it begins.

    It has none of ours: what waits for their end would wait for it.
    """
    actions: List[Any] = [
        # A copy is inheritable. One under its own number is so from glibc 2.29 on.
        (os.POSIX_SPAWN_DUP2, stdin, 1),
        (os.POSIX_SPAWN_DUP2, 1, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    with _kernel_errors.ignored():
        for number in map(int, os.listdir("/proc/self/fd")):
            # Another thread may have closed it.
            with _kernel_errors.ignored():
                if number > 2 and os.get_inheritable(number):
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
