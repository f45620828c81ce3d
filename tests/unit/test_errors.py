import errno
from pathlib import Path

import pytest

from schedtuna.errors import (
    MissingExtraError,
    OutOfBoundsError,
    SchedtunaError,
    SpaceError,
    UnavailableError,
    UnknownParameterError,
    UsageError,
    naming,
    nearest,
)


def test_each_kind_has_its_exit_code():
    assert [kind.exit_code for kind in (SchedtunaError, UsageError, UnavailableError)] == [1, 2, 3]
    assert issubclass(SpaceError, UsageError)


def test_a_missing_extra_is_named_with_how_to_get_it():
    error = MissingExtraError("exporting", "onnx")
    assert (str(error), error.hint) == (
        "exporting needs the extra 'onnx', which is not installed",
        "pip install 'schedtuna[onnx]'",
    )


def test_refused_values_say_of_which_parameter_they_are():
    unknown = UnknownParameterError("slice", ["slice_us", "policy"])
    assert (unknown.name, str(unknown)) == ("slice", "unknown parameter 'slice': did you mean slice_us?")
    refused = OutOfBoundsError("nice", 40, "-20 to 19")
    assert (refused.name, refused.value, refused.bounds) == ("nice", 40, "-20 to 19")
    assert str(refused) == "nice=40: out of bounds, expected -20 to 19"


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("slice_u", ["slice_us", "nice"], "did you mean slice_us?"),
        ("slice", ["slice_us", "slices"], "did you mean slices or slice_us?"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [], "none is known"),
        ("zzz", map(str, range(101)), "none of the 101 known ones is like it"),
    ],
)
def test_the_nearest_names_are_proposed(name, known, told):
    assert nearest(name, known) == told


@pytest.mark.parametrize(
    ("raised", "number", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC, "No space left on device"),
        (OSError("No space left on device (os error 28)"), errno.ENOSPC, "No space left on device"),
    ],
)
def test_an_error_of_the_disk_names_its_file(raised, number, words):
    with pytest.raises(OSError, match=words) as caught, naming(Path("/x/result")):
        raise raised
    assert (caught.value.errno, caught.value.strerror) == (number, words)
    assert caught.value.filename == "/x/result"


def test_a_file_that_is_named_already_stays():
    with pytest.raises(FileNotFoundError) as caught, naming(Path("/x/result")):
        raise FileNotFoundError(errno.ENOENT, "gone", "/other")
    assert caught.value.filename == "/other"
