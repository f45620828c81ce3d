"""docs/simulator.md has the tables of the code."""

from pathlib import Path

from schedtuna.sim.native import CALLBACKS, cost_table, idle_reason_table, left_out_table

TEXT = (Path(__file__).parents[3] / "docs/simulator.md").read_text()


def test_the_constants_are_those_of_the_machine():
    for name, initial, unit, source, is_fitted in cost_table():
        fitted = "yes" if is_fitted else "no"
        assert f"| `{name}` | {initial:,} | {unit} | {fitted} | {source} |" in TEXT


def test_what_is_left_out_is_told():
    assert all(f"| {name} | {why} |" in TEXT for name, why in left_out_table())


def test_why_cpus_idle_is_told():
    assert all(f"| `{name}` | {why} |" in TEXT for name, why in idle_reason_table())


def test_every_callback_is_told():
    assert all(f"`{name}(machine" in TEXT for name in CALLBACKS)
