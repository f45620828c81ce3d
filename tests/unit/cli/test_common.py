import pytest

from schedtuna.cli.common import parse_duration
from schedtuna.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("500ms", 0.5),
        ("5m", 300),
        ("1.5h", 5400),
        ("1m30s", 90),
        (".5", 0.5),
        ("0", 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "-5", "5 m", "5min", "1e3", "nan", "inf", "5m!", "10000d"])
def test_what_is_not_a_duration(text):
    with pytest.raises(UsageError):
        parse_duration(text)
