"""What replays were off across a change is kept, and told of that change alone."""

import pytest

from schedtuna.errors import ConfigFileError
from schedtuna.fidelity.crossed import Crossing, MeasuredChange, default_path, measured, remember

CHANGE = "fair -> fair:base_slice_us=3000"


@pytest.fixture(autouse=True)
def own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))


def test_it_is_the_signed_median_of_what_was_measured_of_that_change_on_that_machine():
    for error in (0.4, -0.1, 0.2):
        remember(
            Crossing(change=CHANGE, topology="1x2x1", errors={"run_delay_ns": error, "nr_switches": None})
        )
    remember(Crossing(change=CHANGE, topology="1x8x1", errors={"run_delay_ns": 9.0}))
    assert measured(CHANGE, "1x2x1") == {"run_delay_ns": MeasuredChange(0.2, 3)}
    assert measured("fair -> rr", "1x2x1") == {}


def test_the_oldest_make_room():
    for k in range(230):
        remember(Crossing(change=str(k % 2), topology="1x1x1", errors={"a": float(k)}))
    assert measured("0", "1x1x1") == {"a": MeasuredChange(129.0, 100)}


@pytest.mark.parametrize("content", ["", "[]", '{"crossings": 3}', '{"format_version": 99}'])
def test_another_file_there_is_named(content):
    default_path().parent.mkdir(parents=True)
    default_path().write_text(content)
    with pytest.raises(ConfigFileError, match="cross-errors"):
        measured(CHANGE, "1x2x1")
