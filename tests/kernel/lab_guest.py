"""The lab for tests: skips, saying why, where it is not set up."""

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.lab.store import Lab, read_lab


def lab_or_skip() -> Lab:
    try:
        return read_lab()
    except UnavailableError as error:
        pytest.skip(f"{error}; {error.hint}")
