"""docs/environments.md has the tables of the code, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedtuna.env.exploits import EXPLOITS, SETTING_EXPLOITS
from schedtuna.env.registration import ENVIRONMENTS
from schedtuna.env.setting import DECISION_NS, OTHER_ACTIONS
from schedtuna.env.swap import SCHEDULERS
from schedtuna.env.terms import REWARD_TERMS
from schedtuna.features.loss import LOSS_TERMS, SWITCHING
from schedtuna.features.table import FEATURES
from schedtuna.features.told import TOLD
from schedtuna.sim.native import MACHINE_FEATURES, MIGRATION_FEATURES, TASK_FEATURES

TEXT = (Path(__file__).parents[3] / "docs/environments.md").read_text()


def features(names):
    return [f"| `{name}` | {FEATURES[name].help} |" for name in names]


def sources(row):
    order = ("trace", "samples", "simulator", "bpf")
    return ", ".join(source for source in order if source in row.sources)


def bins(row):
    octave = f", {row.bins.per_octave} per octave" if row.bins.per_octave else ""
    return f"{row.bins.nr_bins:,} {row.bins.kind}, {row.bins.lo:,} to {row.bins.hi:,}{octave}"


TABLES = {
    "TERMS": [f"| `{row.name}` | {row.sign:+d} | {row.help} |" for row in REWARD_TERMS.values()],
    "TASK_FEATURES": features(TASK_FEATURES),
    "MACHINE_FEATURES": features(MACHINE_FEATURES),
    "MIGRATION_FEATURES": features(MIGRATION_FEATURES),
    "SWAP_FEATURES": features(TOLD),
    "SCHEDULERS": [f"    {', '.join(SCHEDULERS)}"],
    "LOSS_TERMS": [
        f"| `{row.name}` | {f'{row.floor:,g} {row.unit}'.strip()} | {row.help} |"
        for row in (*LOSS_TERMS, SWITCHING)
    ],
    "EXPLOITS": [
        f"| `{name}` | {agent.__doc__.partition('.')[0][0].lower()}{agent.__doc__.partition('.')[0][1:]} |"
        for name, agent in EXPLOITS.items()
    ],
    "SETTING_EXPLOITS": [
        f"| `{name}` | {agent.__doc__.partition('.')[0][0].lower()}{agent.__doc__.partition('.')[0][1:]} |"
        for name, agent in SETTING_EXPLOITS.items()
    ],
    "FEATURES": [
        f"| `{name}` | {row.unit} | {bins(row)} | {sources(row)} | {row.help} |"
        for name, row in FEATURES.items()
    ],
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_that_of_the_code(table):
    assert "\n".join(TABLES[table]) in TEXT


def test_each_environment_has_a_section_and_its_scores():
    for name in ENVIRONMENTS:
        assert f"\n## {name}\n" in TEXT
        assert f"| `{name.removeprefix('schedtuna/')}` | " in TEXT


def test_actions_and_costs_are_told():
    for name in OTHER_ACTIONS:
        assert f"| `{name}` | " in TEXT
    assert DECISION_NS == {"bpf": 500, "user": 20_000}
    assert "`bpf` (500 ns, the default) or `user` (20 us)" in TEXT
