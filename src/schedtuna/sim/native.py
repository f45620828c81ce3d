"""The native module, typed (`_native.pyi`); importing this says what is missing where it can't be loaded."""

from __future__ import annotations

from importlib.util import find_spec

from schedtuna.errors import MissingExtraError, SchedtunaError, UnavailableError

_EXTRA = "nanobind_backend"  # what differs between Python's versions; it comes with the extra


def _missing(error: ImportError) -> SchedtunaError:
    if find_spec("schedtuna.sim._native") is None:
        return UnavailableError(
            "this installation lacks the simulator's native module",
            hint="a wheel has it for CPython 3.11 and newer, though not for free-threaded builds; a "
            "clone builds it with `pip install -e '.[sim]'`, unless it is told SCHEDTUNA_SIM=OFF",
        )
    if find_spec(_EXTRA) is None:
        return MissingExtraError("the simulator", "sim")
    return UnavailableError(f"the simulator's native module can't be loaded: {error}", hint="install it anew")


try:
    from schedtuna.sim._native import (
        CALLBACKS,
        FROM_BEGINNING,
        GLOBAL_DSQ,
        LONGEST_NS,
        MACHINE_FEATURES,
        MAX_SLOTS,
        MIGRATION_FEATURES,
        NEVER,
        NR_OTHER_ACTIONS,
        PLAIN_WAKEUP,
        TASK_FEATURES,
        Autoreset,
        BadInputError,
        Batch,
        BpfObject,
        DequeueReason,
        EnqueueReason,
        Futures,
        Machine,
        MigrateBatch,
        MigrateSetup,
        NativeScheduler,
        Op,
        PickNextSetup,
        Policy,
        SchedulerError,
        Stop,
        Task,
        TaskState,
        Topology,
        Workload,
        bytes_needed,
        cost_table,
        covered_instructions,
        external_row,
        flat_workload,
        idle_reason_table,
        left_out_table,
        load_bpf_object,
        make_scheduler,
        parse_rt_app,
        pick_from_states,
        python_scheduler,
        scheduler_table,
        term_table,
    )
    from schedtuna.sim._native import Simulation as NativeSimulation
except ImportError as _error:
    raise _missing(_error) from _error

__all__ = [
    "CALLBACKS",
    "FROM_BEGINNING",
    "GLOBAL_DSQ",
    "LONGEST_NS",
    "MACHINE_FEATURES",
    "MAX_SLOTS",
    "MIGRATION_FEATURES",
    "NEVER",
    "NR_OTHER_ACTIONS",
    "PLAIN_WAKEUP",
    "TASK_FEATURES",
    "Autoreset",
    "BadInputError",
    "Batch",
    "BpfObject",
    "DequeueReason",
    "EnqueueReason",
    "Futures",
    "Machine",
    "MigrateBatch",
    "MigrateSetup",
    "NativeScheduler",
    "NativeSimulation",
    "Op",
    "PickNextSetup",
    "Policy",
    "SchedulerError",
    "Stop",
    "Task",
    "TaskState",
    "Topology",
    "Workload",
    "bytes_needed",
    "cost_table",
    "covered_instructions",
    "external_row",
    "flat_workload",
    "idle_reason_table",
    "left_out_table",
    "load_bpf_object",
    "make_scheduler",
    "parse_rt_app",
    "pick_from_states",
    "python_scheduler",
    "scheduler_table",
    "term_table",
]
