import logging
import time

import pytest

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import StudyError
from schedtuna.experiment.compare import CompareProgress
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.tune.experimentlog import LOG_NAME, LOGGER, ExperimentLog
from schedtuna.tune.search import SearchProgress


def event(phase="search", *, cost=None, **trial):
    content = {"scheduler": "fair", "values": {"nice": 2}, "started_at": time.time() + 60, "duration_s": 1.5}
    record = TrialRecord(phase=phase, index=3, arm=None, trial=Trial.model_validate(content | trial))
    return SearchProgress("gp", 4, 9, record, cost, cost, None)


def lines(folder):
    return (folder / LOG_NAME).read_text().splitlines()


def test_a_run_is_one_line_with_its_settings_and_cost(tmp_path):
    with ExperimentLog(tmp_path) as log:
        log.show(event(cost=-0.1, metrics={"x": 5.0}))
        log.show(event("baseline", cost=0.0, values={}))
    first, second = lines(tmp_path)
    assert first.endswith("INFO search 4: nice=2: ok, cost -9.5%, 1.5 s")
    assert second.endswith("INFO baseline 4: default: ok, 1.5 s")


def test_a_run_of_the_confirmation_names_its_arm(tmp_path):
    record = event("confirmation").record.model_copy(update={"arm": "candidate"})
    with ExperimentLog(tmp_path) as log:
        log.show(CompareProgress(1, 9, record, None, None))
    assert lines(tmp_path)[0].endswith("INFO confirmation 4 (candidate): nice=2: ok, 1.5 s")


def test_a_failure_shows_why_and_what_was_printed(tmp_path):
    with ExperimentLog(tmp_path) as log:
        log.show(event(validity=Validity.FAILED, reason="exit code 3", output_tail="one\ntwo"))
    assert "WARNING search 4: nice=2: failed, 1.5 s: exit code 3" in lines(tmp_path)[0]
    assert lines(tmp_path)[1:] == ["one", "two"]


def test_the_last_words_of_what_was_ended_are_in_the_file_only(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, LOGGER.name), ExperimentLog(tmp_path) as log:
        log.show(event(validity=Validity.TIMEOUT, reason="ended after 5 s", output_tail="Signal 15 caught"))
    assert lines(tmp_path)[-1] == "Signal 15 caught"
    assert [record.getMessage() for record in caplog.records] == [
        "search 4: nice=2: timeout, 1.5 s: ended after 5 s"
    ]


def test_numbers_are_for_debugging(tmp_path):
    with ExperimentLog(tmp_path, debug=True) as log:
        log.show(event(metrics={"x": 5.0}))
    assert lines(tmp_path)[1].endswith("DEBUG search 4: metrics {'x': 5.0} covariates {}")


def test_a_resumed_study_repeats_no_line(tmp_path):
    with ExperimentLog(tmp_path) as log:
        log.say("first session")
    with ExperimentLog(tmp_path) as log:
        log.show(event(started_at=time.time() - 60))
        log.say("second session")
    assert [line.rpartition("INFO ")[2] for line in lines(tmp_path)] == ["first session", "second session"]


def test_an_error_ends_it_and_goes_on(tmp_path):
    with pytest.raises(StudyError), ExperimentLog(tmp_path):
        raise StudyError("no candidate worked")
    assert lines(tmp_path)[-1].endswith("ERROR no candidate worked")


def test_programs_hear_what_they_ask_for(tmp_path, caplog):
    with ExperimentLog(tmp_path) as log:
        with caplog.at_level(logging.WARNING, LOGGER.name):
            log.say("quiet")
        with caplog.at_level(logging.INFO, LOGGER.name):
            log.say("loud")
    assert [record.message for record in caplog.records] == ["loud"]
    assert len(lines(tmp_path)) == 2


def test_a_full_disk_ends_nothing(tmp_path, capsys):
    with ExperimentLog(tmp_path) as log:
        log._file.setStream(open("/dev/full", "w")).close()  # noqa: PTH123, SIM115
        log.say("lost")
    assert capsys.readouterr().err == ""
