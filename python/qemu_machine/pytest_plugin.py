"""Virtual machines in tests of pytest.

    def test_boot(qemu_machine):
        vm = qemu_machine("-nodefaults", memory="64M")
        vm.console.expect("login: ", timeout=60)

pytest loads this in every run, so it imports the rest of the package at its first use.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable, Generator, Iterator, List

import pytest

from . import _pytest_options

if TYPE_CHECKING:
    from ._machine import Machine
    from ._pytest_factory import MachineFactory as MachineFactory
    from ._pytest_settings import Settings


def __getattr__(name: str) -> Any:
    """``MachineFactory`` is the type of the fixtures that launch machines."""
    if name != "MachineFactory":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._pytest_factory import MachineFactory

    return MachineFactory


# Options.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    _pytest_options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Checks the options, and describes the mark."""
    _pytest_options.values(config)
    config.addinivalue_line(
        "markers",
        "qemu(binary, accel, machine, args, may_crash, **options): options of the machines of a "
        "test. The test is skipped if a binary, machine type or accelerator is missing. With "
        "may_crash=True, a crash does not fail the test.",
    )


_settings_key: pytest.StashKey[Settings] = pytest.StashKey()


def settings(config: pytest.Config) -> Settings:
    """The options, and the machines that run."""
    from ._pytest_settings import Settings

    if _settings_key not in config.stash:
        capture = config.pluginmanager.getplugin("capturemanager")
        config.stash[_settings_key] = Settings(_pytest_options.values(config), capture)
    return config.stash[_settings_key]


# Fixtures.


def _factory(request: pytest.FixtureRequest, tmp: pytest.TempPathFactory) -> Iterator[Any]:
    from ._pytest_factory import MachineFactory

    __tracebackhide__ = True
    factory = MachineFactory(settings(request.config), request.node, request.scope, tmp)
    try:
        yield factory
    finally:
        factory.close()


@pytest.fixture
def qemu_machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MachineFactory]:
    """Launches machines, which end with the test: ``vm = qemu_machine(memory="64M")``."""
    __tracebackhide__ = True
    yield from _factory(request, tmp_path_factory)


@pytest.fixture(scope="class")
def qemu_machine_class(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MachineFactory]:
    """Launches machines, which end with the class of tests."""
    __tracebackhide__ = True
    yield from _factory(request, tmp_path_factory)


@pytest.fixture(scope="module")
def qemu_machine_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MachineFactory]:
    """Launches machines, which end with the module of tests."""
    __tracebackhide__ = True
    yield from _factory(request, tmp_path_factory)


@pytest.fixture(scope="session")
def qemu_machine_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MachineFactory]:
    """Launches machines, which end with the session."""
    __tracebackhide__ = True
    yield from _factory(request, tmp_path_factory)


@pytest.fixture
def qemu_snapshot(request: pytest.FixtureRequest) -> Callable[[Machine], Machine]:
    """Gives each test the same state of a machine that they share:
    ``vm = qemu_snapshot(shared)``. The first call saves the guest in its qcow2 disks,
    and the later ones bring it back."""
    return settings(request.config).snapshots.restore


# Hooks.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Keeps the files of a test that Ctrl-C interrupts."""
    try:
        return (yield)
    except BaseException:
        # That of a failure does not come here.
        for factory in _factories(item):
            factory.keep_artifacts()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fails a test that passed although a machine of it crashed."""
    __tracebackhide__ = True
    result = yield
    for factory in _factories(item):
        factory.raise_crashes(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what is known of the machines to the report of a failed test."""
    report = yield
    if report.failed:
        argv = getattr(call.excinfo and call.excinfo.value, "argv", None)
        if argv:
            report.sections.append(("qemu command line", " ".join(map(str, argv))))
        for factory in _factories(item):
            factory.describe_failure(item, report)
    return report


def pytest_exception_interact(node: pytest.Item) -> None:
    """Keeps the machines of a failed test, if the user wants that."""
    config = node.config
    known = config.stash.get(_settings_key, None)
    if known is None or not known.keep or hasattr(config, "workerinput"):
        return
    running = [vm for factory in _factories(node) for vm in factory.running()]
    if not running:
        return
    with known.uncaptured():
        for vm in running:
            print(f"\nqemu: {vm.name} is kept, with process id {vm.pid}", file=sys.stderr)
            print(f"  logs: {known.folder_of(vm) or vm.log}", file=sys.stderr)
        print("qemu: press Enter to go on", file=sys.stderr, flush=True)
        _wait_for_enter()


def _wait_for_enter() -> None:
    # pytest also replaces the standard input.
    try:
        with open(0, "rb", buffering=0, closefd=False) as typed:
            typed.readline()
    except OSError:
        pass  # There is none.


def _factories(item: pytest.Item) -> List[MachineFactory]:
    """The factories that a test uses."""
    known = item.config.stash.get(_settings_key, None)
    if known is None:
        return []
    names = getattr(item, "fixturenames", ())
    return [it for it in known.factories if it.node is item or it.fixture in names]
