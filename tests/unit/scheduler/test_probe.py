import os
import stat
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.machine.binaries import hash_programs
from schedtuna.machine.checks.programs import SCX_PATH_VARIABLE
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.help_text import parse_help
from schedtuna.scheduler.probe import ProbedProgram, configured, installed, join, probe

CLAP = """\
A scheduler.

Usage: scx_toy [OPTIONS] [SPECS]...

Options:
  -s, --slice-us <SLICE_US>
          Longest slice, in microseconds

          [default: 20000]

      --mode <MODE>
          What it leans towards

          Possible values:
          - fast: as it says
          - slow: likewise

          [default: fast]

      --balance <BALANCE>
          Balance load

          [default: true]
          [possible values: true, false]

  -f, --fifo
          First in, first out. See --slice-us for more
  -v, --verbose...
          More words
  -C, --cpumasks <CPUMASKS>...
          Masks
      --stats <STATS>  Print statistics
  -h, --help
          Print help
"""
GETOPT = """\
A simple sched_ext scheduler.

Usage: scx_simple [-f] [-v]

  -s SLICE_US   Override slice duration
  -f            Use FIFO scheduling instead of weighted vtime scheduling
  -v            Print libbpf debug messages
  -h            Display this help and exit
"""


def test_a_clap_help_is_read():
    flags = parse_help(CLAP)
    assert {name: (flag.kind, flag.default) for name, flag in flags.items()} == {
        "--slice-us": ("value", "20000"),
        "--mode": ("value", "fast"),
        "--balance": ("boolean", "true"),
        "--fifo": ("switch", None),
        "--verbose": ("count", None),
        "--cpumasks": ("value", None),
        "--stats": ("value", None),
        "--help": ("switch", None),
    }
    assert flags["--mode"].choices == ("fast", "slow")
    assert flags["--slice-us"].short == "-s"


def test_a_getopt_help_is_read():
    flags = parse_help(GETOPT)
    assert {name: flag.kind for name, flag in flags.items()} == {
        "-s": "value",
        "-f": "switch",
        "-v": "switch",
        "-h": "switch",
    }


@pytest.mark.parametrize("text", ["", "Segmentation fault", "usage: none of your business\n"])
def test_a_help_without_flags_is_an_error(text):
    with pytest.raises(UsageError, match="no flag"):
        parse_help(text)


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "scx_toy"
    path.write_text(
        f"#!/bin/sh\nif [ $1 = --version ]; then echo 'scx_toy: 2.3.4 x86'; else cat <<'E'\n{CLAP}E\nfi\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_an_unregistered_scheduler_gets_guessed_parameters(toy):
    scheduler = configured(probe(toy), None)
    assert set(scheduler.parameters) == {"slice_us", "mode", "balance", "fifo"}
    assert scheduler.parameters["slice_us"].default == 20000


def test_a_program_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UnavailableError, match="no such program"):
        probe(tmp_path / "scx_none")


def test_the_search_path_comes_first(toy, monkeypatch):
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(toy.parent))
    assert installed()["scx_toy"] == toy


@pytest.mark.parametrize("folder", [".", ""])
def test_a_program_is_itself_in_every_folder(folder, toy, monkeypatch):
    monkeypatch.chdir(toy.parent)
    monkeypatch.setenv(SCX_PATH_VARIABLE, folder or f"../{toy.parent.name}")
    assert installed()["scx_toy"].is_absolute()
    assert str(toy.resolve()) in hash_programs([str(installed()["scx_toy"])])


def real_schedulers():
    folder = os.environ.get(SCX_PATH_VARIABLE)
    found = sorted(Path(folder).glob("scx_*")) if folder else []
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{SCX_PATH_VARIABLE} names no scheduler"))]
    return [pytest.param(path, id=path.name) for path in found]


@pytest.mark.parametrize("binary", real_schedulers())
def test_a_real_binary_agrees_with_what_is_made_of_it(binary):
    probed = probe(binary)
    entry = entries()[probed.name]
    joined = join(probed, entry)
    assert probed.version
    assert len(joined.known) >= 10
    assert joined.defaults == ()
    scheduler = configured(probed, entry)
    rng = np.random.default_rng(1)
    for _ in range(5):  # the binary itself says whether it would take these arguments
        drawn = scheduler.with_values(scheduler.space.sample(rng))
        arguments = [str(binary), *command_line(drawn), "--version"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, (arguments, done.stderr)


@pytest.mark.parametrize("flag", ["--7up", "--caf\u00e9", "--a.b", "--"])
def test_a_flag_that_can_name_no_parameter_is_none(flag, tmp_path):
    text = CLAP.replace("--slice-us", flag)
    probed = ProbedProgram(tmp_path, "scx_toy", "", parse_help(text))
    assert "slice_us" not in configured(probed, None).parameters


@pytest.mark.parametrize("default", ["\u00b2", "9" * 5000, "0", "-1", "1_0"])
def test_a_default_that_is_no_count_guides_no_search(default, tmp_path):
    probed = ProbedProgram(tmp_path, "scx_toy", "", parse_help(CLAP.replace("20000", default)))
    assert "slice_us" not in configured(probed, None).parameters


def test_a_help_of_brackets_that_do_not_close_is_read_soon():
    began = time.process_time()
    parse_help(CLAP + "          [default: [possible values: " * 20_000)
    assert time.process_time() - began < 20
