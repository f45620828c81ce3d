import pytest

from schedtuna.knobs.file_formats import BRACKETED, SCALING, SWITCH, feature, number

PREEMPT = "none voluntary (full) lazy\n"


@pytest.mark.parametrize(
    ("form", "text", "value", "written"),
    [
        (number(1, 9, scale=1000), "3000000\n", 3000, "3000000"),
        (number(1, 9), "7\n", 7, "7"),
        (SWITCH, "1\n", True, "1"),
        (SWITCH, "0\n", False, "0"),
        (BRACKETED, PREEMPT, "full", "full"),
        (BRACKETED, "madvise\n", "madvise", "madvise"),
        (SCALING, "2\n", "linear", "2"),
        (feature("WA_IDLE"), "GENTLE WA_IDLE NO_WA_BIAS\n", True, "WA_IDLE"),
        (feature("WA_BIAS"), "GENTLE WA_IDLE NO_WA_BIAS\n", False, "NO_WA_BIAS"),
    ],
)
def test_what_a_file_says_is_read_and_written_back(form, text, value, written):
    assert form.read(text) == value
    assert form.write(value) == written


def test_choices_are_the_files_own():
    assert BRACKETED.choices(PREEMPT) == ("none", "voluntary", "full", "lazy")
    assert SCALING.choices("0") == ("none", "log", "linear")
