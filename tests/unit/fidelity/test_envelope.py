"""Which answers of the simulator does this machine's certificate cover?"""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from schedtuna.errors import ConfigFileError, UsageError
from schedtuna.fidelity.envelope import certification, default_certificate, envelope_here
from schedtuna.fidelity.machine_file import (
    Constant,
    SimulatedMachine,
    default_path,
    read_machine,
    write_machine,
)

TOPOLOGY = "1x2x1"
FAIR = {"name": "fair", "parameters": {"base_slice_us": 700, "hrtick": False}}
COSTS = {"tick_ns": 4_000_000, "wakeup_ns": 900, "kthread_per_s": 0}


@pytest.fixture
def certificate(tmp_path):
    """Write a certificate of this machine, with something of it changed."""

    def write(**changes):
        content = {
            "envelope": asdict(envelope_here(TOPOLOGY)),
            "is_certified": True,
            "reason": "",
            "costs": COSTS,
            "parameters": {"base_slice_us": 700, "hrtick": 0},
        }
        path = tmp_path / "certificate.json"
        path.write_text(json.dumps(content | changes))
        return path

    return write


def told(path, topology=TOPOLOGY, scheduler=FAIR, costs=COSTS):
    return certification(topology, scheduler, costs, path=path)


def test_what_it_was_made_for_is_certified(certificate):
    found = told(certificate())
    assert found.is_certified
    assert f"certified for {TOPOLOGY} CPUs" in found.text


def test_noise_is_no_part_of_the_model(certificate):
    assert told(certificate(), costs=COSTS | {"kthread_per_s": 50}).is_certified


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"topology": "1x4x1"}, "of 1x2x1 CPUs, not of 1x4x1"),
        ({"scheduler": {"name": "fifo", "parameters": {}}}, "of `fair`, not of fifo"),
        (
            {"scheduler": {"name": "fair", "parameters": {"base_slice_us": 3000}}},
            "with base_slice_us=700, not 3000",
        ),
        ({"scheduler": {"name": "fair", "parameters": {"hrtick": True}}}, "with hrtick=0, not 1"),
        ({"costs": COSTS | {"wakeup_ns": 1000}}, "wakeup_ns differs"),
        ({"costs": COSTS | {"wakeup_ns": 1000, "tick_ns": 1}}, "--machine here"),
    ],
)
def test_other_questions_are_not(certificate, asked, why):
    found = told(certificate(), **asked)
    assert not found.is_certified
    assert found.text.startswith("not certified for this machine: ")
    assert why in found.text


@pytest.mark.parametrize("field", ["kernel_release", "hz", "preemption", "cpu_model"])
def test_other_machines_are_not(certificate, field):
    other = asdict(envelope_here(TOPOLOGY)) | {field: "other"}
    assert not told(certificate(envelope=other)).is_certified


def test_a_certificate_that_was_refused_says_why(certificate):
    found = told(certificate(is_certified=False, reason="3 of 9 cells pass"))
    assert not found.is_certified
    assert "3 of 9 cells pass" in found.text


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"envelope": 1, "is_certified": true, "reason": 1, "costs": 1, "parameters": 1}'],
)
def test_what_is_no_certificate_certifies_nothing(tmp_path, content):
    path = tmp_path / "certificate.json"
    assert "has not been run" in told(path).text
    path.write_text(content)
    assert not told(path).is_certified


def test_commands_look_in_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path))
    assert default_certificate().parent == default_path().parent == tmp_path


def test_machine_files_are_read_as_they_were_written(monkeypatch, tmp_path):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path))
    machine = SimulatedMachine(hz=250, constants={"wakeup_ns": Constant(value=7, is_fitted=True, source="x")})
    write_machine(machine, default_path())
    assert read_machine("here") == read_machine(str(default_path())) == machine
    assert machine.costs == {"wakeup_ns": 7}


def test_what_is_no_machine_file_is_refused(tmp_path):
    path = tmp_path / "machine.json"
    with pytest.raises(UsageError, match="machine file"):
        read_machine(str(path))
    for content in ("", "[]", "{}", '{"constants": {"wakeup_ns": 3}}', '{"format_version": 99}'):
        path.write_text(content)
        with pytest.raises(ConfigFileError, match="machine"):
            read_machine(str(path))
