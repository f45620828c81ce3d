"""Records that BPF programs, C and Python share: each side has its own spelling, and all agree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from schedtuna.record import ends
from schedtuna.record.layout import REASON_WAKEUP, REASON_WAKING
from schedtuna.trace.aggregates.layout import (
    CPU_STATS_DTYPE,
    NR_BUCKETS,
    NR_HISTOGRAMS,
    STATS_BORN,
    STATS_DEAD,
    STATS_DTYPE,
    TIME_SLICES,
    TURNAROUND_SCALE,
    Blocked,
    Delay,
    Migration,
)
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, AttributeReason
from schedtuna.trace.groups import GROUP_DTYPE
from schedtuna.trace.picks import (
    MOST_CANDIDATES,
    MOST_LEVELS,
    PICK_DTYPE,
    RAW_CANDIDATE_DTYPE,
    CandidateFlag,
    PickFlag,
    PickRow,
)
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE, EventType, PrevState, TaskReason, Waker

INCLUDE = Path(__file__).parents[2] / "include"
COMPILER = shutil.which("gcc") or shutil.which("clang") or ""
pytestmark = pytest.mark.skipif(not COMPILER, reason="no C compiler")
STRUCTS = {
    "sched_event": EVENT_DTYPE,
    "task_row": TASK_DTYPE,
    "task_stats": STATS_DTYPE,
    "cpu_stats": CPU_STATS_DTYPE,
    "ends_wanted": ends.WANTED_DTYPE,
    "task_end": ends.END_DTYPE,
    "task_ends": ends.ENDS_DTYPE,
    "sched_pick": PICK_DTYPE,
    "sched_candidate": RAW_CANDIDATE_DTYPE,
    "task_attributes": ATTRIBUTE_DTYPE,
    "sched_group": GROUP_DTYPE,
}
NAMES_IN_C = {("task_row", "reserved"): "other_tid"}
ENUMS = {
    "EVENT": EventType,
    "PREV": PrevState,
    "WAKER": Waker,
    "TASK": TaskReason,
    "DELAY": Delay,
    "BLOCKED": Blocked,
    "MIGRATED": Migration,
    "PICK": PickRow,
    "ATTRIBUTE": AttributeReason,
}
CONSTANTS = {
    "NR_DELAY_CLASSES": len(Delay),
    "NR_BLOCKED_CLASSES": len(Blocked),
    "NR_MIGRATION_CLASSES": len(Migration),
    "NR_BUCKETS": NR_BUCKETS,
    "NR_HISTOGRAMS": NR_HISTOGRAMS,
    "TIME_SLICES": TIME_SLICES,
    "1 << TURNAROUND_SHIFT": TURNAROUND_SCALE,
    "STATS_BORN": STATS_BORN,
    "STATS_DEAD": STATS_DEAD,
    "TASK_WAKEUP": REASON_WAKEUP,
    "TASK_WAKING": REASON_WAKING,
    "MASK_BYTES": ends.MASK_BYTES,
    "MOST_CANDIDATES": MOST_CANDIDATES,
    "MOST_LEVELS": MOST_LEVELS,
    **{f"PICK_{flag.name}": flag.value for flag in PickFlag},
    **{f"CANDIDATE_{flag.name}": flag.value for flag in CandidateFlag},
}


def values_in_c(folder: Path, expressions: list[str]) -> list[int]:
    source = folder / "values.c"
    includes = "".join(f'#include "{header}"\n' for header in sorted(INCLUDE.glob("*.h")))
    rows = "".join(f'printf("%lld\\n", (long long)({e}));\n' for e in expressions)
    source.write_text(f"#include <stddef.h>\n#include <stdio.h>\n{includes}int main(void) {{\n{rows}}}\n")
    subprocess.run([COMPILER, "-o", folder / "values", source], check=True)
    out = subprocess.run([folder / "values"], capture_output=True, text=True, check=True).stdout
    return [int(line) for line in out.split()]


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_struct_has_the_fields_of_its_dtype_where_numpy_has_them(tmp_path, struct):
    dtype = STRUCTS[struct]
    wanted = {}
    for name, (of_field, offset, *_) in dtype.fields.items():
        spelled = NAMES_IN_C.get((struct, name), name)
        wanted[f"offsetof(struct {struct}, {spelled})"] = offset
        wanted[f"sizeof(((struct {struct} *)0)->{spelled})"] = of_field.itemsize
        if of_field.base.kind in "iu":
            element = f"((struct {struct} *)0)->{spelled}" + "[0]" * of_field.ndim
            wanted[f"(__typeof__({element}))-1 < 0"] = int(of_field.base.kind == "i")
    wanted[f"sizeof(struct {struct})"] = dtype.itemsize
    assert dict(zip(wanted, values_in_c(tmp_path, list(wanted)), strict=True)) == wanted


def test_numbers_have_the_same_names(tmp_path):
    wanted = CONSTANTS | {f"{prefix}_{m.name}": int(m) for prefix, kind in ENUMS.items() for m in kind}
    assert dict(zip(wanted, values_in_c(tmp_path, list(wanted)), strict=True)) == wanted


def test_no_dtype_has_padding_that_only_one_side_knows():
    for dtype in STRUCTS.values():
        assert dtype == np.dtype([(name, dtype[name]) for name in dtype.names])
