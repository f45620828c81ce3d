"""What `--policy` takes: ours by name, and anybody's by class."""

from pathlib import Path

import pytest
from tests.unit.agent.rows import hog, interactive, sensed

from schedtuna.agent.config import load_agent_config
from schedtuna.agent.conformance import check_policy
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.policies.rules import RulesPolicy
from schedtuna.errors import UsageError

DOCUMENT = (Path(__file__).parents[4] / "docs/agent.md").read_text()
MODULE = (
    DOCUMENT.partition("## A policy of your own")[2].partition("```python\n")[2].partition("```")[0]
    + """

class WithFile(Mine):
    def __init__(self, file):
        self.nice = int(file.read_text())

    def decide(self, sensed, standing):
        return [replace(one, new=self.nice) for one in super().decide(sensed, standing)]


class Silent:
    name = "silent"


class Careless(Mine):
    needs = {"tasks"}


THING = 7
"""
)


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "policies_of_mine.py").write_text(f"from dataclasses import replace\n{MODULE}")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "policies_of_mine"


def test_ours_are_made_by_name():
    assert isinstance(make_policy("rules"), RulesPolicy)


def test_a_class_of_ones_own_decides(module):
    policy = make_policy(f"{module}:Mine")
    (one,) = policy.decide(sensed(0, hog(10), interactive(20)), {})
    assert (one.target.tid, one.setting, one.new) == (10, "nice", 5)
    check_policy(lambda: make_policy(f"{module}:Mine"))


def test_it_is_given_its_file(module, tmp_path):
    file = tmp_path / "how:far"
    file.write_text("3")
    (one,) = make_policy(f"{module}:WithFile:{file}").decide(sensed(0, hog(10)), {})
    assert one.new == 3


def test_the_configuration_names_one_too(module, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text(f'policy = "{module}:Mine"')
    assert load_agent_config([path]).policy == f"{module}:Mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rulez", "no policy 'rulez'.*rules"),
        ("no_such_module:Mine", "no_such_module can't be imported"),
        ("MODULE:Nobody", "no class of that name"),
        ("MODULE:THING", "no class of that name"),
        ("MODULE:Silent", "has no needs, decide"),
        ("MODULE:Silent:file", "can't be made with the path file: TypeError"),
        ("MODULE:WithFile:/no/such/file", "can't be made with the path /no/such/file: FileNotFoundError"),
        ("MODULE:Careless", "its needs are no frozenset"),
        ("MODULE:", "there is no policy"),
    ],
)
def test_what_is_no_policy_is_refused(module, text, told):
    with pytest.raises(UsageError, match=told) as error:
        make_policy(text.replace("MODULE", module))
    assert "docs/agent.md" in (error.value.hint or "") or "PYTHONPATH" in (error.value.hint or "")
