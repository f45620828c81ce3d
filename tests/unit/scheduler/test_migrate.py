from schedtuna.scheduler.migrate import migrate
from schedtuna.scheduler.registry import entries


def test_settings_that_both_releases_have_move_as_they_are():
    moved = migrate(entries()["scx_rusty"], {"fifo_sched": True}, source="1.0.6", target="1.1.2")
    assert (moved.values, moved.refusals) == ({"fifo_sched": True}, ())


def test_a_renamed_flag_is_followed():
    moved = migrate(entries()["scx_flash"], {"slice_us_max": 5000}, source="1.0.7", target="1.1.2")
    assert moved.values["slice_us"] == 5000
    assert any("slice_us" in note for note in moved.notes)


def test_a_flag_that_is_gone_refuses_the_optimum():
    moved = migrate(entries()["scx_flash"], {"direct_dispatch": True}, source="1.1.0", target="1.1.1")
    assert "direct_dispatch" in moved.refusals[0]


def test_a_flag_that_is_gone_but_was_not_used_is_no_obstacle():
    moved = migrate(entries()["scx_flash"], {"rr_sched": True}, source="1.1.0", target="1.1.1")
    assert moved.refusals == ()
    assert moved.values["rr_sched"] is True


def test_a_default_that_changed_is_kept_as_it_was_found():
    moved = migrate(entries()["scx_lavd"], {}, source="1.0.7", target="1.1.2")
    assert moved.values["slice_max_us"] == 3000
    assert any("slice_max_us" in note for note in moved.notes)
