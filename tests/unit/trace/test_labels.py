import pytest
from tests.unit.trace.making import tasks

from schedtuna.errors import ConfigFileError
from schedtuna.trace.labels import LabelRule, label_tasks, read_labels
from schedtuna.trace.schema import TaskReason
from schedtuna.trace.tasks import task_table

S = 10**9


@pytest.fixture
def table():
    rows = tasks(
        {"tid": 1, "comm": b"firefox", "cgroup_id": 1},
        {"tid": 2, "comm": b"cc1", "cgroup_id": 2, "start_time_ns": 30 * S, "timestamp_ns": 40 * S}
        | {"reason": TaskReason.EXIT},
        {"tid": 3, "comm": b"cc1", "cgroup_id": 2, "start_time_ns": 50 * S, "timestamp_ns": 51 * S},
    )
    return task_table(rows, {1: "/user.slice/a", 2: "/system.slice/b"}, "recorded")


def labels_of(table, *rules):
    return label_tasks(table, list(rules), start_ns=20 * S, end_ns=60 * S)["label"].to_list()


def test_the_first_rule_that_fits_counts(table):
    rules = [LabelRule(label="ui", comm="fire*"), LabelRule(label="rest")]
    assert labels_of(table, *rules) == ["ui", "rest", "rest"]


def test_tasks_that_no_rule_fits_keep_their_label(table):
    assert labels_of(table, LabelRule(label="b", cgroup="/system.slice/*")) == ["recorded", "b", "b"]


def test_times_count_from_the_beginning_of_the_trace(table):
    assert labels_of(table, LabelRule(label="early", comm="cc1", to_s=15)) == [
        "recorded",
        "early",
        "recorded",
    ]
    assert labels_of(table, LabelRule(label="late", comm="cc1", from_s=25)) == [
        "recorded",
        "recorded",
        "late",
    ]


def test_a_label_file_is_read(tmp_path, table):
    (tmp_path / "l.yaml").write_text("labels:\n  - label: x\n    comm: firefox\n  - {label: y, from_s: 1}\n")
    assert read_labels(tmp_path / "l.yaml")[1] == LabelRule(label="y", from_s=1)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("labels: 3", "labels"),
        ("- label: x", "mapping"),
        ("labels:\n  - comm: x", r"labels\.0\.label"),
        ("labels:\n  - {label: x, com: y}", r"labels\.0\.com"),
        ("labels:\n  - {label: ''}", "label"),
        ("labels: [", "line"),
    ],
)
def test_a_bad_label_file_is_refused_with_the_place(tmp_path, text, match):
    (tmp_path / "l.yaml").write_text(text)
    with pytest.raises(ConfigFileError, match=match):
        read_labels(tmp_path / "l.yaml")
