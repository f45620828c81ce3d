"""Every complete kernel of the mirror boots, and real schedulers start, run and stop on it.

But on those whose BTF is wrong about sched_ext's functions: there the kernel may refuse them, for that.
"""

import pytest
from tests.kernel.lab_guest import lab_or_skip
from tests.kernel.support_matrix import Row, examples_note, markdown, try_schedulers

from schedtuna.errors import SchedtunaError
from schedtuna.kernel.kfuncs import is_refusal, uncallable_kfuncs
from schedtuna.lab.setup import mirror_kernels, setup

CAN_FAIL = ("scx_pair", "scx_qmap", "scx_userland")  # examples that need options or another compiler


@pytest.mark.long
def test_schedulers_work_on_all_kernels_of_the_mirror():
    before = lab_or_skip().default_kernel
    try:
        versions = mirror_kernels()
    except SchedtunaError as error:
        pytest.skip(f"the mirror's kernels can't be listed: {error}")
    broken = {}
    nr_tried = 0
    worked = False
    try:
        for version in versions:
            lab = setup(version)
            examples_note(lab, lab.kernel())
            rows = [row for row in try_schedulers(lab, lab.kernel()) if row.name not in CAN_FAIL]
            nr_tried += len(rows)
            worked |= any(row.works for row in rows)
            unpacked = lab.kernel().unpacked
            wrong = unpacked is not None and uncallable_kfuncs(unpacked)
            broken |= {
                f"{row.name} on {version}": row
                for row in rows
                if not row.works and not (wrong and is_refusal(row.reason))
            }
    finally:
        setup(before)
    if not nr_tried:
        pytest.skip("no sched_ext scheduler in SCHEDTUNA_SCX_PATH or PATH, and no examples")
    assert broken == {}
    assert worked


def test_the_document_has_a_row_per_scheduler_and_says_why_not():
    rows = [
        Row("scx_good", loaded="good", load=True, stopped=True),
        Row("scx_bad", reason="\n\x1b[2mrefused\x1b[0m | by the kernel\nand more\n"),
    ]
    lines = markdown("6.18", rows, "A note.").splitlines()
    assert lines[0] == "## 6.18"
    assert lines[2] == "A note."
    assert lines[-2] == "| scx_good | yes | good | yes | yes |  |"
    assert lines[-1] == "| scx_bad | no |  | no | no | refused / by the kernel |"
