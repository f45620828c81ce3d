from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.machine.checks.programs import SCX_PATH_VARIABLE
from schedtuna.scheduler.catalogue import catalogue, examine, find_binary
from schedtuna.scheduler.control import find_registered
from schedtuna.scheduler.entry import entries


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def toy(tmp_path):
    return program(tmp_path, "scx_toy", "  -f, --fifo\n          First in, first out\n      --slice <US>\n")


def test_the_kernels_own_scheduler_comes_first_and_every_registered_one_follows():
    own, *others = catalogue()
    assert (own.name, own.installed, own.to_dict()["parameters"]) == ("fair", "the kernel", own.nr_parameters)
    assert [row.name for row in others] == list(entries())
    assert all(row.summary for row in others)


def test_what_is_installed_is_found_by_its_name(tmp_path, monkeypatch):
    name = next(iter(entries()))
    path = program(tmp_path, name, "")
    monkeypatch.setenv(SCX_PATH_VARIABLE, str(tmp_path))
    assert {row.name: row.installed for row in catalogue()}[name] == str(path)
    assert Path(find_binary(Path(name))) == path
    assert find_binary(Path("./scx_toy")) == Path("scx_toy")
    assert find_binary(Path("nowhere")) == Path("nowhere")


def test_a_binary_that_is_not_registered_is_described_by_itself(toy):
    found = examine(toy).to_dict()
    assert (found["binary"], found["name"], found["registered"]) == (str(toy), "scx_toy", False)
    assert found["parameters"]["fifo"]["type"] == "boolean"


def test_a_binary_that_schedules_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="prints no scheduling options"):
        examine(program(tmp_path, "hello", "  -h, --help\n          Print help"))


@pytest.mark.parametrize("text", ["fair", "default", "fair:nice=3"])
def test_the_kernels_own_scheduler_is_not_started(text):
    with pytest.raises(UsageError, match="in charge where no other is"):
        find_registered(text)
