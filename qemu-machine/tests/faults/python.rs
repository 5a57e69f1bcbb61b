//! The faults of a Python program. Its tests show these rows.

use super::shown_elsewhere::ShownElsewhere;

const PROCESS: &str = "python/tests_native/test_process.py";
const MACHINE: &str = "python/tests_native/test_machine.py";
const KILLED: &str = "python/tests_native/test_killed.py";
const INTERRUPTIONS: &str = "python/tests_native/test_interruptions.py";
const ASYNCIO: &str = "python/tests_native/test_asyncio.py";
const PLUGIN: &str = "python/tests_native/test_pytest_plugin.py";
const REPLACEMENT: &str = "python/tests/test_machine_parent.py";

pub const ROWS: &[ShownElsewhere] = &[
    ShownElsewhere {
        what: "it returns, with a machine alive",
        gets: "nothing is left; status 0, and no output",
        file: PROCESS,
        test: "test_a_program_returns_with_a_machine_alive",
    },
    ShownElsewhere {
        what: "it calls `sys.exit`",
        gets: "nothing is left; its own status",
        file: PROCESS,
        test: "test_a_program_exits_by_sys_exit",
    },
    ShownElsewhere {
        what: "an exception that nobody catches",
        gets: "nothing is left; its own traceback",
        file: PROCESS,
        test: "test_a_program_raises",
    },
    ShownElsewhere {
        what: "an exception in the block of a machine",
        gets: "the machine ends; the exception goes on",
        file: MACHINE,
        test: "test_an_exception_in_the_block_ends_it_too_and_goes_on",
    },
    ShownElsewhere {
        what: "`os._exit`",
        gets: "nothing is left",
        file: PROCESS,
        test: "test_a_program_exits_at_once",
    },
    ShownElsewhere {
        what: "`os.abort`",
        gets: "nothing is left",
        file: PROCESS,
        test: "test_a_program_is_aborted",
    },
    ShownElsewhere {
        what: "SIGTERM",
        gets: "nothing is left",
        file: PROCESS,
        test: "test_a_program_is_terminated",
    },
    ShownElsewhere {
        what: "SIGTERM, with a handler that raises",
        gets: "the wait ends, then the machine",
        file: PROCESS,
        test: "test_a_signal_to_the_whole_group_reaches_python_and_not_the_reports",
    },
    ShownElsewhere {
        what: "Ctrl-C during a wait",
        gets: "KeyboardInterrupt; the machine ends",
        file: INTERRUPTIONS,
        test: "test_it_is_a_keyboard_interrupt_and_ends_the_machine",
    },
    ShownElsewhere {
        what: "a signal's handler raises during the end of the block",
        gets: "the machine is killed first; the exception goes on",
        file: INTERRUPTIONS,
        test: "test_an_alarm_during_the_end_of_the_block_ends_the_machine_first",
    },
    ShownElsewhere {
        what: "SIGKILL",
        gets: "nothing is left",
        file: PROCESS,
        test: "test_a_program_is_killed",
    },
    ShownElsewhere {
        what: "SIGKILL at 25 random moments of launch, life and end",
        gets: "each time: no process is left; no file after the next launch",
        file: KILLED,
        test: "test_sigkill_at_random_moments_leaves_nothing",
    },
    ShownElsewhere {
        what: "SIGKILL, while a fork of it lives on",
        gets: "only the fork is left",
        file: KILLED,
        test: "test_a_fork_of_a_killed_program_lives_on_without_the_machine",
    },
    ShownElsewhere {
        what: "`sys.exit` in a thread",
        gets: "the machine still runs, and ends with the program",
        file: PROCESS,
        test: "test_a_thread_exits_by_sys_exit",
    },
    ShownElsewhere {
        what: "an exception in a thread",
        gets: "the machine still runs, and ends with the program",
        file: PROCESS,
        test: "test_a_thread_raises_and_another_still_has_the_machine",
    },
    ShownElsewhere {
        what: "the interpreter shuts down while a daemon thread waits",
        gets: "nothing is left; status 0, and no output",
        file: PROCESS,
        test: "test_a_daemon_thread_waits_at_the_end",
    },
    ShownElsewhere {
        what: "the interpreter shuts down while daemon threads execute commands",
        gets: "nothing is left; status 0, and no output",
        file: PROCESS,
        test: "test_daemon_threads_execute_commands_at_the_end",
    },
    ShownElsewhere {
        what: "the interpreter shuts down while a daemon thread runs an event loop",
        gets: "nothing is left; status 0, and no output",
        file: PROCESS,
        test: "test_a_daemon_thread_runs_an_event_loop_at_the_end",
    },
    ShownElsewhere {
        what: "the interpreter shuts down, with the machine in a reference cycle",
        gets: "nothing is left",
        file: PROCESS,
        test: "test_a_machine_in_a_cycle_is_alive_at_the_end",
    },
    ShownElsewhere {
        what: "a handler of `atexit` uses the machine after its end",
        gets: "the report, by SIGKILL",
        file: PROCESS,
        test: "test_a_handler_of_the_end_uses_the_machine",
    },
    ShownElsewhere {
        what: "the last reference to a machine goes",
        gets: "the machine ends",
        file: MACHINE,
        test: "test_collecting_it_ends_it",
    },
    ShownElsewhere {
        what: "a `__del__` uses the machine when the interpreter ends",
        gets: "the report; the machine has ended",
        file: PROCESS,
        test: "test_an_object_that_is_collected_at_the_end_uses_the_machine",
    },
    ShownElsewhere {
        what: "a task is cancelled during a launch",
        gets: "nothing is left",
        file: ASYNCIO,
        test: "test_a_cancelled_launch_leaves_nothing",
    },
    ShownElsewhere {
        what: "a task is cancelled in the block of a machine",
        gets: "the machine ends",
        file: ASYNCIO,
        test: "test_a_cancelled_block_ends_the_machine",
    },
    ShownElsewhere {
        what: "a fork uses what belongs to its parent",
        gets: "ForkError; the machine still runs",
        file: PROCESS,
        test: "test_a_fork_is_refused_and_harms_nothing",
    },
    ShownElsewhere {
        what: "a fork leaves the block of its parent's machine",
        gets: "the machine still runs",
        file: PROCESS,
        test: "test_a_fork_that_leaves_the_block_ends_nothing",
    },
    ShownElsewhere {
        what: "a fork launches a machine",
        gets: "its machine ends with it; the parent's still runs",
        file: PROCESS,
        test: "test_a_fork_may_launch_its_own_machine",
    },
    ShownElsewhere {
        what: "workers of multiprocessing, by fork, spawn and forkserver",
        gets: "each has its own machine; the parent's still runs",
        file: PROCESS,
        test: "test_multiprocessing_works_by_fork_and_by_spawn",
    },
    ShownElsewhere {
        what: "a worker of multiprocessing is killed",
        gets: "its machine ends; the parent's still runs",
        file: KILLED,
        test: "test_a_killed_worker_of_multiprocessing_takes_only_its_own_machine",
    },
    ShownElsewhere {
        what: "`os.execv` of another program",
        gets: "nothing is left",
        file: PROCESS,
        test: "test_a_program_executes_another",
    },
    ShownElsewhere {
        what: "a subinterpreter imports the package, before the program does",
        gets: "ImportError, with what to do; the main interpreter can still use it",
        file: PROCESS,
        test: "test_they_are_refused_before_the_main_interpreter",
    },
    ShownElsewhere {
        what: "pytest or a worker of pytest-xdist is interrupted or killed",
        gets: "nothing is left",
        file: PLUGIN,
        test: "test_no_machine_survives_an_interrupt_a_crash_of_a_worker_or_a_kill",
    },
    ShownElsewhere {
        what: "pytest-timeout ends a test, or the process",
        gets: "nothing is left; the logs are kept",
        file: PLUGIN,
        test: "test_a_timeout_of_pytest_timeout_ends_the_machine_and_keeps_what_is_known",
    },
    ShownElsewhere {
        what: "the replacement: the program returns, raises, exits or is killed",
        gets: "nothing is left",
        file: REPLACEMENT,
        test: "test_d1_the_end_of_the_program_is_the_end_of_qemu",
    },
    ShownElsewhere {
        what: "the replacement: SIGKILL while it starts QEMU",
        gets: "nothing is left",
        file: REPLACEMENT,
        test: "test_d1_qemu_ends_with_a_program_that_is_killed_while_it_starts_it",
    },
    ShownElsewhere {
        what: "the replacement: SIGKILL, while a fork of it lives on",
        gets: "only the fork is left",
        file: REPLACEMENT,
        test: "test_d1_a_fork_of_a_killed_program_lives_on",
    },
    ShownElsewhere {
        what: "the replacement: the launching thread ends",
        gets: "the machine still runs",
        file: REPLACEMENT,
        test: "test_d1_a_machine_of_a_thread_outlives_the_thread",
    },
    ShownElsewhere {
        what: "the replacement: a fork exits, or uses the machine",
        gets: "the machine still runs",
        file: REPLACEMENT,
        test: "test_a_forked_child_cannot_end_the_machine",
    },
    ShownElsewhere {
        what: "the replacement: workers of multiprocessing",
        gets: "each has its own machine",
        file: REPLACEMENT,
        test: "test_d1_workers_of_multiprocessing_have_machines_of_their_own",
    },
    ShownElsewhere {
        what: "the replacement: the guardian is killed, then the program",
        gets: "nothing is left: another guardian was started",
        file: REPLACEMENT,
        test: "test_a_guardian_that_was_killed_is_replaced",
    },
];
