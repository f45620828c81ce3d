"""`schedtuna schedulers` as a user types it."""

import pytest
from tests.commands import run_schedtuna


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
