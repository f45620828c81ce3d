import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import StudyError
from schedtuna.experiment import triallog
from schedtuna.experiment.triallog import LOG_NAME, TORN_NAME, TrialLog, TrialRecord, read_trials
from schedtuna.files.versions import StoredFormat

IDENTITY = {"workload": "sha-w", "space": "sha-s", "machine": "sha-m"}


def record(index: int, phase: str = "search", **metrics: float) -> TrialRecord:
    return TrialRecord(
        phase=phase, index=index, trial=Trial(scheduler="fair", metrics=metrics or {"wall_time_s": 1.5})
    )


def filled(folder: Path, n: int) -> Path:
    with TrialLog(folder, IDENTITY) as log:
        for index in range(n):
            log.append(record(index))
    return folder / LOG_NAME


def test_a_reopened_log_finds_every_trial_and_continues(tmp_path):
    path = filled(tmp_path / "a" / "b", 3)
    with TrialLog(path.parent, IDENTITY) as log:
        assert log.warnings == []
        assert log.find("search", 2) == record(2)
        assert log.find("search", 3) is None
        assert log.find("confirmation", 0) is None
        log.append(record(0, phase="confirmation"))
    identity, records = read_trials(path.parent)
    assert identity == IDENTITY
    assert [(r.phase, r.index) for r in records] == [
        ("search", 0),
        ("search", 1),
        ("search", 2),
        ("confirmation", 0),
    ]


def test_every_field_survives_the_disk(tmp_path):
    trial = Trial(
        scheduler="fair",
        values={"slice_us": 700, "policy": "batch", "on": True, "x": 0.1},
        seed=2**63,
        validity=Validity.TIMEOUT,
        reason="it hung\nwith “quotes”",
        metrics={"tiny": 5e-324, "nan": float("inf")},
        exit_code=None,
        output_tail="\x00\x1b[0m ü",
    )
    original = TrialRecord(phase="confirmation", index=7, block=2, arm="A2", trial=trial)
    with TrialLog(tmp_path, IDENTITY) as log:
        log.append(original)
    assert read_trials(tmp_path)[1] == [original]


def test_a_trial_is_never_logged_twice(tmp_path):
    with TrialLog(tmp_path, IDENTITY) as log:
        log.append(record(0))
        with pytest.raises(StudyError, match="already"):
            log.append(record(0))


def test_a_copied_line_is_refused(tmp_path):
    path = filled(tmp_path, 2)
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    with pytest.raises(StudyError, match=r"line 4.*twice"):
        TrialLog(tmp_path, IDENTITY)


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_torn_last_line_is_set_aside_and_its_trial_runs_again(tmp_path, cut):
    path = filled(tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with TrialLog(tmp_path, IDENTITY) as log:
        assert len(log.warnings) == 1
        assert log.find("search", 1) is not None
        assert log.find("search", 2) is None
        log.append(record(2))
    assert path.read_bytes() == whole
    assert (tmp_path / TORN_NAME).read_bytes().strip() == whole[:-cut].splitlines()[-1]


@pytest.mark.parametrize("n", [0, 3])
def test_a_last_line_that_lacks_only_its_newline_counts(tmp_path, n):
    path = filled(tmp_path, n)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert len(read_trials(tmp_path)[1]) == n
    with TrialLog(tmp_path, IDENTITY) as log:
        assert log.warnings == []
        assert path.read_bytes() == whole
        log.append(record(n))
    assert len(read_trials(tmp_path)[1]) == n + 1
    assert not (tmp_path / TORN_NAME).exists()


def test_zeros_that_a_power_loss_left_are_set_aside(tmp_path):
    path = filled(tmp_path, 2)
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    with TrialLog(tmp_path, IDENTITY) as log:
        assert len(log.records()) == 2
        assert log.warnings


def test_a_torn_header_loses_nothing(tmp_path):
    (tmp_path / LOG_NAME).write_bytes(b'{"format": "sched')
    with TrialLog(tmp_path, IDENTITY) as log:
        assert log.warnings
        log.append(record(0))
    assert len(read_trials(tmp_path)[1]) == 1


def test_damage_before_the_last_line_names_the_line(tmp_path):
    path = filled(tmp_path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"index"', b'"in\xffex"')
    path.write_bytes(b"".join(lines))
    with pytest.raises(StudyError, match="line 3"):
        TrialLog(tmp_path, IDENTITY)
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("changed", ["workload", "space", "machine"])
def test_another_identity_is_refused_and_named(tmp_path, changed):
    filled(tmp_path, 1)
    with pytest.raises(StudyError) as caught:
        TrialLog(tmp_path, {**IDENTITY, changed: "other"})
    assert f"another {changed}: {changed} was {IDENTITY[changed]}, is other" in str(caught.value)


def test_an_identity_with_a_new_key_is_refused(tmp_path):
    filled(tmp_path, 1)
    with pytest.raises(StudyError, match="seed was absent, is 1"):
        TrialLog(tmp_path, {**IDENTITY, "seed": "1"})


def test_another_version_is_refused(tmp_path):
    path = filled(tmp_path, 1)
    path.write_text(path.read_text().replace(f'"version": {NOW.newest}', '"version": 99'))
    with pytest.raises(StudyError, match="version 99"):
        TrialLog(tmp_path, IDENTITY)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / LOG_NAME).write_text('{"some": "json"}\n')
    with pytest.raises(StudyError, match="not a trial log"):
        TrialLog(tmp_path, IDENTITY)


def test_a_folder_without_a_log_says_what_to_name(tmp_path):
    with pytest.raises(StudyError, match="no readable"):
        read_trials(tmp_path)


HOLDER = """
import sys, time
from pathlib import Path
from schedtuna.experiment.triallog import TrialLog
with TrialLog(Path(sys.argv[1]), {"workload": "w"}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_has_the_folder(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(StudyError, match=f"in use by process {holder.pid}"):
            TrialLog(tmp_path, {"workload": "w"})
    finally:
        holder.kill()
        holder.communicate()
    TrialLog(tmp_path, {"workload": "w"}).close()  # a killed holder leaves no lock behind


WRITER = """
import sys
from pathlib import Path
from schedtuna.backend.base import Trial
from schedtuna.experiment.triallog import TrialLog, TrialRecord
with TrialLog(Path(sys.argv[1]), {"workload": "w"}) as log:
    for index in range(100_000):
        log.append(TrialRecord(phase="p", index=index, trial=Trial(scheduler="fair", reason="x" * 3000)))
        print(index, flush=True)
"""


def test_a_killed_writer_loses_no_trial_that_it_had_announced(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    announced = [int(writer.stdout.readline()) for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    announced += [int(line) for line in writer.stdout]
    writer.stdout.close()
    writer.wait()
    with TrialLog(tmp_path, {"workload": "w"}) as log:
        indices = [r.index for r in log.records("p")]
        assert indices == list(range(len(indices)))
        assert set(announced) <= set(indices)


def mount_full_disk(folder: Path, size: str = "64k") -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill(log: TrialLog) -> None:
    metrics = {f"m{i}": float(i) for i in range(100)}
    for index in range(10_000):
        log.append(TrialRecord(phase="p", index=index, trial=Trial(scheduler="fair", metrics=metrics)))


def test_a_full_disk_keeps_the_earlier_trials(tmp_path):
    if os.geteuid() != 0 or not mount_full_disk(tmp_path):
        pytest.skip("mounting a small disk needs root")
    try:
        with TrialLog(tmp_path, IDENTITY) as log:
            with pytest.raises(StudyError, match=os.strerror(errno.ENOSPC)):
                fill(log)
            kept = len(log.records())
        assert kept > 0
        with TrialLog(tmp_path, IDENTITY) as log:
            assert log.warnings == []
            assert len(log.records()) == kept
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StudyError, match="can't make the results folder") as raised:
        TrialLog(tmp_path / "taken", IDENTITY)
    assert "--results" in str(raised.value.hint)


def test_the_log_is_json_lines(tmp_path):
    path = filled(tmp_path, 2)
    parsed = [json.loads(line) for line in path.read_text().splitlines()]
    assert parsed[0]["identity"] == IDENTITY
    assert [line["index"] for line in parsed[1:]] == [0, 1]


NOW = triallog.STORED


def place_to_covariate(line):
    """A made-up migration: the header's identity and every trial change."""
    if "identity" in line:
        line["identity"]["program"] = line["identity"].pop("workload")
    else:
        line["trial"]["covariates"] = {"former": line["index"]}
    return line


@pytest.fixture
def second_version(monkeypatch):
    """The version after the newest one."""
    migrations = {**NOW.migrations, NOW.newest: place_to_covariate}
    monkeypatch.setattr(triallog, "STORED", StoredFormat(StudyError, migrations))
    return {"program": "sha-w", "space": "sha-s", "machine": "sha-m"}


def test_a_former_versions_log_is_read_and_left_as_it_is(tmp_path, request):
    path = filled(tmp_path / "log", 3)
    before = path.read_bytes()
    identity = request.getfixturevalue("second_version")
    assert read_trials(path.parent)[0] == identity
    assert [r.trial.covariates for r in read_trials(path.parent)[1]] == [{"former": i} for i in range(3)]
    assert path.read_bytes() == before


def test_a_former_versions_log_is_rewritten_before_it_is_continued(tmp_path, request):
    path = filled(tmp_path / "log", 3)
    with path.open("ab") as raw:
        raw.write(b'{"phase": "sea')
    identity = request.getfixturevalue("second_version")
    with TrialLog(path.parent, identity) as log:
        assert len(log.warnings) == 1
        log.append(record(3))
        assert log.find("search", 2).trial.covariates == {"former": 2}
    assert json.loads(path.read_text().splitlines()[0])["version"] == NOW.newest + 1
    assert [r.trial.covariates for r in read_trials(path.parent)[1]] == [
        *({"former": i} for i in range(3)),
        {},
    ]
    with TrialLog(path.parent, identity) as log:
        assert len(log.records()) == 4


def test_a_former_versions_log_of_another_experiment_is_left_alone(tmp_path, request):
    path = filled(tmp_path / "log", 3)
    before = path.read_bytes()
    identity = request.getfixturevalue("second_version")
    with pytest.raises(StudyError, match="another program"):
        TrialLog(path.parent, identity | {"program": "other"})
    assert path.read_bytes() == before


def test_a_former_line_that_lacks_something_is_named(tmp_path, request):
    path = filled(tmp_path / "log", 3)
    lines = path.read_text().splitlines()
    lines[2] = '{"phase": "search", "index": 1}'
    path.write_text("\n".join(lines) + "\n")
    request.getfixturevalue("second_version")
    with pytest.raises(StudyError, match=f"line 3 is damaged: it is not of version {NOW.newest}: KeyError"):
        read_trials(path.parent)


def test_every_trial_says_which_manifest_describes_its_machine(tmp_path):
    with TrialLog(tmp_path / "a", IDENTITY, "hash") as log:
        log.append(record(0))
        assert log.find("search", 0).trial.manifest_hash == "hash"
    assert read_trials(tmp_path / "a")[1][0].trial.manifest_hash == "hash"
