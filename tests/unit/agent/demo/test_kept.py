"""Runs that are kept: what is there is not run again, and what is of something else is refused."""

import pytest

from schedtuna.agent.demo.figures import DemoRun
from schedtuna.agent.demo.kept import KeptRuns
from schedtuna.errors import StudyError

FACTS = {"seed": 3, "simulated": True}
RUN = DemoRun("rules", 2, {"p99_us": 12.5}, 4, 8, None)


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "runs.jsonl"
    KeptRuns(made, FACTS).add("chain", RUN)
    return made


def test_a_run_is_there_again_of_its_own_load_arm_and_block(path):
    kept = KeptRuns(path, FACTS)
    assert kept.of("chain", "rules", 2) == RUN
    for other in [("audio", "rules", 2), ("chain", "none", 2), ("chain", "rules", 1)]:
        assert kept.of(*other) is None


def test_what_was_being_written_when_all_ended_is_run_again(path):
    whole = path.read_bytes()
    for size in range(len(whole.splitlines(keepends=True)[0]), len(whole) - 1):
        path.write_bytes(whole[:size])
        kept = KeptRuns(path, FACTS)
        assert kept.of("chain", "rules", 2) is None
        kept.add("chain", RUN)
        assert KeptRuns(path, FACTS).of("chain", "rules", 2) == RUN


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no runs"),
        ("PNG\n", "holds no runs"),
        ("[1]\n", "is damaged"),
        ('{"format_version": 99}\n', "format version 99"),
        ('{"format_version": 1, "facts": {"seed": 4}}\n', "holds runs of"),
        ('{"format_version": 1, "facts": {"seed": 3, "simulated": true}}\n{"load": 1}\n{}\n', "line 2"),
    ],
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path, content, told):
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(StudyError, match=told):
        KeptRuns(path, FACTS)
    assert path.read_text() == content
