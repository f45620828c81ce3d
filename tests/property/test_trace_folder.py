"""A damaged folder gives a Trace or a TraceError, and never an exception of a library beneath."""

import shutil
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.trace.making import pick_rows, random_events, tasks

from schedtuna.errors import SchedtunaError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE
from schedtuna.trace.columns import decode, encode
from schedtuna.trace.groups import group_rows
from schedtuna.trace.schema import EVENT_DTYPE
from schedtuna.trace.store import open_trace
from schedtuna.trace.writer import TraceWriter

FILES = (
    "manifest.json",
    "events-000000.parquet",
    "events-000001.spool",
    "tasks.parquet",
    "samples-system.parquet",
    "losses.jsonl",
    "cgroups.jsonl",
    "picks-000000.parquet",
    "candidates-000000.parquet",
    "picks-000001.spool",
    "attributes.parquet",
    "attributes.spool",
    "cpu_sets.jsonl",
)
PICKS = [[{"vruntime": v, "deadline": v + 9} for v in range(-1, n)] for n in (1, 5, 2)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "t"
    some = random_events(np.random.default_rng(1), 400)
    attributes = np.zeros(5, ATTRIBUTE_DTYPE)
    attributes["cpu_set"], attributes["timestamp_ns"] = 1, range(5)
    with TraceWriter(folder, {"attributes": {}}) as writer:
        writer.write_cpu_sets({1: "0-3,8"})
        writer.write_attributes(attributes)
        writer.write_events(some)
        writer.write_tasks(tasks({"tid": 3, "comm": b"x"}))
        writer.write_samples(5, {"load": 1.0})
        writer.write_cgroups({1: "/a"})
        writer.write_groups(group_rows([[0, 1, 0, 1024], [0, 2, 1, 300]], "test"))
        writer.note_lost(1)
        writer.write_picks(pick_rows(PICKS))
    (folder / "events-000001.spool").write_bytes(some.tobytes())
    (folder / "attributes.spool").write_bytes(attributes.tobytes())
    (folder / "picks-000001.spool").write_bytes(pick_rows(PICKS).tobytes())
    return folder


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=st.sampled_from(FILES), data=st.data())
def test_a_damaged_file_is_refused_or_read(sound, tmp_path, name, data):
    folder = tmp_path / "t"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    content = bytearray((folder / name).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 5))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content)
    if name == "attributes.spool":
        (folder / "attributes.parquet").unlink()
    with suppress(SchedtunaError):
        trace = open_trace(folder)
        for picks in trace.picks():
            _ = picks.is_consistent(), picks.candidates[picks.starts]
        _ = trace.events, trace.tasks, trace.sample_frames, trace.losses, trace.cgroups
        with suppress(SchedtunaError):
            _ = trace.attributes
        Analysis(trace, allow_lost=True).by("comm")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            *(
                st.integers(1, 8)
                if name == "type"
                else st.integers(int(np.iinfo(EVENT_DTYPE[name]).min), int(np.iinfo(EVENT_DTYPE[name]).max))
                for name in EVENT_DTYPE.names or ()
            )
        ),
        max_size=30,
    )
)
def test_any_events_survive_being_stored(rows):
    events = np.array(rows, EVENT_DTYPE)
    stored = decode(encode(events))
    order = np.lexsort((events["timestamp_ns"], events["cpu"]))
    assert np.array_equal(stored, events[order])
