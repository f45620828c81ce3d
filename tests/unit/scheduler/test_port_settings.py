from schedtuna.scheduler.port_settings import port_settings
from schedtuna.scheduler.registry import entries


def test_settings_that_both_releases_have_move_as_they_are():
    ported = port_settings(entries()["scx_rusty"], {"fifo_sched": True}, source="1.0.6", target="1.1.2")
    assert (ported.values, ported.refusals) == ({"fifo_sched": True}, ())


def test_a_renamed_flag_is_followed():
    ported = port_settings(entries()["scx_flash"], {"slice_us_max": 5000}, source="1.0.7", target="1.1.2")
    assert ported.values["slice_us"] == 5000
    assert any("slice_us" in note for note in ported.notes)


def test_a_flag_that_is_gone_refuses_the_optimum():
    ported = port_settings(entries()["scx_flash"], {"direct_dispatch": True}, source="1.1.0", target="1.1.1")
    assert "direct_dispatch" in ported.refusals[0]


def test_a_flag_that_is_gone_but_was_not_used_is_not_an_obstacle():
    ported = port_settings(entries()["scx_flash"], {"rr_sched": True}, source="1.1.0", target="1.1.1")
    assert ported.refusals == ()
    assert ported.values["rr_sched"] is True


def test_a_default_that_changed_is_kept_as_it_was_found():
    ported = port_settings(entries()["scx_lavd"], {}, source="1.0.7", target="1.1.2")
    assert ported.values["slice_max_us"] == 3000
    assert any("slice_max_us" in note for note in ported.notes)
