"""`schedtuna schedulers` as a user types it."""

import json
import re
import shlex

import pytest
from tests.commands import run_schedtuna

from schedtuna.errors import UsageError
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig


def schedulers(*arguments):
    return run_schedtuna("schedulers", *arguments, timeout=60)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_program_without_settings_is_not_a_scheduler(options):
    done = schedulers("probe", "/bin/true", *options)  # its help names --help and --version
    assert done.returncode == 2
    assert "prints no scheduling options" in done.stderr
    assert done.stdout == ""


def test_a_scheduler_that_nobody_registered_is_read_from_its_help(tmp_path):
    program = tmp_path / "scx_mine"
    program.write_text("#!/bin/sh\necho '  -s, --slice-us <US>  Base slice [default: 5000]'\n")
    program.chmod(0o755)
    done = schedulers("probe", program)
    assert done.returncode == 0, done.stderr
    assert "not registered" in done.stdout
    assert "slice_us" in done.stdout


def test_a_first_file_of_an_unknown_scheduler_can_be_checked_and_named(tmp_path):
    program = tmp_path / "scx_mine"
    program.write_text("#!/bin/sh\necho '  -s, --slice-us <US>  Base slice [default: 5000]'\n")
    program.chmod(0o755)
    file = tmp_path / "mine.toml"
    done = schedulers("probe", program, "-o", file)
    assert done.returncode == 0, done.stderr
    assert f"schedtuna schedulers check {file}" in done.stdout
    assert schedulers("probe", program, "-o", file).returncode == 2  # it is there
    checked = schedulers("check", file)
    assert checked.returncode == 0, checked.stderr
    assert "scheduler scx_mine with 1 parameters" in checked.stdout
    assert "Base slice" in checked.stdout
    shown = schedulers("show", f"{file}", "--json")
    assert '"binary_path": "' + str(program) in shown.stdout
    file.write_text(file.read_text().replace("--slice-us", "--slise-us"))
    done = schedulers("check", file)
    assert (done.returncode, "has no --slise-us" in done.stderr) == (2, True)
    assert f"schedulers probe {program}" in done.stderr


@pytest.mark.parametrize(
    ("settings", "status", "told"),
    [
        ("scx_rusty:slice_us=5000", 0, "settings scx_rusty:slice_us_underutil=5000"),
        ("scx_rusty:kick=false", 0, "settings scx_rusty:kick_greedy_under=0"),
        ("scx_rusty", 0, "settings scx_rusty"),
        ("scx_rusty:slice_us=5", 2, "it means slice_us_underutil: scx_rusty never had --slice-us"),
        ("scx_rusti:slice_us=5000", 2, "did you mean scx_rusty"),
    ],
)
def test_settings_as_commands_take_them_can_be_checked(settings, status, told):
    done = schedulers("check", settings)
    assert (done.returncode, told in done.stdout + done.stderr) == (status, True), done


RUSTY = "scx_rusty:slice_us_underutil=10000"


def test_values_are_shown_beside_the_defaults(tmp_path):
    rows = [line.split() for line in schedulers("show", RUSTY).stdout.splitlines()]
    assert next(row for row in rows if row[:1] == ["slice_us_underutil"])[1:3] == ["20000", "10000"]
    assert next(row for row in rows if row[:1] == ["slice_us_overutil"])[1:3] == ["1000", "100"]
    assert "set to" in schedulers("show", RUSTY).stdout
    assert "set to" not in schedulers("show", "scx_rusty").stdout
    (tmp_path / "mine.json").write_text('{"scheduler": "scx_rusty", "parameters": {"interval": 3.5}}')
    assert " 3.5 " in schedulers("show", tmp_path / "mine.json").stdout
    known = schedulers("show", RUSTY, "--release", "1.0.6").stdout
    assert known.splitlines()[1].startswith("as of release 1.0.6")


def test_a_release_of_what_has_none_is_refused():
    done = schedulers("show", "fair", "--release", "1.0.6")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing is known of the releases of fair" in done.stderr


def test_what_an_unknown_parameter_leads_to_works(tmp_path):
    program = tmp_path / "scx_mine"
    program.write_text("#!/bin/sh\necho '  -s, --slice-us <US>  Base slice [default: 5000]'\n")
    program.chmod(0o755)
    file = tmp_path / "mine.toml"
    assert json.loads(schedulers("probe", program, "-o", file, "--json").stdout)["output"] == str(file)
    for text in (f"{file}:slice_us=1", "scx_rusty:foo=1", "fair:slice_us=1"):
        refused = schedulers("show", text)
        assert refused.returncode == 2
        (command,) = re.findall("hint: `schedtuna schedulers (.*)` has each parameter", refused.stderr)
        assert schedulers(*shlex.split(command)).returncode == 0
    found = SchedulerConfig(name="scx_mine", binary_path=program)
    with pytest.raises(UsageError, match="foo") as error:
        parse_scheduler("scx_mine:foo=1", lambda _name: found)
    assert error.value.hint == f"`schedtuna schedulers probe {program}` has each parameter's values"
