"""Schedulers of one's own: files, mappings, modules, entry points; and what may be said of known ones."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from schedtuna import ParameterSpec, ParameterType, SchedulerConfig
from schedtuna.api import RLSchedulerOptimizer, register_scheduler
from schedtuna.configfile import load_config
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.history.outcome import StudyResult
from schedtuna.history.results import best_parameters
from schedtuna.machine.checks.programs import SCX_PATH_VARIABLE
from schedtuna.scheduler import registry
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.catalogue import catalogue
from schedtuna.scheduler.control import find_installed, find_program
from schedtuna.scheduler.definition import (
    definition,
    definition_text,
    first_definition,
    scheduler_from_mapping,
)
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.own import make_known_again
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.probe import configured, probe

HELP = """\
scx_own: a scheduler of my own.

Usage: scx_own [OPTIONS]

Options:
  -s, --slice-us <SLICE_US>
          Longest slice in microseconds

          [default: 20000]

      --balance <BALANCE>
          Balance load

          [default: true]
          [possible values: true, false]

  -f, --frequency <FREQUENCY>
          How often the tick comes (0 == CONFIG_HZ)

          [default: 0]

  -h, --help
          Print help
"""
TOML = """\
name = "scx_own"
binary_path = "bin/scx_own"

[parameters.slice_us]
type = "integer"
default = 20000
min_value = 1000
max_value = 50000

[parameters.balance]
type = "boolean"
default = true
command_arg = "--balance={value}"
"""


@pytest.fixture(autouse=True)
def nobody_has_registered_anything(monkeypatch):
    monkeypatch.setattr(registry, "_user_schedulers", {})


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bin/scx_own"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ncat <<'E'\n{HELP}E\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def file(tmp_path, program):
    path = tmp_path / "own.toml"
    path.write_text(TOML)
    return path


def lookup(name):
    return find_installed(name)


@pytest.mark.parametrize(
    ("after", "arguments"),
    [
        ("", []),
        (":slice_us=3000", ["--slice-us=3000"]),
        (":slice_us=3000,balance=off", ["--slice-us=3000", "--balance=false"]),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_a_file_defines_a_scheduler_and_values_may_follow_it(
    file, program, after, arguments, relative, monkeypatch
):
    monkeypatch.chdir(file.parent)
    scheduler = parse_scheduler((file.name if relative else str(file)) + after, lookup)
    assert (scheduler.name, scheduler.binary_path) == ("scx_own", program)
    assert command_line(scheduler) == arguments
    assert find_program(scheduler) == program
    assert parse_scheduler(scheduler.label(), lookup) == scheduler  # by its name from here on


@pytest.mark.parametrize("suffix", [".toml", ".yaml", ".json"])
def test_what_is_defined_is_written_and_read_back(file, suffix):
    scheduler = parse_scheduler(str(file), lookup)
    path = file.with_name(f"again{suffix}")
    path.write_text(definition_text(scheduler, suffix, ["a remark"]))
    assert parse_scheduler(str(path), lookup) == scheduler


@pytest.mark.parametrize("name", sorted(entries()))
@pytest.mark.parametrize("suffix", [".toml", ".yaml", ".json"])
def test_every_known_scheduler_can_be_written_as_a_file(tmp_path, name, suffix):
    known = entries()[name].config()
    path = tmp_path / f"x{suffix}"
    path.write_text(definition_text(known, suffix))
    assert scheduler_from_mapping(load_config(path), place="x") == known
    register_scheduler(known)  # nothing of it can't be set


def test_a_first_file_is_written_from_the_help(program, tmp_path):
    probed = probe(program)
    text = first_definition(probed, configured(probed, None), ".toml")
    assert "# Left out: --frequency (no bounds follow from a default of 0). How often the tick comes" in text
    path = tmp_path / "first.toml"
    path.write_text(text)
    scheduler = parse_scheduler(str(path), lookup)
    assert scheduler.description == "a scheduler of my own."
    assert {name: spec.description for name, spec in scheduler.parameters.items()} == {
        "slice_us": "Longest slice in microseconds",
        "balance": "Balance load",
    }
    assert "a tenth of a default" in text


def test_a_file_of_a_known_scheduler_says_whose_its_bounds_are(program):
    probed = replace(probe(program), name="scx_rusty", version="1.0.8")
    text = first_definition(probed, configured(probed, entries()["scx_rusty"]), ".toml")
    assert "a tenth" not in text
    assert "# Bounds and descriptions are those of `schedtuna schedulers show`." in text


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (("slice_us]", "slise_us]"), "slise_us: .*scx_own has no --slise-us"),
        (('"--balance={value}"', '"--balance"'), "balance is true by default, and --balance alone"),
        (("min_value = 1000", "min_value = 30000"), "slice_us=20000: out of bounds"),
        (("name =", "nam ="), "'scheduler' must name one|unknown key 'nam'"),
        (("default = 20000", "default = 5000"), "slice_us is 20000 where .*scx_own is not told, not 5000"),
        (("default = true", "default = false"), "balance is true where .*scx_own is not told, not false"),
        (("slice_us]", "help]"), "--help of .*scx_own takes no value"),
    ],
)
def test_a_definition_that_no_run_could_use_is_refused(file, changed, why):
    file.write_text(TOML.replace(*changed))
    with pytest.raises(UsageError, match=why) as caught:
        parse_scheduler(str(file), lookup)
    assert caught.value.hint or "out of bounds" in str(caught.value)


@pytest.mark.parametrize(
    ("arg", "arguments"),
    [
        ("-s", ["-s", "3000"]),
        ("--slice-us {value}", ["--slice-us", "3000"]),
        ("--slice-us={value}", ["--slice-us=3000"]),
        ("-s{value}", ["-s3000"]),
    ],
)
def test_a_flag_is_given_as_its_template_says(file, arg, arguments):
    file.write_text(TOML.replace("default = 20000", f'default = 20000\ncommand_arg = "{arg}"'))
    assert command_line(parse_scheduler(f"{file}:slice_us=3000", lookup)) == arguments


@pytest.mark.parametrize(
    ("printed", "kind", "own"),
    [
        ("20ms", {"type": "float", "default": 20, "max_value": 90, "command_arg": "--tick={value}ms"}, True),
        ("30ms", {"type": "float", "default": 20, "max_value": 90, "command_arg": "--tick={value}ms"}, False),
        ("0x10", {"type": "integer", "default": 16, "max_value": 90}, True),
        ("0x11", {"type": "integer", "default": 16, "max_value": 90}, False),
        ("2.00", {"type": "integer", "default": 2, "max_value": 90}, True),
        ("host", {"type": "integer", "default": 2, "max_value": 90}, True),  # nobody knows which number
        ("fast", {"type": "categorical", "default": "slow", "choices": ["slow", "fast"]}, False),
        ("quick", {"type": "categorical", "default": "slow", "choices": ["slow", "fast"]}, True),
    ],
)
def test_a_default_is_the_one_that_the_program_prints(tmp_path, printed, kind, own):
    program = tmp_path / "scx_own"
    program.write_text(f"#!/bin/sh\necho '  --tick <TICK>  How often [default: {printed}]'\n")
    program.chmod(0o755)
    bounds = {"min_value": 1} if "max_value" in kind else {}
    content = {"name": "scx_own", "binary_path": "scx_own", "parameters": {"tick": kind | bounds}}
    (tmp_path / "own.json").write_text(json.dumps(content))
    if own:
        parse_scheduler(str(tmp_path / "own.json"), lookup)
        return
    with pytest.raises(UsageError, match=f"tick is {printed} where .*scx_own is not told"):
        parse_scheduler(str(tmp_path / "own.json"), lookup)


@pytest.mark.skipif(os.geteuid() != 0, reason="without privilege nothing is distrusted")
def test_a_definition_that_others_can_change_starts_nothing_with_privilege(file):
    file.chmod(0o666)
    with pytest.raises(UnavailableError, match="can be written by others"):
        parse_scheduler(str(file), lookup)


@pytest.mark.parametrize(
    ("name", "path", "own"),
    [
        ("scx_own", None, True),  # not known by its name
        ("scx_rusty", None, False),
        ("scx_rusty", "bin/scx_rusty", False),  # the installed one
        ("scx_rusty", "elsewhere/scx_rusty", True),  # else `apply` would start the installed one
    ],
)
def test_a_study_that_is_resumed_keeps_its_own_scheduler(program, monkeypatch, name, path, own):
    installed = program.rename(program.with_name("scx_rusty"))
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(installed.parent))
    binary = None if path is None else installed.parent.parent / path
    make_known_again(SchedulerConfig(name=name, binary_path=binary))
    assert registry.is_own(name) is own


def test_settings_may_hold_what_they_are_of(file):
    settings = file.with_name("best.json")
    content = {"scheduler": load_config(file), "parameters": {"slice_us": 3000}}
    settings.write_text(json.dumps(content))
    scheduler = parse_scheduler(f"{settings}:balance=false", lookup)
    assert command_line(scheduler) == ["--slice-us=3000", "--balance=false"]


def test_a_parameter_is_given_by_its_name_where_no_flag_is_named():
    spec = ParameterSpec(name="slice_us", type=ParameterType.INTEGER, default=5, min_value=1, max_value=9)
    own = SchedulerConfig(name="scx_own", parameters={"slice_us": spec}, values={"slice_us": 7})
    assert command_line(own) == ["--slice-us=7"]


MODULE = """
from schedtuna import ParameterSpec, ParameterType, SchedulerConfig
OWN = SchedulerConfig(name="scx_own", parameters={"turbo": ParameterSpec(
    name="turbo", type=ParameterType.BOOLEAN, default=False)})
OTHER = 3
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "own_schedulers.py").write_text(MODULE)
    info = tmp_path / "own_schedulers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-schedulers\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[schedtuna.schedulers]\nscx_own = own_schedulers:OWN\nscx_broken = own_schedulers:OTHER\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_schedulers", raising=False)


@pytest.mark.parametrize("name", ["scx_own", "own_schedulers:OWN"])
def test_a_package_brings_a_scheduler(package, name):
    scheduler = parse_scheduler(f"{name}:turbo=yes", lookup)
    assert (scheduler.label(), command_line(scheduler)) == ("scx_own:turbo=true", ["--turbo"])
    assert "scx_own" in set(registry.names())
    assert registry.is_own("scx_own")


def test_the_list_has_what_packages_bring(package):
    rows = {row.name: row for row in catalogue()}
    assert rows["scx_own"].nr_parameters == 1
    assert "has no SchedulerConfig of that name" in rows["scx_broken"].summary


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("scx_broken", "has no SchedulerConfig of that name"),
        ("own_schedulers:NONE", "has no SchedulerConfig of that name"),
        ("no_such_module_here:OWN", "can't be imported"),
        ("schedtuna.no_such_module:OWN", "can't be imported"),
        ("schedtuna.no.such.module:OWN", "can't be imported"),
        ("scx_rusty:OWN", "'OWN' sets nothing"),
    ],
)
def test_what_is_none_is_refused_with_a_next_step(package, name, why):
    with pytest.raises(UsageError, match=why) as caught:
        parse_scheduler(name, lookup)
    assert caught.value.hint


def test_python_registers_a_file_a_mapping_and_an_object(file):
    assert register_scheduler(file).name == "scx_own"
    assert register_scheduler(str(file)) == find_installed("scx_own")
    content = {"name": "scx_two", "parameters": {"a": {"type": "boolean", "default": False}}}
    assert register_scheduler(content) == find_installed("scx_two")
    assert definition(find_installed("scx_two")) == content
    with pytest.raises(UsageError, match="is true by default"):
        register_scheduler({"name": "x", "parameters": {"a": {"type": "boolean", "default": True}}})


@pytest.mark.parametrize(
    "name", ["fair", "default", "", "../own", "a b", "own:slice_us", "own.toml", "own.bpf.o", "-x"]
)
def test_a_name_that_could_not_be_typed_or_means_the_kernels_own_is_refused(name):
    with pytest.raises(UsageError, match="can't be called"):
        register_scheduler({"name": name, "parameters": {"a": {"type": "boolean", "default": False}}})


def test_a_name_may_have_a_version():
    register_scheduler({"name": "scx_own-1.0.6"})
    assert parse_scheduler("scx_own-1.0.6", lookup).name == "scx_own-1.0.6"


@pytest.mark.parametrize("way", ["binary_path", "PATH"])
@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ({"slyce_us": {"default": 20000}}, "slyce_us: .*scx_own has no --slyce-us"),
        ({"slice_us": {"default": 5000}}, "slice_us is 20000 where .*scx_own is not told, not 5000"),
    ],
)
def test_python_and_packages_are_held_against_the_program_too(
    program, package, monkeypatch, way, parameter, why
):
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(program.parent))
    path = {"binary_path": program} if way == "binary_path" else {}
    spec = {"type": "integer", "min_value": 1, "max_value": 90_000}
    content = {"name": "scx_own", **path, "parameters": {k: spec | v for k, v in parameter.items()}}
    with pytest.raises(UsageError, match=why):
        register_scheduler(content)
    own = scheduler_from_mapping(content, place="x")
    with pytest.raises(UsageError, match=why):
        register_scheduler(own)
    monkeypatch.setattr("own_schedulers.OWN", own)
    for name in ("own_schedulers:OWN", "scx_own"):
        with pytest.raises(UsageError, match=why):
            parse_scheduler(name, lookup)


# ---- what Python says of a known scheduler's parameters ----

RUSTY = """\
Options:
  -u, --slice-us-underutil <U>
          [default: 20000]
  -D, --direct-greedy-under <D>
          [default: 90.0]
  -g, --greedy-new <G>
          [default: 3]
"""


@pytest.fixture
def optimizer(tmp_path, monkeypatch):
    path = tmp_path / "scx_rusty"
    path.write_text(f"#!/bin/sh\ncat <<'E'\n{RUSTY}E\n")
    path.chmod(0o755)
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(tmp_path))
    return RLSchedulerOptimizer({"scheduler_name": "scx_rusty"})


@pytest.mark.parametrize("name", ["slice_us", "slice_us_underutil"])
def test_what_is_defined_of_a_known_scheduler_has_its_programs_flags(optimizer, name):
    defined = optimizer.define_scheduler_params({name: {"min_value": 200, "max_value": 90_000}})
    spec = defined.parameters["slice_us_underutil"]
    assert list(defined.parameters) == ["slice_us_underutil"]
    assert (spec.default, spec.min_value, spec.max_value, spec.command_arg) == (
        20000,
        200,
        90_000,
        "--slice-us-underutil",
    )


def test_a_flag_that_is_not_registered_may_be_defined(optimizer):
    new = {"type": "integer", "default": 3, "min_value": 0, "max_value": 9}
    defined = optimizer.define_scheduler_params({"greedy_new": new})
    assert command_line(defined.with_values({"greedy_new": 5})) == ["--greedy-new=5"]


@pytest.mark.parametrize(
    ("parameters", "why", "hint"),
    [
        ({"direct": {"type": "boolean", "default": True}}, "direct is direct_greedy_under, float", "percent"),
        ({"slice_us": {"default": 5000}}, "default of slice_us_underutil is 20000", "leave it out"),
        ({"slice_us_underutil": {"type": "float"}}, "is integer, not float", "schedulers show scx_rusty"),
        ({"slise": {"type": "boolean", "default": False}}, "no parameter 'slise'", "schedulers show"),
        (
            {"warp": {"type": "boolean", "default": False, "command_arg": "--warp"}},
            "no parameter 'warp'",
            "schedulers show scx_rusty",
        ),
        ({"slice_us": {"command_arg": "--slice-us"}}, "scx_rusty has no --slice-us", "--slice-us-underutil"),
        (
            {"slice_us": {"max_value": 90_000}, "slice_us_underutil": {"max_value": 80_000}},
            "slice_us and slice_us_underutil are the same parameter",
            "leave one of them out",
        ),
        (
            {"greedy_new": {"type": "integer", "default": 4, "min_value": 0, "max_value": 9}},
            "greedy_new is 3 where .*scx_rusty is not told, not 4",
            "measured against",
        ),
    ],
)
def test_what_every_run_would_fail_on_is_not_accepted(optimizer, parameters, why, hint):
    with pytest.raises(UsageError, match=why) as caught:
        optimizer.define_scheduler_params(parameters)
    assert hint in caught.value.hint


def test_the_best_parameters_of_an_own_scheduler_hold_its_definition(file, tmp_path):
    own = register_scheduler(file)
    result = SimpleNamespace(
        plan=SimpleNamespace(scheduler=own, workload=SimpleNamespace(argv=("true",))),
        best={"slice_us": 3000},
        comparison=SimpleNamespace(told_verdict="improved", is_model=False),
    )
    (tmp_path / "best_parameters.json").write_text(json.dumps(best_parameters(cast("StudyResult", result))))
    registry._user_schedulers.clear()  # another process
    assert command_line(parse_scheduler(str(tmp_path), lookup)) == ["--slice-us=3000"]
