import re

import pytest

from schedtuna.errors import UsageError
from schedtuna.scheduler.definition import scheduler_from_mapping


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"nam": "x"}, "mine.yaml: unknown key 'nam'"),
        ({"name": "x", "parameters": []}, "mine.yaml: 'parameters' must map names to specifications"),
        ({"name": "x", "parameters": {"a": 3}}, "mine.yaml: each parameter must be a mapping"),
        ({"name": "x", "parameters": {"a": {"type": "integer", "default": 5}}}, "parameter a: integer needs"),
        ({"name": "x", "parameters": {"a": {"type": "colour", "default": 5}}}, "mine.yaml: type: Input"),
        ({}, "mine.yaml: name: Field required"),
    ],
)
def test_a_bad_definition_says_where(content, said):
    with pytest.raises(UsageError, match=f"^{re.escape(said)}"):
        scheduler_from_mapping(content, place="mine.yaml")
