"""rt-app's files as the simulator reads them, under AddressSanitizer and UBSan."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.native.rt_app_documents import FIXED, KINDS, OPS, RELATIVE, documents

from schedtuna.workload.families import FAMILIES, MAX_LOAD, MIN_LOAD, family

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("g++") or shutil.which("clang++") or ""
pytestmark = [
    pytest.mark.skipif(not COMPILER, reason="no C++ compiler"),
    pytest.mark.skipif(not Path("/usr/include/nlohmann/json.hpp").exists(), reason="no nlohmann/json.hpp"),
]
EXPONENTIAL = 2
SOURCES = [ROOT / "tests/native/rt_app_reader.cpp", *sorted(ROOT.glob("native/sim/rt_app*.cpp"))]


class Reader:
    """A process that reads files, compiled with every check that the compiler has."""

    def __init__(self, folder: Path) -> None:
        flags = ["-std=c++20", "-O0", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'native'}"]
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        binary = folder / "reader"
        sources = [*SOURCES, ROOT / "native/sim/json.cpp"]
        subprocess.run([COMPILER, *flags, *sanitizers, *sources, "-o", binary], check=True)
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, text: str | bytes, dialect: str = "extended"):
        """Return the workload, or its error alone."""
        data = text if isinstance(text, bytes) else text.encode()
        self.process.stdin.write(f"{len(data)} {dialect}\n".encode() + data)
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the reader died of {data!r}"
        return json.loads(answer)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("rt_app"))
    yield reader
    reader.process.stdin.close()
    assert reader.process.wait() == 0
    reader.process.stdout.close()


def task(events: str, others: str = "") -> str:
    """A file with one task."""
    return f'{{"tasks": {{"worker": {{{events}}}{others}}}}}'


@settings(max_examples=300, deadline=None)
@given(documents())
def test_what_is_written_is_what_is_read_however_it_is_written(reader, document):
    text, expected, instances, duration = document
    read = reader.read(text, "rt-app")
    assert "error" not in read, read
    assert read["duration_ns"] == (None if duration < 0 else duration * 10**9)
    assert [task["name"] for task in read["tasks"]] == [
        name for name, nr in instances.items() for _ in range(nr)
    ]
    assert {task["nice"] for task in read["tasks"]} == {3}
    assert [program["name"] for program in read["programs"]] == list(expected)
    for program in read["programs"]:
        steps = expected[program["name"]]
        assert len(program["steps"]) == len(steps)
        for (op, amount, target), step in zip(steps, program["steps"], strict=True):
            number, drawn, target_index, _, flags, depth = step
            assert (OPS[number], drawn) == (op, [FIXED, amount or 0, 0, 0])
            assert flags == (RELATIVE if op == "SleepUntil" else 0)
            assert depth == (1 if op == "Loop" and step is program["steps"][-2] else 0)
            if op == "Loop":
                assert target_index == target
            elif target is not None:
                assert read["resources"][target_index][0] == target


# What is wrong, the line where it stands, and the words that say so.
WRONG = [
    ("", 1, "not JSON"),
    ("[1]", 1, "must be an object, not an array"),
    ("{}", 1, 'has no "tasks"'),
    ('{"tasks": {}}', 1, "tasks: no task is started"),
    ('{"tasks": {"a": {}}}', 1, "tasks.a: has no events"),
    ('{"tasks": {"a": {"phases": {}}}}', 1, "tasks.a.phases: has no phase"),
    ('{"tasks": {"a": {"run": 1}}, "task": {}}', 1, "task: unknown key"),
    ('{"tasks":\n{"a":\n{"run": 5,\n"run": 6}}}', 4, '"run" stands twice'),
    ("[" * 100_000, 1, "nested deeper than 16"),
    ('{"tasks": {"a": {"run": 1,,}}}', 1, "not JSON"),
    ('{"tasks": {"a": {,}}}', 1, "not JSON"),
    ('{"tasks": {"a": {"run": [1,,]}}}', 1, "not JSON"),
    ('{"tasks": {"a": {"run": 5 /*', 1, "not JSON"),
    (b'{"tasks": {"\xff": {"run": 1}}}', 1, "not JSON"),
    (task('"run": 99999999999999999999999'), 1, "tasks.worker.run: must be a whole number"),
    (task('"run": 18446744073709551615'), 1, "beyond 2^63"),
    (
        task('"run":\n 2147483648'),
        1,
        "tasks.worker.run: must be 1 to 2147483647 microseconds, not 2147483648",
    ),
    (task('\n"run": 0'), 2, "tasks.worker.run: must be 1 to"),
    (task('"sleep": -1'), 1, "tasks.worker.sleep: must be 1 to"),
    (task('"run": 1.5'), 1, "not a number with a fraction"),
    (task('"run": "5"'), 1, "not a string"),
    (task('"run": null'), 1, "not null"),
    (task('"run": 5, "delay": -1'), 1, "tasks.worker.delay"),
    (task('"runaway": 5'), 1, "tasks.worker.runaway: unknown key; events are run,"),
    (task('"slep": 5'), 1, "tasks.worker.slep: unknown key"),
    (task('"run": 5, "period": 5'), 1, "SCHED_DEADLINE is not simulated"),
    (task('"run": 5, "policy": "SCHED_FIFO"'), 1, "tasks.worker.policy: must be SCHED_OTHER"),
    (task('"run": 5, "priority": 20'), 1, "tasks.worker.priority: must be -20 to 19"),
    (task('"run": 5, "cpus": []'), 1, "tasks.worker.cpus: names no CPU"),
    (task('"run": 5, "cpus": [0, -1]'), 1, "tasks.worker.cpus[1]: must be 0 to"),
    (task('"run": 5, "instance": 1000001'), 1, "tasks.worker.instance"),
    (task('"run": 5, "instance": 0'), 1, "tasks: no task is started"),
    (task('"run": 5, "dl-runtime": 99'), 1, "tasks.worker.dl-runtime: must be 100 to 100000"),
    (task('"mem": 5'), 1, "doesn't say how long"),
    (task('"iorun0": 5'), 1, "doesn't say how long"),
    (task('"run": 5, "loop": 3'), 1, "rt-app 1.0 repeats the events for ever"),
    (task('"run": 5, "phases": {"p": {"run": 5}}'), 1, 'an event beside "phases"'),
    (task('"phases": {"p": {"loop": 0, "run": 5}}'), 1, "tasks.worker.phases.p.loop: must be -1"),
    (
        task('"phases": {"p": {"loop": -1, "run": 5},\n"q": {"run": 5}}'),
        2,
        "q: is never reached: p is repeated",
    ),
    (task('"exit": "", "run": 5'), 1, "tasks.worker.run: is never reached"),
    (task('"yield": "", "signal": "x"'), 1, "repeated for ever without taking time"),
    (task('"run": 5, "unlock": "m"'), 1, 'unlocks "m", which isn\'t locked here'),
    (task('"lock": "m", "lock1": "m"'), 1, "would wait for itself"),
    (task('"lock": "m", "run": 5'), 1, 'tasks.worker: holds "m" when it begins anew'),
    (task('"phases": {"p": {"loop": 2, "lock": "m", "run": 5}, "q": {"unlock": "m"}}'), 1, "the same locks"),
    (task('"phases": {"p": {"lock": "m", "run": 5}}, "loop": 1'), 1, 'holds "m" at its end'),
    (task('"lock": "m", "exit": ""'), 1, 'holds "m" there'),
    (task('"run": 5, "wait": {"ref": "c", "mutex": "m"}'), 1, "isn't locked here"),
    (task('"lock": "m", "wait": {"ref": "c", "mutex": "m"}, "unlock": "m"'), 1, "nothing signals"),
    (task('"run": 5, "suspend": "worker"'), 1, "nothing resumes"),
    (task('"run": 5, "read": "p"'), 1, "nothing writes"),
    (task('"run": 5, "write": "p"'), 1, "nothing reads"),
    (task('"run": 5, "resume": "x", "signal": "x"'), 1, "suspended and resumed there"),
    (task('"run": 5, "barrier": "b", "barrier1": "b"'), 1, "rt-app counts events"),
    (
        task('"run": 5, "fork": "child"', ', "child": {"instance": 0, "run": 5, "barrier": "b"}'),
        1,
        "forked or exec'd",
    ),
    (task('"run": 5, "fork": "child"'), 1, 'there is no task "child"'),
    (task('"run": 5, "timer": {"period": 5}'), 1, 'tasks.worker.timer: has no "ref"'),
    (task('"run": 5, "timer": {"ref": "unique"}'), 1, 'has no "period"'),
    (task('"run": 5, "timer": {"ref": "unique", "period": 5, "mode": "abs"}'), 1, 'must be "relative"'),
    (task('"instance": 2, "timer": {"ref": "tick", "period": 5}'), 1, "shared by the instances"),
    (
        task('"timer": {"ref": "t", "period": 5}', ', "b": {"timer": {"ref": "t", "period": 5}}'),
        1,
        'tasks.b.timer: timer "t" is that of task "worker"',
    ),
    (task('"run": {"exponential": 0}'), 1, "tasks.worker.run.exponential: must be 1 to"),
    (task('"run": {"normal": 5}'), 1, "unknown distribution"),
    (task('"run": {}'), 1, "must have one member"),
    (task('"run": {"uniform": {"from": 5, "to": 4}}'), 1, 'is less than "from"'),
    (
        task('"run": {"pareto": {"smallest": 5, "tail_permille": 99, "largest": 9}}'),
        1,
        "tail_permille: must be 100",
    ),
    (task('"run": 5, "taskgroup": "a"'), 1, '"a" is no group'),
    (task('"run": 5, "taskgroup": "/a//b"'), 1, "is no group"),
    (task('"run": 5, "taskgroup": "' + "/a" * 5000 + '"'), 1, "longer than 255"),
    ('{"tasks": {"a": {"run": 5}}, "taskgroups": {"/a": {"cpu_weight": 0}}}', 1, "taskgroups./a.cpu_weight"),
    ('{"tasks": {"a": {"run": 5}}, "resources": {"p": {"type": "pipe", "capacity": 3}}}', 1, "power of two"),
    ('{"tasks": {"a": {"run": 5}}, "global": {"duration": 0}}', 1, "global.duration: must be -1"),
    ('{"tasks": {"a": {"run": 5}}, "global": {"pi_enabled": true}}', 1, "priority inheritance"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_is_wrong_is_named_with_its_line(reader, text, line, words):
    error = reader.read(text)["error"]
    assert error.startswith(f"load.json:{line}: ")
    assert words in error


# What rt-app 1.0 lacks.
EXTENSIONS = [
    '"run": {"exponential": 5}',
    '"io": 5',
    '"read": "p", "write": "p"',
    '"run": 5, "fork": "worker"',
    '"run": 5, "exec": "worker"',
    '"run": 5, "exit": ""',
    '"run": 5, "policy": "SCHED_BATCH"',
    '"run": 5, "dl-runtime": 3000',
    '"run": 5, "taskgroup": "/a"',
    '"phases": {"p": {"run": 5, "priority": 5}}',
]


@pytest.mark.parametrize("events", EXTENSIONS)
def test_what_rt_app_lacks_is_read_unless_it_is_to_run_the_file(reader, events):
    assert "error" not in reader.read(task(events))
    assert "rt-app 1.0 has no" in reader.read(task(events), "rt-app")["error"]


def steps_of(read, program: int = 0) -> list[tuple[str, list[int], int | None]]:
    return [(OPS[op], amount, target) for op, amount, target, *_ in read["programs"][program]["steps"]]


def test_cpus_of_phases_are_those_of_the_task_where_they_say_nothing(reader):
    read = reader.read(task('"cpus": [2, 0], "phases": {"p": {"cpus": [1], "run": 5}, "q": {"run": 5}}'))
    assert read["cpu_sets"] == [[0, 2], [1]]
    assert read["tasks"][0]["cpu_set"] == 0
    assert [step[2] for step in steps_of(read) if step[0] == "SetAffinity"] == [1, 0]
    without = reader.read(task('"phases": {"p": {"cpus": [1], "run": 5}, "q": {"run": 5}}'))
    assert [step[2] for step in steps_of(without) if step[0] == "SetAffinity"] == [0, None]


def test_a_barrier_waits_for_all_instances_of_all_tasks(reader):
    read = reader.read(
        task('"instance": 3, "run": 5, "barrier": "b"', ', "c": {"run": 5, "barrier1": "b"}'), "rt-app"
    )
    assert read["resources"] == [["b", KINDS.index("Barrier"), 4]]


def test_sync_signals_and_waits(reader):
    read = reader.read(task('"run": 5, "lock": "m", "sync": {"ref": "c", "mutex": "m"}, "unlock": "m"'))
    assert [step[0] for step in steps_of(read)][1:5] == ["Lock", "Signal", "Wait", "Unlock"]


def test_a_timer_is_absolute_for_all_who_name_it(reader):
    timers = '"timer0": {"ref": "t", "period": 5}, "timer1": {"ref": "t", "period": 6, "mode": "absolute"}'
    read = reader.read(task(timers), "rt-app")
    assert read["programs"][0]["timers"] == 1
    assert [step[4] for step in read["programs"][0]["steps"][:2]] == [0, 0]


def test_forks_and_execs_name_definitions_and_programs(reader):
    child = ', "child": {"instance": 0, "run": {"exponential": 7}, "exec": "other"}, "other": {"run": 9}'
    read = reader.read(task('"instance": 3, "run": 5, "fork": "child"', child))
    assert [t["name"] for t in read["tasks"]] == ["worker"] * 3 + ["child", "other"]
    assert read["tasks"][3]["start_ns"] is None
    assert ("Fork", [FIXED, 0, 0, 0], 3) in steps_of(read)
    assert steps_of(read, 1)[:2] == [("Run", [EXPONENTIAL, 7000, 0, 0], None), ("Exec", [FIXED, 0, 0, 0], 2)]


def test_groups_have_weights_and_parents(reader):
    text = task('"run": 5, "taskgroup": "/a/b"')[:-1] + ', "taskgroups": {"/a": {"cpu_weight": 30}}}'
    read = reader.read(text)
    assert read["groups"] == {"": 1024, "/a": 307, "/a/b": 1024}  # shares, as the kernel has them
    assert read["tasks"][0]["group"] == "/a/b"


def test_phases_change_what_later_versions_of_rt_app_let_them(reader):
    phase = '"priority": -3, "policy": "SCHED_IDLE", "dl-runtime": 3000, "run": 5'
    steps = steps_of(reader.read(task(f'"phases": {{"p": {{{phase}}}}}')))
    assert steps[:3] == [
        ("SetPolicy", [FIXED, 2, 0, 0], None),
        ("SetNice", [FIXED, -3, 0, 0], None),
        ("SetSlice", [FIXED, 3_000_000, 0, 0], None),
    ]


@settings(max_examples=300, deadline=None)
@given(documents(), st.data())
def test_a_damaged_file_is_read_or_refused_with_its_line(reader, document, data):
    text = document[0].encode()
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    insert = data.draw(
        st.sampled_from([b"", b"}", b'"', b",", b"/*", b"\x00", b"\xff", b"-", b"0", b"{", b"\\"])
    )
    error = reader.read(text[:start] + insert + text[end:]).get("error")
    assert error is None or re.match(r"load\.json:\d+: ", error)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(FAMILIES)), st.integers(0, 2**64), st.integers(1, 16), st.floats(MIN_LOAD, MAX_LOAD)
)
def test_every_member_of_a_family_can_be_read(reader, name, seed, cpus, load):
    assert "error" not in reader.read(json.dumps(family(name, seed, cpus, load)))
