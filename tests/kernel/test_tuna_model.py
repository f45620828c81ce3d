"""A model inside scx_tuna: checked on its kernel, counted in shadow, acting, given up by itself."""

import json
import time

import pytest
from tests.kernel.lab_guest import lab_or_skip
from tests.kernel.tuna_deterministic import carried_out
from tests.kernel.tuna_models import LARGER, NEVER, linear, of_family, sent, short_last

from schedtuna.backend.places.guest import Guest
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.lab.boot import boot
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.model.bins import Bins
from schedtuna.model.shipped import find_model
from schedtuna.scheduler import live_model
from schedtuna.scheduler.live import ask_all
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.scx import ScxProcess
from schedtuna.scheduler.tuna_deploy import deploy
from schedtuna.scheduler.tuna_model import pressed

PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def program():
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    return own_objects()["scx_tuna"]


@pytest.fixture(scope="module")
def guest(program):
    booted, _ = boot(lab_or_skip(), GuestSpec(cpus=2, programs=(program,)))
    scheduler = Guest(cpus=2).scheduler("scx_tuna")
    with booted, ScxProcess(booted, scheduler, guest_program(program), cpu_s=booted.cpu_s) as process:
        yield booted
        assert process.ejected() == ""


def load(guest, model):
    return live_model.load(guest, PYTHON, "scx_tuna", model)


def switch(guest, mode, **settings):
    return live_model.switch(guest, PYTHON, "scx_tuna", mode, settings)


def status(guest):
    return live_model.status(guest, PYTHON, "scx_tuna")


def work(guest):
    """Tasks that wake each other, many of which are queued."""
    assert guest.run(["hackbench", "-g", "1", "-l", "20"], folder="/").exit_code == 0


def test_in_shadow_it_is_asked_about_one_task_of_sixteen_and_nothing_is_changed(guest):
    model = find_model("short_tasks")
    assert model.rows is not None
    loaded = load(guest, model)
    assert (loaded.mode, loaded.nr_rows, loaded.model_version) == ("off", len(model.rows), model.version)
    work(guest)
    assert status(guest).counted["nr_seen"] == 0

    switch(guest, "shadow", **NEVER)
    work(guest)
    counted = status(guest).counted
    assert counted["nr_seen"] > 100
    # Each CPU asks about the first of 16 that it sees.
    asked = counted["nr_decided"] + counted["nr_out_of_range"]
    assert 0 <= asked - counted["nr_seen"] / 16 <= 2
    assert counted["nr_acted"] == counted["nr_no_table"] == counted["nr_normal"] == 0
    assert counted["nr_batch"] + counted["nr_interactive"] == counted["nr_decided"]
    assert 0 < counted["nr_agreed"] <= counted["nr_decided"]
    assert counted["nr_right"] <= counted["nr_outcomes"] <= counted["nr_decided"]

    switch(guest, "act")
    work(guest)
    counted = status(guest).counted
    assert counted["nr_acted"] == counted["nr_decided"] > 100


@pytest.mark.long
def test_a_model_of_every_family_decides_as_the_reference(guest):
    for kind in LARGER:
        model = of_family(kind)
        assert model.rows is not None
        assert load(guest, model).nr_rows == len(model.rows)
        switch(guest, "shadow", period=1, **NEVER)
        work(guest)
        found = status(guest)
        assert found.family == kind
        assert found.counted["nr_decided"] == found.counted["nr_seen"] > 100


def given_up(guest, model, **settings):
    load(guest, model)
    switch(guest, "act", **{**NEVER, "lead_us": 20_000, **settings})
    deadline = time.monotonic() + 120
    while not (found := status(guest)).given_up and time.monotonic() < deadline:
        work(guest)
    before = found.counted["nr_decided"]
    work(guest)
    assert status(guest).counted["nr_decided"] == before  # it decides nothing any more
    return found.given_up


@pytest.mark.long
def test_it_is_given_up_where_it_takes_too_long(guest):
    assert "longer than its budget" in given_up(guest, find_model("short_tasks"), budget_ns=1)


def test_it_is_given_up_out_of_the_range_that_it_was_made_for(guest):
    made_for_more = linear("many_cpus", [1], -3, ("nr_cpus",), Bins("linear", 8, 1024, 64))
    assert "outside of the range" in given_up(guest, made_for_more, most_out_permille=500)


@pytest.mark.long
def test_it_is_given_up_where_it_is_right_less_often_than_the_scheduler(guest):
    assert "less often than the scheduler" in given_up(guest, short_last(), worse_permille=100)


def test_a_model_that_was_damaged_is_not_let_in(guest):
    held = load(guest, find_model("short_tasks"))
    whole = deploy(short_last())
    rows = pressed(bytes(8 * (2 * 2 + 1)))
    for wrong, words in (
        ({"rows": rows}, "this kernel computes the model wrongly: logit 0 of its row 0"),
        ({"table": pressed(bytes(10))}, "is none of the family linear"),
        ({"rows": pressed(b"")}, "no whole rows"),
        ({"features": ["rss_kib", "burst_ns"]}, "damaged"),
        ({"table": "!"}, "damaged"),
    ):
        text = json.dumps({**whole, **wrong})
        with pytest.raises(UsageError, match=words):
            ask_all(guest, PYTHON, [("model", {"part": text}), ("model", {"do": "load"})])
    assert status(guest).model_version == held.model_version


def test_what_can_not_be_done_is_said(guest):
    load(guest, find_model("short_tasks"))
    with pytest.raises(UsageError, match="period=3"):
        switch(guest, "act", period=3)
    with pytest.raises(UsageError, match="expected one of off, shadow, act"):
        switch(guest, "on")
    with pytest.raises(UnavailableError, match="scx_tuna is in charge, not scx_flashyspark"):
        live_model.status(guest, PYTHON, "scx_flashyspark")
    with pytest.raises(UsageError, match="scx_simple has no model inside"):
        live_model.status(guest, PYTHON, "scx_simple")


def test_who_sleeps_soon_comes_first_where_a_model_says_so_and_last_where_it_says_the_opposite(
    program, tmp_path
):
    """On one CPU, of which more is wanted than there is."""
    load_s = 4
    orders = []
    for model in ("short_tasks", "short_last"):
        orders += [
            ("model", model, "act", {**NEVER, "lead_us": 100_000}),
            ("bursts", load_s),
            ("model_status",),
        ]
    answers = carried_out(program, tmp_path, orders, files=sent(find_model("short_tasks"), short_last()))
    first, last = answers[1], answers[4]
    assert min(answers[2]["counted"]["nr_acted"], answers[5]["counted"]["nr_acted"]) > 100
    # In ms: how late the middle one of the wakeups of those that run for 0.5 ms, and for 8 ms.
    assert first["short_ms"] < first["long_ms"] / 2
    assert last["short_ms"] > 2 * first["short_ms"]


def test_who_is_asked_when_a_cpu_takes_a_task_is_moved_as_well(program, tmp_path):
    """Asked at dispatch, where nobody's key has a lead in it, a model and its opposite differ."""
    orders = []
    for model in ("short_tasks", "short_last"):
        orders += [
            ("model", model, "act", {**NEVER, "lead_us": 100_000, "pick": 4}),
            ("bursts", 2),
            ("model_status",),
        ]
    files = sent(find_model("short_tasks"), short_last())
    answers = carried_out(program, tmp_path, orders, files=files)
    first, last = (answers[place]["counted"] for place in (2, 5))
    assert last["nr_picked"] > 100
    for counted in (first, last):
        assert counted["nr_acted"] == counted["nr_picked"] <= counted["nr_picks"]
        assert 2 * counted["nr_picks"] <= counted["nr_walked"] <= 4 * counted["nr_picks"]
        assert counted["nr_walked"] >= counted["nr_decided"] > counted["nr_seen"]
    # Who comes first is foretold by the model; by how much also by the phases of these sleepers.
    by_model, by_opposite = (answers[place]["short_ms"] / answers[place]["long_ms"] for place in (1, 4))
    assert by_opposite > 1.3 * by_model


@pytest.mark.long
@pytest.mark.parametrize("pick", [1, 8])
def test_an_adversarial_model_starves_nobody_at_64_tasks_per_cpu(program, tmp_path, pick):
    """The most that a model can do: some tasks, by their nice value, always whole leads behind the others."""
    against = linear("against_nice", [-100], 100 * 20, ("nice",))
    orders = [
        ("model", "against_nice", "act", {**NEVER, "lead_us": 100_000, "pick": pick}),
        ("hogs", 64, 6, [0, 19, -20], None),
        ("model_status",),
        ("stats",),
    ]
    _, found, told, stats = carried_out(program, tmp_path, orders, files=sent(against))
    assert told["counted"]["nr_acted"] > 1000
    assert told["counted"]["nr_batch"] > 100 < told["counted"]["nr_interactive"]
    assert max(one["longest_s"] for one in found) < 1
    assert stats["nr_overdue"] > 0
