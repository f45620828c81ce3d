import numpy as np
import pytest
from tests.unit.trace.making import events, random_events, switch, wakeup

from schedtuna.errors import TraceError
from schedtuna.trace.columns import COLUMN_TYPES, decode, encode
from schedtuna.trace.schema import EVENT_DTYPE


def by_cpu(array):
    return array[np.lexsort((np.arange(len(array)), array["timestamp_ns"], array["cpu"]))]


@pytest.mark.parametrize("nr_events", [0, 1, 2, 5_000])
def test_decoding_gives_back_what_was_encoded(nr_events):
    array = random_events(np.random.default_rng(nr_events), nr_events)
    assert np.array_equal(decode(encode(array)), by_cpu(array))


def test_extreme_values_survive():
    array = np.zeros(2, EVENT_DTYPE)
    for name in EVENT_DTYPE.names or ():
        limits = np.iinfo(EVENT_DTYPE[name])
        array[name] = [limits.min, limits.max]
    array["type"] = 1
    assert np.array_equal(decode(encode(array)), by_cpu(array))


def test_what_earlier_switches_imply_is_left_out():
    columns = encode(events(switch(1, 0, 7), wakeup(2, 8, waker=7), switch(3, 7, 8), switch(4, 8, 0)))
    assert columns["current"].tolist() == [0, 0, 0, 0]
    assert columns["subject"].tolist() == [7, 8, 8, 0]


@pytest.mark.parametrize(("column", "value"), [("type", 0), ("type", 200), ("cpu", 9)])
def test_columns_of_another_program_are_refused(column, value):
    columns = encode(events(switch(1, 0, 7), switch(3, 7, 0)))
    columns[column][0] = value
    with pytest.raises(TraceError):
        decode(columns)


def test_columns_have_the_declared_types():
    columns = encode(random_events(np.random.default_rng(1), 10))
    assert {name: column.dtype.str[1:] for name, column in columns.items()} == COLUMN_TYPES
