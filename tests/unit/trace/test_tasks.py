import pytest
from tests.unit.trace.making import tasks

from schedtuna.trace.schema import PF_KTHREAD, TaskReason
from schedtuna.trace.tasks import clean_name, task_table


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"bash", "bash"),
        (b"a\x1b[2Jb", r"a\x1b[2Jb"),
        (b"two\nlines\r", r"two\nlines\r"),
        (rb"c:\n", r"c:\\n"),
        ("Übung 日本".encode(), "Übung 日本"),
        (b"\xff\xfe", r"\udcff\udcfe"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\x9bC1", r"\x9bC1"),
        ("", ""),
    ],
)
def test_names_can_not_leave_their_line(name, shown):
    assert clean_name(name) == shown
    assert clean_name(name).isprintable()


def test_the_last_row_of_a_task_counts():
    rows = tasks(
        {
            "tid": 7,
            "start_time_ns": 5,
            "timestamp_ns": 5,
            "reason": TaskReason.FORK,
            "comm": b"bash",
            "tgid": 7,
        },
        {"tid": 7, "start_time_ns": 5, "timestamp_ns": 9, "reason": TaskReason.EXIT, "comm": b"ls", "tgid": 7}
        | {"cpu_time_ns": 40, "static_prio": 125, "policy": 3, "cgroup_id": 1},
    )
    table = task_table(rows, {1: "/a\nb"})
    row = table.row(0, named=True)
    assert table.height == 1
    assert row["comm"] == "ls"
    assert (row["nice"], row["policy"], row["cgroup"]) == (5, "BATCH", r"/a\nb")
    assert (row["exit_ns"], row["first_cpu_time_ns"], row["cpu_time_ns"]) == (9, 0, 40)


def test_a_tid_that_was_used_twice_is_two_tasks():
    rows = tasks(
        {"tid": 7, "start_time_ns": 5, "timestamp_ns": 6, "comm": b"one"},
        {"tid": 7, "start_time_ns": 50, "timestamp_ns": 51, "comm": b"two", "flags": PF_KTHREAD},
    )
    table = task_table(rows, {})
    assert table["comm"].to_list() == ["one", "two"]
    assert table["is_kthread"].to_list() == [False, True]
    assert table["exit_ns"].to_list() == [None, None]


def test_no_tasks_give_an_empty_table_with_all_columns():
    assert task_table(tasks(), {}).columns == task_table(tasks({"tid": 1}), {}).columns


def test_the_label_of_a_recording_is_that_of_its_tasks():
    assert task_table(tasks({"tid": 1}), {}, "batch")["label"].to_list() == ["batch"]
