"""Whatever stands in a file of others, there is a result or an error of ours, never a traceback, and soon."""

from __future__ import annotations

import pytest
from tests.property.hostile_formats import FORMATS, find_fault, refused


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_damaged_is_valid_before(name, tmp_path):
    assert not refused(name, tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_hostile_file_gives_a_result_or_an_error(name, tmp_path):
    assert not find_fault(name, 100, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_hostile_files_give_results_or_errors(name, tmp_path):
    assert not find_fault(name, 2000, tmp_path)
