"""Stored content of any version becomes today's, in the order of the versions, or is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import StudyError
from schedtuna.files.versions import StoredFormat


def renamed(content):
    content["place"] = content.pop("where")
    return content


def nested(content):
    return {**content, "place": {"kind": content["place"]}}


STORED = StoredFormat(StudyError, {1: renamed, 2: nested})
NEWEST = {"version": 3, "place": {"kind": "host"}}


@pytest.mark.parametrize(
    "content",
    [{"where": "host"}, {"version": 1, "where": "host"}, {"version": 2, "place": "host"}, NEWEST],
)
def test_every_version_becomes_the_newest(content):
    given_content = {**content}
    assert STORED.newest == 3
    assert STORED.upgrade(content, "study.json") == NEWEST
    assert content == given_content


def test_a_migration_that_alters_its_argument_alters_nobody_elses():
    content = {"where": {"kind": "host"}}
    inner = StoredFormat(StudyError, {1: lambda it: it["where"].clear() or it})
    assert inner.upgrade(content, "x") == {"version": 2, "where": {}}
    assert content == {"where": {"kind": "host"}}


def test_a_newer_version_is_named_with_the_newest_known_and_what_to_do():
    with pytest.raises(StudyError, match=r"^a/study\.json has version 4, and .* up to 3$") as raised:
        STORED.upgrade({"version": 4}, "a/study.json")
    assert raised.value.hint == "update schedtuna: a newer one wrote it"
    with pytest.raises(StudyError) as raised:
        STORED.upgrade({"version": 4, "schedtuna_version": "9.9\x1b[2J"}, "study.json")
    assert "'9.9\\x1b[2J'" in raised.value.hint


@pytest.mark.parametrize("version", [None, "1", 1.0, True, 0, -1, [], {}])
def test_what_is_not_a_version_is_damage(version):
    with pytest.raises(StudyError, match=r"study\.json is damaged: its version is"):
        STORED.upgrade({"version": version, "where": "host"}, "study.json")


@pytest.mark.parametrize("content", [None, 5, "text", ["version", 1]])
def test_what_is_not_a_mapping_is_damage(content):
    with pytest.raises(StudyError, match="damaged: expected names and values"):
        STORED.upgrade(content, "study.json")


def test_a_content_that_lacks_what_its_version_has_is_damage():
    with pytest.raises(StudyError, match=r"study\.json is damaged: it is not of version 1: KeyError"):
        STORED.upgrade({"version": 1, "place": "host"}, "study.json")


def test_a_line_has_the_version_of_its_files_head():
    assert STORED.upgrade_line({"where": "host"}, 1) == {"place": {"kind": "host"}}
    with pytest.raises(ValueError, match="not of version 1"):
        STORED.upgrade_line("text", 1)


@given(st.integers(1, 9), st.integers(0, 8))
def test_no_step_is_left_out_or_made_twice(version, nr_former):
    def step(number):
        return lambda content: {**content, "steps": [*content["steps"], number]}

    stored = StoredFormat(StudyError, {number: step(number) for number in range(1, nr_former + 1)})
    content = {"version": version, "steps": []}
    if version > stored.newest:
        with pytest.raises(StudyError):
            stored.upgrade(content, "x")
        return
    upgraded = stored.upgrade(content, "x")
    assert upgraded == {"version": stored.newest, "steps": list(range(version, stored.newest))}
    assert stored.upgrade(upgraded, "x") == upgraded
