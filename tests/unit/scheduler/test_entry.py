import numpy as np
import pytest

from schedtuna.errors import SpaceError, UsageError
from schedtuna.scheduler import tuna
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.lookup import registered
from schedtuna.scheduler.objects import OURS

CURATED = ("scx_flash", "scx_bpfland", "scx_rusty", "scx_lavd", "scx_cosmos", "scx_p2dq", "scx_layered")


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
def test_every_release_of_every_scheduler_spans_a_space(entry):
    rng = np.random.default_rng(0)
    for release in entry.releases:
        scheduler = entry.config(release)
        space = scheduler.space
        assert not space.broken_rules(space.default())
        drawn = scheduler.with_values(space.sample(rng))
        assert not space.broken_rules(space.validate_assignment(drawn.values))


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
def test_flags_and_ranges_are_consistent(entry):
    names = [flag.flag for flag in entry.flags]
    assert len(names) == len(set(names))
    for flag in entry.flags:
        for release in (flag.since, flag.until, *(dated.since for dated in flag.defaults)):
            assert release in ("", *entry.releases)


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
def test_every_parameter_of_every_release_says_what_it_does(entry):
    for release in entry.releases:
        for name, spec in entry.config(release).parameters.items():
            assert spec.description.endswith("."), f"{name} in {release}"


@pytest.mark.parametrize("name", CURATED)
def test_curated_parameters_say_what_they_do(name):
    described = [spec for spec in registered(name).parameters.values() if spec.description]
    assert len(described) >= 6


def test_scx_flash_lost_fourteen_flags():
    entry = entries()["scx_flash"]
    before, after = entry.flags_of("1.1.0"), entry.flags_of("1.1.1")
    assert len(set(before) - set(after)) == 14


def test_a_default_is_the_one_of_its_release():
    entry = entries()["scx_lavd"]
    assert entry.config("1.0.7").parameters["slice_max_us"].default == 3000
    assert entry.config("1.1.2").parameters["slice_max_us"].default == 5000


@pytest.mark.parametrize(
    ("version", "release"), [("1.0.10", "1.0.10"), ("1.1.4", "1.1.2"), ("0.9", "1.0.6"), (None, "1.1.2")]
)
def test_versions_map_to_known_releases(version, release):
    assert entries()["scx_rusty"].release(version) == release


def test_flashyspark_has_its_fifteen_parameters():
    parameters = registered("scx_flashyspark").parameters
    assert len(parameters) == 15
    assert (parameters["slice_us"].min_value, parameters["slice_us"].max_value) == (1000, 100_000)
    threshold = parameters["cpu_util_threshold"]
    assert (threshold.min_value, threshold.max_value) == (0.1, 1.0)
    assert parameters["scheduling_policy"].choices == ("default", "performance", "powersave", "latency")


@pytest.mark.parametrize("name", OURS)
def test_what_is_registered_of_our_own_is_what_its_kernel_side_takes(name):
    parameters = registered(name).parameters
    assert {key: spec.default for key, spec in parameters.items()} == tuna.DEFAULTS
    for key, bounds in (("slice_us", tuna.SLICE_US), ("cpu_util_threshold", tuna.THRESHOLD)):
        assert (parameters[key].min_value, parameters[key].max_value) == bounds
    assert parameters["scheduling_policy"].choices == tuna.POLICIES
    assert registered(name).constraints == registered(OURS[0]).constraints


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("scx_tuna", {"rr_sched": True, "native_priority": True}, "no weights"),
        ("scx_tuna", {"rr_sched": True, "slice_lag_scaling": True}, "nothing scales"),
        ("scx_tuna", {"no_builtin_idle": True, "scheduling_policy": "performance"}, "order of its own"),
        ("scx_lavd", {"performance": True, "powersave": True}, "power mode"),
        ("scx_lavd", {"slice_max_us": 4000}, "pinned"),
        ("scx_p2dq", {"dumb_queues": 4}, "-t needs exactly -q"),
        ("scx_p2dq", {"init_dsq_index": 3}, "-i must be below"),
        ("scx_cosmos", {"disable_smt": True}, "-i or -P"),
    ],
)
def test_known_traps_are_refused(name, values, word):
    with pytest.raises(SpaceError, match=word):
        registered(name).with_values(values)


def test_older_names_are_mapped():
    rusty = entries()["scx_rusty"]
    translated = rusty.translate({"direct": False, "kick": True, "slice_us": 5000, "fifo_sched": True})
    assert translated == {
        "direct_greedy_under": 0.0,
        "kick_greedy_under": 100.0,
        "slice_us_underutil": 5000,
        "fifo_sched": True,
    }


@pytest.mark.parametrize(
    "values",
    [{"slice_us": 500}, {"slice_us": True}, {"direct": 3}, {"slice_us": 2000, "slice_us_underutil": 1000}],
)
def test_older_names_that_mean_nothing_are_refused(values):
    with pytest.raises(UsageError):
        entries()["scx_rusty"].translate(values)
