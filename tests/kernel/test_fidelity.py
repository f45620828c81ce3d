"""A load that is played here: what is measured of it, what is left of it, and that the model is near."""

from __future__ import annotations

import json
import os

import pytest

from schedtuna.cli.main import main
from schedtuna.errors import UnavailableError

try:
    from schedtuna.fidelity.campaign import fair_parameters
    from schedtuna.fidelity.loads import played_load
    from schedtuna.fidelity.model import Model, simulated_runs
    from schedtuna.fidelity.real import machine_shape, played_run
except UnavailableError as missing:
    pytest.skip(str(missing), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("bpf")


@pytest.fixture(scope="module")
def shape():
    try:
        return machine_shape()
    except UnavailableError as other:
        pytest.skip(str(other))


def test_groups_share_here_as_they_do_in_the_model(shape, journal):
    """Weights decide, whatever else runs: the group of the load outweighs the rest by far."""
    cpus = tuple(range(shape.nr_cpus))
    load = played_load("groups", 3, cpus, 1)
    before = os.sched_getaffinity(0)
    real = played_run(load, 3, journal)
    assert os.sched_getaffinity(0) == before
    assert not journal.open_records()
    model = simulated_runs(load, Model(shape, parameters=fair_parameters(shape.nr_cpus)), [3], nr_runs=2)[0]
    assert real.figures["share:alone"] == pytest.approx(model.figures["share:alone"], abs=6)
    assert real.figures.keys() == model.figures.keys()
    assert 0.4 < real.seconds < 0.81  # the groups' players begin one after the other
    assert {name for _, name in real.timeline} - {""} == {"alone", *(f"member{i}" for i in range(4))}


def test_a_campaign_goes_on_where_it_was(shape, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    folder = tmp_path / "fidelity"

    def fidelity(*options: str) -> int | str | None:
        with pytest.raises(SystemExit) as ended:
            main(["sim", "fidelity", "--quick", "--load", "hogs", *options])
        return ended.value.code

    assert fidelity("-o", str(folder), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {cell["load"] for cell in told["cells"]} == {"hogs"}
    assert told["is_certified"] is False
    assert "4 real runs" in told["reason"]
    assert told["fitted"]
    assert "<svg" in (folder / "report.html").read_text()
    stored = sorted((folder / "runs").iterdir())
    assert [path.name for path in stored] == [f"load-hogs-{k}.json" for k in range(4)]
    before = [path.read_text() for path in stored]
    stored[-1].unlink()
    assert fidelity("-o", str(folder)) == 2  # there is something, and it wasn't told to go on
    assert fidelity("--resume", str(folder)) == 0
    assert [path.read_text() for path in stored[:-1]] == before[:-1]
    assert stored[-1].read_text() != before[-1]
    assert not (tmp_path / "state/simulator-certificate.json").exists()
