"""The log: bounded, whole lines, readable after a crash."""

import json

import numpy as np
from tests.unit.agent.rows import intent

from schedtuna.agent.log import LOG_NAME, OLDER_NAME, AgentLog, intent_row, read_log


def test_rows_come_back_in_order(tmp_path):
    log = AgentLog(tmp_path)
    log.write("start", number=np.float64(1.5), none=float("nan"))
    log.write("decision", **intent_row(intent()))
    log.close()
    first, second = read_log(tmp_path)
    assert (first["kind"], first["number"], first["none"]) == ("start", 1.5, None)
    assert (second["setting"], second["kernel"], second["chosen"], second["id"]) == (
        "nice",
        0,
        10,
        intent().id,
    )


def test_it_stays_within_its_size(tmp_path):
    log = AgentLog(tmp_path, most_bytes=20_000)
    for number in range(1000):
        log.write("snapshot", number=number)
    log.close()
    sizes = [(tmp_path / name).stat().st_size for name in (LOG_NAME, OLDER_NAME)]
    assert sum(sizes) <= 20_000
    numbers = [row["number"] for row in read_log(tmp_path)]
    assert numbers == list(range(numbers[0], 1000))  # the newest, without a gap


def test_what_a_crash_left_of_a_line_is_not_continued(tmp_path):
    (tmp_path / LOG_NAME).write_text('{"kind":"a"}\n{"kin')
    (tmp_path / LOG_NAME).chmod(0o600)
    log = AgentLog(tmp_path)
    log.write("b")
    log.close()
    assert [row["kind"] for row in read_log(tmp_path)] == ["a", "b"]


def test_a_full_disk_loses_rows_and_says_how_many():
    """/dev/full can't be a log's folder: the write is made to fail by its size."""
    import resource
    import signal
    import tempfile
    from pathlib import Path

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder:
        log = AgentLog(Path(folder))
        log.write("a")
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
            log.write("b", text="x" * 400)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        log.write("c")
        log.close()
        assert log.nr_lost == 1
        lines = (Path(folder) / LOG_NAME).read_text().splitlines()
        assert [json.loads(line)["kind"] for line in lines] == ["a", "c"]
