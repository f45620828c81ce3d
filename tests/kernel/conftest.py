import os

import pytest
from tests.kernel.knob_target import Program

from schedtuna.knobs.journal import Journal


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


@pytest.fixture
def program():
    started = Program()
    yield started
    started.close()


@pytest.fixture
def root():
    if os.geteuid() != 0:
        pytest.skip("needs root")
