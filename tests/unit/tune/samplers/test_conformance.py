"""Every sampler keeps the contract, and the suite catches those that don't."""

from __future__ import annotations

from functools import partial

import pytest

from schedtuna.tune.samplers.base import Observation
from schedtuna.tune.samplers.conformance import CHECKS, ConformanceError, check_sampler
from schedtuna.tune.samplers.random import RandomSampler
from schedtuna.tune.samplers.registry import ALL_SAMPLERS, make_sampler, missing_extra


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ALL_SAMPLERS)
def test_sampler_keeps_the_contract(name, check):
    if missing_extra(name):
        pytest.skip(f"needs the extra '{missing_extra(name)}'")
    check(partial(make_sampler, name))
