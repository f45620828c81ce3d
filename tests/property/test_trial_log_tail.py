"""Whatever a crash leaves at the end of a trial log: every whole trial is kept, and the log goes on."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedtuna.backend.base import Trial
from schedtuna.errors import StudyError
from schedtuna.experiment.triallog import LOG_NAME, TORN_NAME, TrialLog, TrialRecord, read_trials

IDENTITY = {"workload": "w"}
LINES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\0" * 512, b"{}", b"null", b"[" * 5000, b'{"phase": "search"}', b"\xff\xfe", b" "]),
)


def record(index):
    return TrialRecord(phase="search", index=index, trial=Trial(scheduler="fair", metrics={"a\u2028": 1.5}))


def filled(folder, n):
    with TrialLog(folder, IDENTITY) as log:
        for index in range(n):
            log.append(record(index))
    return folder / LOG_NAME


def goes_on(folder, n):
    """Opening keeps so many trials and runs the others; a second time, nothing is amiss."""
    assert len(read_trials(folder)[1]) == n
    with TrialLog(folder, IDENTITY) as log:
        assert [r.index for r in log.records()] == list(range(n))
        log.append(record(n))
    with TrialLog(folder, IDENTITY) as log:
        assert (log.warnings, len(log.records())) == ([], n + 1)


@settings(max_examples=150)
@given(n=st.integers(0, 3), tail=st.lists(LINES, min_size=1, max_size=4), ended=st.booleans())
def test_garbage_after_the_last_trial_is_set_aside(n, tail, ended):
    garbage = b"\n".join(tail) + b"\n" * ended
    assume(garbage)
    with TemporaryDirectory() as folder:
        path = filled(Path(folder), n)
        path.write_bytes(path.read_bytes() + garbage)
        with TrialLog(Path(folder), IDENTITY) as log:
            assert len(log.warnings) == 1
        assert (Path(folder) / TORN_NAME).read_bytes().rstrip(b"\n") == garbage.rstrip(b"\n")
        goes_on(Path(folder), n)


@settings(max_examples=150)
@given(n=st.integers(1, 3), share=st.floats(0, 1))
def test_a_log_cut_off_anywhere_keeps_every_whole_trial(n, share):
    with TemporaryDirectory() as folder:
        path = filled(Path(folder), n)
        content = path.read_bytes()
        left = content[: round(share * len(content))]
        path.write_bytes(left)
        header, *lines = content.splitlines()
        whole = sum(len(b"\n".join([header, *lines[: i + 1]])) <= len(left) for i in range(n))
        if len(left) < len(header):
            try:
                read_trials(Path(folder))
            except StudyError as error:
                assert "no header" in str(error)  # noqa: PT017 - what else it may do is what is tested
            with TrialLog(Path(folder), IDENTITY) as log:
                assert log.records() == []
        goes_on(Path(folder), whole)
