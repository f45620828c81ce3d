"""Every complete kernel of the mirror boots, and real schedulers start, run and stop on it.

But on those whose BTF is wrong about sched_ext's functions: there the kernel may refuse them, for that.
"""

import shutil

import pytest
from tests.kernel.lab_guest import lab_or_skip
from tests.kernel.support_matrix import Row, examples_note, markdown, try_schedulers

from schedtuna.errors import SchedtunaError
from schedtuna.kernel.kfuncs import is_refusal, uncallable_kfuncs
from schedtuna.lab.build.setup import mirror_kernels, setup
from schedtuna.lab.store import write_lab
from schedtuna.machine.labfolder import LAB_VARIABLE

CAN_FAIL = ("scx_pair", "scx_qmap", "scx_userland")  # examples that need options or another compiler
UNRESOLVED = "wasn't resolved"  # a function that its program could do without, so libbpf lets it pass
VERIFIERS_WORDS = """\
scx_wild did not start: it exited with code 1 before it was enabled; it printed:
97: (7b) *(u64 *)(r7 +16) = r1
R7 invalid access
processed 71 insns (limit 1000000) max_states_per_insn 1 total_states 5 peak_states 5 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'wild': failed to load: -EACCES
Failed to load skel
"""


@pytest.fixture
def own_lab(tmp_path, monkeypatch):
    """A lab with the QEMU and the programs of this machine's, and with kernels of its own."""
    lab = lab_or_skip()
    write_lab(lab.model_copy(update={"kernels": {}}), tmp_path)
    (tmp_path / "guest").symlink_to(lab.guest_root)
    monkeypatch.setenv(LAB_VARIABLE, str(tmp_path))
    yield
    shutil.rmtree(tmp_path)


@pytest.mark.long
@pytest.mark.usefixtures("own_lab")
def test_schedulers_work_on_all_kernels_of_the_mirror():
    try:
        versions = mirror_kernels()
    except SchedtunaError as error:
        pytest.skip(f"the mirror's kernels can't be listed: {error}")
    broken = {}
    nr_tried = 0
    worked = False
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
            if not row.works and not (wrong and (is_refusal(row.reason) or UNRESOLVED in row.reason))
        }
    if not nr_tried:
        pytest.skip("no sched_ext scheduler in SCHEDTUNA_SCX_PATH or PATH, and no examples")
    assert broken == {}
    assert worked


def test_the_document_has_a_row_per_scheduler_and_says_why_not():
    rows = [
        Row("scx_good", loaded="good", load=True, stopped=True),
        Row("scx_bad", reason="\n\x1b[2mrefused\x1b[0m | by the kernel\nand more\n"),
        Row("scx_gone", reason="scx_gone did not start: it exited; it printed:\nfirst\nno such thing\n"),
        Row("scx_wild", reason=VERIFIERS_WORDS),
        Row("scx_shy", reason="it exited; it printed:\nfunc_proto incompatible with vmlinux\nFailed"),
    ]
    lines = markdown("6.18", rows, "A note.").splitlines()
    assert lines[0] == "## 6.18"
    assert lines[2] == "A note."
    assert lines[-5:] == [
        "| scx_good | yes | good | yes | yes |  |",
        "| scx_bad | no |  | no | no | refused / by the kernel |",
        "| scx_gone | no |  | no | no | scx_gone did not start: it exited: no such thing |",
        "| scx_wild | no |  | no | no | the verifier refuses its program wild: R7 invalid access |",
        "| scx_shy | no |  | no | no | the kernel's BTF is wrong about functions that it calls |",
    ]
