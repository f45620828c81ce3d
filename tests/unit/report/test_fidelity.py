"""The page of a certificate, of two models held against each other."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from schedtuna.errors import UnavailableError

try:
    from schedtuna.fidelity import judge, rules
    from schedtuna.fidelity.campaign import Sides
    from schedtuna.fidelity.certificate import (
        Certificate,
        judge_changes,
        judge_controls,
        judge_load,
        write_certificate,
    )
    from schedtuna.fidelity.changes import BASE, changed_load
    from schedtuna.fidelity.envelope import Envelope
    from schedtuna.fidelity.loads import played_load
    from schedtuna.fidelity.model import Model, simulated_runs
    from schedtuna.report.fidelity import fidelity_page
    from schedtuna.report.page import render
    from schedtuna.sim.topology import MachineShape
except UnavailableError as missing:
    pytest.skip(str(missing), allow_module_level=True)

CPUS = (0, 1)
MODEL = Model(MachineShape(1, 2, 1))
ENVELOPE = Envelope("6.18.44", 250, "none", "1x2x1", "a processor")


@pytest.fixture(scope="module")
def made():
    sides = Sides()
    for name in ("periodic", "ping-pong"):
        load = played_load(name, 1, CPUS, 1)
        sides.real[name] = simulated_runs(load, MODEL, [7, 8], nr_runs=2)
        sides.model[name] = simulated_runs(load, MODEL, [1, 2], nr_runs=2)
        sides.controlled[name] = {
            "fifo": simulated_runs(load, MODEL, [1, 2], control=rules.CONTROLS["fifo"], nr_runs=2)
        }
    for name in (BASE, "nice-5", "tasks-3"):
        load = changed_load(name, 1, CPUS, 1)
        sides.real_changes[name] = simulated_runs(load, MODEL, [7, 8], nr_runs=2)
        sides.model_changes[name] = simulated_runs(load, MODEL, [1, 2], nr_runs=2)
    cells = [
        cell
        for name in sides.real
        for cell in judge_load(name, sides.real[name], sides.model[name], sides.controlled[name])
    ]
    differences = judge_changes(sides.real_changes, sides.model_changes)
    certificate = Certificate(
        is_quick=True,
        is_certified=False,
        reason="2 real runs of a load",
        envelope=asdict(ENVELOPE),
        costs={"tick_ns": 4_000_000, "wakeup_ns": 900},
        fitted=["tick_ns"],
        parameters={},
        cells=cells,
        controls=judge_controls(cells, sides.real, sides.controlled),
        differences=differences,
        agreement=judge.differences_agree(differences),
        nr_runs={name: len(runs) for name, runs in sides.real.items()},
    )
    return certificate, sides


def test_a_page_shows_both_sides_of_everything(made):
    certificate, sides = made
    text = render(fidelity_page(certificate, sides))
    assert text.count("<svg") == 4
    for cell in certificate.cells:
        assert f"<td>{cell.metric}</td>" in text
    for control in certificate.controls:
        assert rules.CONTROLS[control.name].help in text
    for wanted in (
        "6.18.44",
        "250",
        "1x2x1",
        "nice value 5",
        "three hogs more",
        "default, not fitted",
        "uclamp",
    ):
        assert wanted in text
    assert "A quick look, which can&#39;t certify: 2 real runs of a load." in text
    assert not re.search(r"(src|href)=.https?:", text)


def test_a_certificate_is_stored_whole(made, tmp_path):
    certificate, _ = made
    write_certificate(certificate, tmp_path / "certificate.json")
    stored = (tmp_path / "certificate.json").read_text()
    assert Certificate.model_validate_json(stored) == certificate
