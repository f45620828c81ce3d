"""What a scheduler's program lists may be set, whatever a search tries; and its policy file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from schedtuna.backend.places.guest import Guest
from schedtuna.errors import SpaceError, UnavailableError, UsageError
from schedtuna.machine.checks.programs import SCX_PATH_VARIABLE
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.control import find_installed
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.lookup import lookup
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.probe import join, probe
from schedtuna.scheduler.settable import for_search

HELP = """\
Usage: NAME [OPTIONS]

Options:
      --autopilot
          Automatic
      --slice-max-us <SLICE_MAX_US>
          Largest slice
          [default: 4000]
      --mig-delta-pct <MIG_DELTA_PCT>
          Migration threshold
          [default: 0]
      --enable-cpu-bw
          CPU bandwidth control
      --cpu-mask <CPU_MASK>
          CPUs
          [default: 0x0]
      --mode <MODE>
          [default: fast]
          [possible values: fast, slow]
      --turbo <TURBO>
          [possible values: true, false]
      --tracking <TRACKING>
          [default: false]
          [possible values: true, false]
  -v, --verbose...
          More words
      --monitor <MONITOR>
          Print statistics
  -h, --help
          Print help
  -V, --version
          Print version
"""


@pytest.fixture
def lavd(tmp_path, monkeypatch):
    """A build from a repository: it has the version of the release before, and flags of the next one."""
    program = tmp_path / "scx_lavd"
    program.write_text(
        f"#!/bin/sh\nif [ $1 = --version ]; then echo 'scx_lavd 1.0.18-gabc'; else cat <<'E'\n{HELP}E\nfi\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(tmp_path))
    return program


def arguments(text: str) -> list[str]:
    return command_line(parse_scheduler(text, find_installed))


def test_flags_of_a_later_release_are_parameters_where_the_program_has_them(lavd):
    scheduler = find_installed("scx_lavd")
    assert set(scheduler.parameters) == {"autopilot", "slice_max_us", "mig_delta_pct", "enable_cpu_bw"}
    assert scheduler.parameters["slice_max_us"].default == 4000  # as it prints
    joined = join(probe(lavd), entries()["scx_lavd"])
    assert "--enable-cpu-bw" in joined.known
    assert set(joined.unknown) == {"--cpu-mask", "--mode", "--turbo", "--tracking"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scx_lavd:autopilot=true,enable_cpu_bw=true", ["--autopilot", "--enable-cpu-bw"]),
        ("scx_lavd:slice_max_us=4000", []),  # its own default
        ("scx_lavd:slice_max_us=900000", ["--slice-max-us=900000"]),  # beyond what is searched
        ("scx_lavd:slice_max_us=0", ["--slice-max-us=0"]),
        ("scx_lavd:mig_delta_pct=-1", ["--mig-delta-pct=-1"]),
        ("scx_lavd:cpu_mask=0xff,autopilot=true", ["--cpu-mask=0xff", "--autopilot"]),
        ("scx_lavd:cpu_mask=0x0", ["--cpu-mask=0x0"]),
        ("scx_lavd:verbose=true", ["--verbose"]),
        ("scx_lavd:turbo=false,tracking=false", ["--turbo=false"]),
        ("scx_lavd:mode=slow,tracking=true", ["--mode=slow", "--tracking=true"]),
    ],
)
def test_what_the_program_lists_may_be_set(lavd, text, expected):
    assert sorted(arguments(text)) == sorted(expected)
    scheduler = parse_scheduler(text, find_installed)
    assert parse_scheduler(scheduler.label(), find_installed).values == scheduler.values


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("scx_lavd:no_preemption=true", "unknown parameter"),  # of the registry's, not of the program's
        ("scx_lavd:monitor=1", "unknown parameter"),
        ("scx_lavd:mode=medium", "mode"),
        ("scx_lavd:slice_max_us=fast", "expected a whole number"),
        ("scx_lavd:slice_max_us=0.5", "slice_max_us=0.5: expected a whole number"),
        ("scx_lavd:autopilot=2", "expected true or false"),
    ],
)
def test_what_it_would_refuse_is_refused(lavd, text, why):
    with pytest.raises(SpaceError, match=why):
        arguments(text)


@pytest.fixture
def bpfland(tmp_path, monkeypatch):
    """Its --help explains the values of a flag, and does not list them."""
    program = tmp_path / "scx_bpfland"
    text = "Usage: NAME [OPTIONS]\n\nOptions:\n  -m, --primary-domain <MASK>\n          A mask of CPUs\n"
    program.write_text(
        f"#!/bin/sh\nif [ $1 = --version ]; then echo 'scx_bpfland 1.0.18'; else cat <<'E'\n{text}E\nfi\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(tmp_path))


def test_a_mask_may_be_set_where_the_registry_has_names_alone(bpfland):
    assert arguments("scx_bpfland:primary_domain=0x3") == ["--primary-domain=0x3"]
    assert arguments("scx_bpfland:primary_domain=performance") == ["--primary-domain=performance"]
    with pytest.raises(SpaceError, match="did you mean performance"):
        arguments("scx_bpfland:primary_domain=performanze")


def test_a_file_may_set_the_same(lavd, tmp_path):
    file = tmp_path / "own.json"
    file.write_text('{"scheduler": "scx_lavd", "parameters": {"cpu_mask": "0xf", "slice_max_us": 0}}')
    assert sorted(arguments(str(file))) == ["--cpu-mask=0xf", "--slice-max-us=0"]


def test_a_search_keeps_to_the_registered_parameters_and_bounds(lavd):
    assert for_search(find_installed("scx_lavd")) == find_installed("scx_lavd")
    with pytest.raises(UsageError, match="can't be given"):
        for_search(parse_scheduler("scx_lavd:slice_max_us=0", find_installed))


@pytest.mark.parametrize("text", ["scx_layered", "scx_layered:slice_us=5000"])
def test_a_scheduler_that_needs_a_policy_is_refused_without(text):
    with pytest.raises(UsageError, match="does not start without a policy file") as caught:
        arguments(text)
    assert "policy=example" in str(caught.value.hint)


def test_a_policy_file_is_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.json").write_text("[]")
    assert arguments("scx_layered:policy=own.json") == [f"f:{tmp_path}/own.json"]
    assert arguments("scx_layered:slice_us=5000,policy=own.json") == [
        "--slice-us=5000",
        f"f:{tmp_path}/own.json",
    ]
    with pytest.raises(UsageError, match="no such policy file: gone"):
        arguments("scx_layered:policy=gone.json")


def test_the_example_policy_matches_every_task_in_the_end():
    (argument,) = arguments("scx_layered:policy=example")
    layers = json.loads(Path(argument.removeprefix("f:")).read_text())
    assert [layer["name"] for layer in layers] == ["background", "urgent", "normal"]
    assert layers[-1]["matches"] == [[]]
    assert all(len(layer["kind"]) == 1 for layer in layers)


def test_a_search_has_the_policy_in_every_run():
    searched = for_search(parse_scheduler("scx_layered:policy=example", find_installed))
    assert not searched.values
    tried = searched.with_values({"slice_us": 700})
    assert command_line(tried)[0].startswith("f:")
    assert "--slice-us=700" in command_line(tried)
    assert tried.space.validate_assignment(tried.values)["policy"].endswith("scx_layered.json")


def test_a_guest_has_no_policy_file_of_this_machine(lavd):
    lavd.rename(lavd.with_name("scx_layered"))
    with pytest.raises(UnavailableError, match="not taken into a guest"):
        Guest().scheduler("scx_layered:policy=example")


@pytest.mark.skipif(SCX_PATH_VARIABLE not in os.environ, reason=f"{SCX_PATH_VARIABLE} names no scheduler")
@pytest.mark.parametrize(
    "text",
    [
        "scx_lavd:enable_cpu_bw=true,cpu_bw_max_cgroups=64,cpu_pref_order=0-1,slice_max_us=900000",
        "scx_cosmos:perf_config=0x11,primary_domain=0x3,slice_us=5000000",
        "scx_bpfland:idle_resume_us=-1,primary_domain=all,slice_us=1000000",
        "scx_p2dq:lb_mode=nr-queued,turbo=true,idle_resume_us=20",
        "scx_rusty:cpumasks=0x1,perf=1024,interval=600",
    ],
)
def test_a_real_program_takes_what_may_be_set(text):
    program = Path(os.environ[SCX_PATH_VARIABLE], text.partition(":")[0])
    if not program.exists():
        pytest.skip(f"{program.name} is not there")
    given = arguments(text)
    assert len(given) >= text.count("=") - 1  # one may be its default
    done = subprocess.run(
        [program, *given, "--version"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, (given, done.stderr)


RUSTY_HELP = """\
Options:
  -u, --slice-us-underutil <U>
          [default: 20000]
  -D, --direct-greedy-under <D>
          [default: 90.0]
  -K, --kick-greedy-under <K>
          [default: 100.0]
  -h, --help
          Print help
"""


def help_program(folder, monkeypatch, name, text):
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{text}E\n")
    program.chmod(0o755)
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(folder))


@pytest.fixture
def rusty(tmp_path, monkeypatch):
    help_program(tmp_path, monkeypatch, "scx_rusty", RUSTY_HELP)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scx_rusty:slice_us=5000", ["--slice-us-underutil=5000"]),
        ("scx_rusty:direct=false,kick=no", ["--direct-greedy-under=0.0", "--kick-greedy-under=0.0"]),
        ("scx_rusty:direct=true,kick=1", []),  # the defaults
        ("scx_rusty:slice_us=5000,direct=off", ["--slice-us-underutil=5000", "--direct-greedy-under=0.0"]),
    ],
)
def test_names_of_older_tools_are_the_flags_that_they_mean(rusty, tmp_path, text, expected):
    assert arguments(text) == expected
    name, _, values = text.partition(":")
    said = dict(pair.split("=") for pair in values.split(","))
    parameters = {
        key: int(value) if key == "slice_us" else value in ("true", "1") for key, value in said.items()
    }
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"scheduler": name, "parameters": parameters}))
    assert arguments(str(file)) == expected


@pytest.mark.parametrize(
    ("values", "why", "hint"),
    [
        ("slice_us=5", "slice_us=5: expected 1000 to 50000", "it means slice_us_underutil"),
        ("slice_us=soon", "slice_us=soon: expected a number", "never had --slice-us"),
        ("direct=3", "direct=3: expected true or false", "a threshold in percent"),
        ("slice_us=2000,slice_us_underutil=3000", "are the same parameter", "leave one of them out"),
    ],
)
def test_names_of_older_tools_are_explained_where_they_can_not_mean_it(rusty, values, why, hint):
    with pytest.raises(UsageError, match=why) as caught:
        arguments(f"scx_rusty:{values}")
    assert hint in caught.value.hint


def test_an_older_name_of_a_flag_that_is_gone_is_refused_with_what_it_means(tmp_path, monkeypatch):
    help_program(tmp_path, monkeypatch, "scx_rusty", "  -h, --help  Print help\n")
    with pytest.raises(
        UsageError, match=r"slice_us means slice_us_underutil, which .*scx_rusty lacks"
    ) as caught:
        arguments("scx_rusty:slice_us=5000")
    assert "schedtuna schedulers probe" in caught.value.hint


def test_what_is_a_flag_of_the_program_is_no_older_name(tmp_path, monkeypatch):
    help_program(tmp_path, monkeypatch, "scx_rusty", RUSTY_HELP + "  --slice-us <S>  Slice [default: 7]\n")
    assert arguments("scx_rusty:slice_us=3") == ["--slice-us=3"]


@pytest.mark.parametrize("name", ["scx_tuna", "scx_flashyspark"])
@pytest.mark.parametrize(
    "wrong", ["slice_us=999", "slice_us=-5", "slice_us=100001", "cpu_util_threshold=1.01"]
)
def test_bounds_of_the_scheduler_that_comes_along_are_its_programs(name, wrong):
    with pytest.raises(SpaceError, match=r"out of bounds, expected (1000 to 100000|0\.1 to 1\.0)"):
        parse_scheduler(f"{name}:{wrong}", lookup)
    for edge in ("slice_us=1000", "slice_us=100000", "cpu_util_threshold=0.1", "cpu_util_threshold=1"):
        assert parse_scheduler(f"{name}:{edge}", lookup).values
