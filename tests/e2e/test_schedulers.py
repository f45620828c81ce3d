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
