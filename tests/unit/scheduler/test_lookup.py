import pytest

from schedtuna.errors import UsageError
from schedtuna.scheduler import registry
from schedtuna.scheduler.definition import scheduler_from_mapping
from schedtuna.scheduler.lookup import registered


def test_an_unknown_scheduler_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        registered("scx_rusti")
    assert "scx_rusty" in str(caught.value.hint)


def test_a_users_scheduler_can_be_registered(monkeypatch):
    monkeypatch.setattr(registry, "_user_schedulers", {})
    content = {"name": "scx_mine", "parameters": {"turbo": {"type": "boolean", "default": False}}}
    registry.register(scheduler_from_mapping(content, place="here"))
    assert registered("scx_mine").parameters["turbo"].default is False
    assert "scx_mine" in set(registry.names())
