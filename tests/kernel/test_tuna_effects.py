"""scx_tuna's parameters do what they say, and a build without a parameter's branch does not."""

import pytest
from tests.kernel.tuna_effects import ALL, QUIET, ROWS, measure, object_without

from schedtuna.lab.build.compiler import host_clang
from schedtuna.scheduler import tuna
from schedtuna.scheduler.objects import own_objects

QUICK = [name for name, row in ROWS.items() if row.quick]


@pytest.fixture
def program():
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    return own_objects()["scx_tuna"]


def test_every_parameter_has_a_row():
    assert set(ROWS) == set(tuna.DEFAULTS) > set(QUIET)


def test_what_few_windows_tell(program):
    found = measure(program, QUICK, pairs=1, seconds=0.5)
    assert not {name: effect for name, effect in found.items() if not effect.shown}


@pytest.mark.long
def test_every_row_shows_its_effect(program):
    found = measure(program, list(ALL), pairs=8)
    assert not {name: effect for name, effect in found.items() if not effect.shown}


@pytest.mark.long
@pytest.mark.parametrize("parameter", ROWS)
def test_without_a_parameters_branch_its_row_alone_fails(tmp_path, parameter):
    if host_clang() is None:
        pytest.skip("no clang 17 or newer")
    found = measure(object_without(parameter, tmp_path), list(ALL), pairs=2)
    assert {name.partition(",")[0] for name, effect in found.items() if not effect.shown} == {parameter}
