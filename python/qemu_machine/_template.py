"""Templates: a guest boots once, and is cloned as often as wanted."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional

from . import _native
from ._errors import QemuMachineError
from ._limits import DEFAULT
from ._machine import Machine
from ._options import checked

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import Awaitable, Callable, Coroutine, Mapping, Sequence, Type, Union

    from typing_extensions import Self

    from ._limits import Limit

    Path = Union[str, os.PathLike[str]]
    #: What brings a guest to the moment at which it is frozen or handed out.
    SetUp = Callable[[Machine], object]
    AsyncSetUp = Callable[[Machine], Awaitable[object]]


class Template:
    """A frozen guest. :meth:`Machine.freeze` and :class:`TemplateStore` make it."""

    def __init__(self, native: _native.Template) -> None:
        self._native = native

    @classmethod
    def open(cls, path: Path, machine: Machine) -> Self:
        """Opens a template that was kept. ``machine`` describes the machine that was
        frozen."""
        return cls(_native.open_template(path, machine._binary, machine._options))

    def machine(
        self,
        *,
        args: Sequence[Path] = (),
        name: Optional[str] = None,
        env: Optional[Mapping[str, Optional[str]]] = None,
        log_dir: Optional[Path] = None,
        console_log: Optional[Path] = None,
        transcript: Optional[Path] = None,
        timeout: Limit = DEFAULT,
        launch_timeout: Limit = DEFAULT,
        quit_timeout: Optional[float] = None,
    ) -> Clone:
        """A clone. Nothing runs until it is entered or launched; then its guest goes
        on. The launch refuses ``args`` that the guest would notice."""
        options = checked(dict(
            args=args, name=name, env=env,
            log_dir=log_dir, console_log=console_log, transcript=transcript, timeout=timeout,
            launch_timeout=launch_timeout, quit_timeout=quit_timeout,
        ))  # fmt: skip
        # The limits of the template are the default.
        given = {key: value for key, value in options.items() if value is not DEFAULT}
        return Clone(self._native, given)

    def pool(
        self,
        size: int,
        *,
        warm_up: Union[SetUp, AsyncSetUp, None] = None,
        at_once: Optional[int] = None,
    ) -> Pool:
        """Keeps so many clones ready, in the background.

        ``warm_up(vm)`` runs in a thread for each clone, before it is ready. It may be
        a coroutine function. ``at_once`` is how many are made at the same time.
        """
        return Pool(self._native, size, warm_up, at_once)

    @property
    def path(self) -> str:
        """The directory of its files."""
        return self._native.path

    @property
    def version(self) -> str:
        """The version of its QEMU, such as ``"10.0.2"``."""
        return self._native.version

    def __repr__(self) -> str:
        return f"<Template {self.path}>"


class Clone(Machine):
    """A machine that goes on from a template. :meth:`Template.machine` makes it."""

    def __init__(self, template: Optional[_native.Template], options: Dict[str, Any]) -> None:
        super().__init__("a clone")
        self._template = template
        self._options = options

    def _launching(self) -> _native.Operation[_native.Machine]:
        if self._template is None:
            raise RuntimeError("a clone of a pool runs once; take another one")
        return self._template.launch(self._options)

    @classmethod
    def _running(cls, native: _native.Machine) -> Clone:
        clone = cls(None, {})
        clone._begin(native)
        return clone

    def __enter__(self) -> Self:
        return self if self._is_from_pool() else super().__enter__()

    async def __aenter__(self) -> Self:
        return self if self._is_from_pool() else await super().__aenter__()

    def _is_from_pool(self) -> bool:
        return self._template is None and self._native is not None


class Pool:
    """Clones that are ready before they are asked for: launched, and warm.

    Use it with ``with`` or ``async with``. Its end ends those that were not taken.
    """

    def __init__(
        self,
        template: _native.Template,
        size: int,
        warm_up: Union[SetUp, AsyncSetUp, None],
        at_once: Optional[int],
    ) -> None:
        self._native = native = template.pool(size, at_once, warm_up is not None)
        for _ in range(size if warm_up is not None else 0):
            # A daemon: at the end of the program, nothing waits for a warm-up.
            threading.Thread(
                target=_warm, args=(native, warm_up), name="qemu-warm-up", daemon=True
            ).start()

    def take(self, *, timeout: Limit = DEFAULT) -> Clone:
        """Takes a clone that is ready. If none is, it makes one. The clone runs
        already; use it with ``with``."""
        return Clone._running(self._native.take(timeout).wait())

    def wait_until_filled(self) -> int:
        """Waits until it is full, or cannot make more. Returns how many are ready."""
        return self._native.wait_until_filled().wait()

    @property
    def ready(self) -> int:
        """How many are ready."""
        return self._native.ready

    @property
    def aio(self) -> AsyncPool:
        """The same pool, for coroutines."""
        return AsyncPool(self._native)

    def close(self) -> None:
        """Ends the clones that were not taken."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __del__(self) -> None:
        # Its threads hold the native pool, and end when it is closed.
        native = getattr(self, "_native", None)
        if native is not None:
            try:
                native.close()
            except QemuMachineError:
                pass  # In a fork: it belongs to the parent.


class AsyncPool:
    """:class:`Pool` for coroutines."""

    def __init__(self, native: _native.Pool) -> None:
        self._native = native

    async def take(self, *, timeout: Limit = DEFAULT) -> Clone:
        """Takes a clone that is ready. If none is, it makes one."""
        return Clone._running(await self._native.take(timeout))

    def wait_until_filled(self) -> Coroutine[Any, Any, int]:
        """Waits until it is full, or cannot make more. Returns how many are ready."""
        return self._native.wait_until_filled()


class StoredTemplate(NamedTuple):
    """A template in a store."""

    #: Its key, which is the name of its directory.
    key: str
    #: Its directory.
    path: str
    #: The disk space that it takes.
    size_bytes: int
    #: When it was opened last, in seconds since 1970.
    used: float
    #: Whether a process has it open.
    is_in_use: bool


class TemplateStore:
    """Templates on disk, so that many processes boot a guest once.

    Without ``path``, it is the store of this user, in ``~/.cache``. ``limit_bytes`` is
    the disk space that the templates may take, 8 GiB if it is not given.
    """

    def __init__(
        self, path: Optional[Path] = None, *, limit_bytes: Optional[int] = None
    ) -> None:
        self._native = _native.TemplateStore(path, limit_bytes)

    def template(
        self,
        machine: Machine,
        set_up: Optional[SetUp] = None,
        *,
        version: str = "",
        timeout: Limit = DEFAULT,
    ) -> Template:
        """Opens the template of this machine, or makes it.

        ``set_up(vm)`` brings the guest to the moment at which it is frozen. It runs in
        one process only; others wait for it, and clone. ``version`` says which set-up
        it is: change it with the code. The default limit is 10 minutes.
        """

        making = self._native.template(
            machine._binary, machine._options, version, set_up is not None, timeout
        )
        step = making.step().wait()
        if isinstance(step, tuple):
            native, done = step
            assert set_up is not None
            try:
                set_up(_being_set_up(machine, native))
            except BaseException as error:
                # The next step ends the machine, and raises it.
                done(error)
            else:
                done(None)
            step = making.step().wait()
        assert not isinstance(step, tuple)
        return Template(step)

    @property
    def aio(self) -> AsyncTemplateStore:
        """The same store, for coroutines."""
        return AsyncTemplateStore(self)

    @property
    def path(self) -> str:
        """Its directory."""
        return self._native.path

    def list(self) -> List[StoredTemplate]:
        """The templates, the one used last first."""
        return [StoredTemplate(*facts) for facts in self._native.list()]

    def remove(self, key: str) -> bool:
        """Removes a template, unless a process has it open. Returns whether it is
        gone."""
        return self._native.remove(key)

    def prune(self, limit_bytes: int) -> List[str]:
        """Removes those that were used least, until the rest takes at most this space.
        Returns their keys."""
        return self._native.prune(limit_bytes)

    def __repr__(self) -> str:
        return f"<TemplateStore {self.path}>"


class AsyncTemplateStore:
    """:class:`TemplateStore` for coroutines."""

    def __init__(self, store: TemplateStore) -> None:
        self._store = store

    async def template(
        self,
        machine: Machine,
        set_up: Optional[AsyncSetUp] = None,
        *,
        version: str = "",
        timeout: Limit = DEFAULT,
    ) -> Template:
        """Opens the template of this machine, or makes it. ``set_up`` is a coroutine
        function."""
        making = self._store._native.template(
            machine._binary, machine._options, version, set_up is not None, timeout
        )
        step = await making.step()
        if isinstance(step, tuple):
            native, done = step
            assert set_up is not None
            task = asyncio.ensure_future(
                _set_up(set_up, _being_set_up(machine, native), done)
            )
            try:
                step = await making.step()
            finally:
                # The limit passed, or this task was cancelled.
                task.cancel()
        assert not isinstance(step, tuple)
        return Template(step)


async def _set_up(set_up: AsyncSetUp, vm: Machine, done: _native.Done) -> None:
    try:
        await set_up(vm)
    except BaseException as error:
        done(error)
        if not isinstance(error, Exception):
            raise
    else:
        done(None)


def _being_set_up(machine: Machine, native: _native.Machine) -> Machine:
    """The machine whose guest is frozen next."""
    vm = Machine(machine._binary)
    vm._options = dict(machine._options)
    vm._begin(native)
    vm._is_reported = True
    return vm


def _warm(pool: _native.Pool, warm_up: Union[SetUp, AsyncSetUp]) -> None:
    """Warms clones up, until the pool is closed."""
    while True:
        job = pool.next_job().wait()
        if job is None:
            return
        native, done = job
        vm = Clone._running(native)
        vm._is_reported = True
        try:
            waited = warm_up(vm)
            if inspect.isawaitable(waited):
                asyncio.run(_awaited(waited))
        except BaseException as error:
            done(error)
        else:
            done(None)
        # The thread must not keep the clone alive until the next one.
        del native, done, vm, job


async def _awaited(waited: Awaitable[object]) -> None:
    await waited
