import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.knobs.systemd import drop_in, drop_in_once_started, drop_in_path, scheduler_unit

WRAPPER = ["/usr/bin/schedtuna", "apply", "/srv/a study", "--"]


def directives(text):
    """Read a unit the way ini readers do; systemd's empty ExecStart= resets the list."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment] # how the library wants it
    parser.read_string(text)
    return dict(parser["Service"])


def test_known_knobs_become_directives():
    values: dict[str, int | str] = {"nice": 5, "policy": "batch", "timer_slack_us": 200, "cpu_weight": 300}
    assert directives(drop_in(values, [], wrapper=WRAPPER)) == {
        "Nice": "5",
        "CPUSchedulingPolicy": "batch",
        "TimerSlackNSec": "200us",
        "CPUWeight": "300",
    }


def test_realtime_comes_last_with_its_limit():
    text = drop_in({"realtime": "fifo", "policy": "batch"}, [], wrapper=WRAPPER)
    assert directives(text) == {
        "CPUSchedulingPolicy": "fifo",
        "CPUSchedulingPriority": "1",
        "LimitRTTIME": "5000000us:infinity",
    }
    assert drop_in({"realtime": "none"}, [], wrapper=WRAPPER) == "[Service]\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize(
    "values",
    [
        {"nice": -5, "policy": "idle", "timer_slack_us": 200, "cpu_weight": 300, "cpu_quota": 50},
        {"affinity": "all", "cpuset": "all", "realtime": "rr"},
        {"slice_us": 500},
    ],
    ids=",".join,
)
def test_systemd_finds_no_fault_with_a_drop_in(tmp_path, values):
    unit = tmp_path / "demo.service"
    unit.write_text("[Service]\nExecStart=/usr/bin/env true\n")
    folder = tmp_path / "demo.service.d"
    folder.mkdir()
    command = [
        "/usr/bin/env",
        "echo",
        "100%",
        "$HOME x",
        "a\nExecStartPost=false",
        "\\",
        ";",
        "'",
        "\udcff",
        "",
    ]
    (folder / "schedtuna.conf").write_text(drop_in(values, command, wrapper=["/usr/bin/env"]))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_knobs_start_the_service_through_the_wrapper():
    command = ["/srv/run", "--at", "100%", "$HOME x"]
    text = drop_in({"slice_us": 500, "nice": 5}, command, wrapper=WRAPPER)
    assert directives(text) == {
        "ExecStart": '/usr/bin/schedtuna apply "/srv/a study" -- /srv/run --at 100%% "$$HOME x"'
    }
    assert "ExecStart=\n" in text


def test_a_wrapper_needs_the_command():
    with pytest.raises(UsageError, match="slice_us"):
        drop_in({"slice_us": 500}, [], wrapper=WRAPPER)


def test_a_schedulers_unit_runs_its_program_with_its_flags():
    text = scheduler_unit(["/opt/a b/scx_x", "--share=50%"], "scx_x:share=50%")
    assert directives(text)["ExecStart"] == '"/opt/a b/scx_x" --share=50%%'
    assert directives(text)["KillSignal"] == "SIGINT"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_no_fault_with_a_schedulers_unit(tmp_path):
    unit = tmp_path / "schedtuna-scheduler.service"
    unit.write_text(scheduler_unit(["/usr/bin/env", "-x", "100%", "\n[Install]\n", "\\"], "scx_x:a=1\n%n\\"))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def encodable(text):
    """Whether a program can be given it: an argument is bytes, any of which may not be UTF-8."""
    try:
        return os.fsdecode(os.fsencode(text)) == text
    except UnicodeEncodeError:
        return False


ARGUMENTS = st.one_of(
    st.sampled_from(
        ["a\nExecStart=/bin/false", "\r[Install]", "%n%%", "$A ${A} $$", "\\n \\", "'\"", ";", "-", "\udcff"]
    ),
    st.text(st.characters(exclude_characters="\0", codec=None)).filter(encodable),
)


def words(line):
    """Split a value of ExecStart as systemd.syntax(7) says: quotes, C escapes, then % and $."""
    found = []
    for word in re.findall(r'"(?:[^"\\]|\\.)*"|[^ "]+', line):
        data = bytearray()
        for part in re.findall(r"\\x..|\\.|[^\\]", word[1:-1] if word[0] == '"' else word):
            simple = {r"\n": b"\n", r"\t": b"\t", r"\\": b"\\", r"\"": b'"'}
            data += bytes.fromhex(part[2:]) if part[:2] == r"\x" else simple.get(part) or part.encode()
        text = os.fsdecode(bytes(data))
        assert not re.search(r"(?<!%)(%%)*%(?!%)", text)
        found.append(text.replace("%%", "%"))
    assert not any(re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word) for word in found[1:])
    return [found[0], *(word.replace("$$", "$") for word in found[1:])]


@given(st.lists(ARGUMENTS, max_size=4), st.text(st.characters(codec=None)))
def test_no_argument_or_label_becomes_a_directive(arguments, label):
    harmless = scheduler_unit(["/opt/x"], "x").splitlines()
    text = scheduler_unit(["/opt/a$b c", *arguments], label)
    lines = text.split("\n")
    assert len(text.splitlines()) == len(harmless)
    assert [line for line in lines if not line.startswith(("Description=", "ExecStart="))] == [
        line for line in [*harmless, ""] if not line.startswith(("Description=", "ExecStart="))
    ]
    assert not any(line.endswith("\\") for line in lines)
    (command,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    assert words(command) == ["/opt/a$b c", *arguments]
    (described,) = [line for line in lines if line.startswith("Description=")]
    assert "%" not in described.replace("%%", "")
    assert drop_in({"slice_us": 500}, arguments or ["x"], wrapper=WRAPPER).count("\n") == 4


def test_what_systemd_can_not_do_is_set_once_the_service_has_started():
    text = drop_in_once_started(
        {"nice": 5, "slice_us": 700, "cpu_weight": 300}, ["/usr/bin/sched tuna", "apply"], "fair"
    )
    assert text.splitlines() == [
        "[Service]",
        "Nice=5",
        "CPUWeight=300",
        "# systemd has no directive for slice_us",
        'ExecStartPost=+"/usr/bin/sched tuna" apply fair:slice_us=700 --pid $MAINPID',
    ]
    plain = drop_in_once_started({"nice": 5}, ["schedtuna", "apply"], "fair")
    assert plain == drop_in({"nice": 5}, [], wrapper=[])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("program", ["/usr/bin/env", "/usr/bin/no such % $x"])
def test_systemd_reads_what_is_run_once_the_service_has_started(tmp_path, program):
    unit = tmp_path / "demo.service"
    unit.write_text("[Service]\nExecStart=/usr/bin/env true\n")
    folder = tmp_path / "demo.service.d"
    folder.mkdir()
    (folder / "schedtuna.conf").write_text(
        drop_in_once_started({"slice_us": 700}, [program, "apply"], "fair")
    )
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.stderr == "") == Path(program).exists()
    assert Path(program).exists() or f"{program} is not executable" in done.stderr


def test_where_a_drop_in_belongs():
    assert drop_in_path("web") == "/etc/systemd/system/web.service.d/schedtuna.conf"
    assert drop_in_path("a.scope") == "/etc/systemd/system/a.scope.d/schedtuna.conf"
