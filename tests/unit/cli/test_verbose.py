"""What `tune --verbose` shows of the log."""

from schedtuna.cli.tune import _logging_to
from schedtuna.tune.experimentlog import LOG_NAME, ExperimentLog


def test_what_the_command_says_itself_is_not_shown_twice(tmp_path):
    said: list[str] = []
    with ExperimentLog(tmp_path) as log, _logging_to(said.append, enabled=True, debug=False):
        log.say("search 1: default: ok, 1 s")
        log.say("judged after 12 runs: improved", told=True)
    assert said == ["search 1: default: ok, 1 s"]
    assert "judged after 12 runs: improved" in (tmp_path / LOG_NAME).read_text()
