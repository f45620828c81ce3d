"""The events of trials: numbered, none twice, and what is known of how long the rest takes."""

import pytest
from tests.servers import submission

from schedtuna.server.progress import MOST_TRIALS, ProgressBook, remaining_s, work_digest
from schedtuna.wire import Submission, TrialState, TrialStatus


def asked(*argv, **fields):
    return Submission.model_validate(submission(*argv, **fields))


def status(of, state=TrialState.RUNNING, nr_before=0):
    return TrialStatus(id=of.submit_id, state=state, nr_before=nr_before, submitted_at=1.0, now=2.0)


def course(book, of, after=0):
    found = book.after(of.submit_id, after, status(of))
    return [(one.number, str(one.state), one.nr_before, one.nr_done, one.took_s, one.eta_s) for one in found]


def test_each_change_is_an_event_and_nothing_else_is():
    book, trial = ProgressBook(), asked(warmup_runs=2)
    for where in (status(trial, TrialState.QUEUED, 1), status(trial, TrialState.QUEUED, 0), status(trial)):
        book.see(trial, where)
        book.see(trial, where)
    book.ran(trial, status(trial), 4.0)
    book.ran(trial, status(trial), 2.0)
    book.see(trial, status(trial, TrialState.DONE))
    whole = [
        (1, "queued", 1, 0, None, None),
        (2, "queued", 0, 0, None, None),
        (3, "running", 0, 0, None, None),
        (4, "running", 0, 1, 4.0, 8.0),
        (5, "running", 0, 2, 2.0, 3.0),
        (6, "done", 0, 2, 2.0, None),
    ]
    assert course(book, trial) == whole
    assert course(book, trial, after=4) == whole[4:]
    assert course(book, trial, after=6) == []
    assert course(book, trial, after=99) == whole, "numbers of a server before this one"


def test_the_same_work_under_another_scheduler_takes_as_long_as_before():
    book, first = ProgressBook(), asked("sleep", "3")
    book.see(first, status(first))
    book.ran(first, status(first), 3.0)
    again = asked("sleep", "3", scheduler={"name": "fair", "values": {"nice": 1}}, seed=9)
    book.see(again, status(again))
    assert course(book, again)[0][-1] == 3.0
    other = asked("sleep", "30")
    book.see(other, status(other))
    assert course(book, other)[0][-1] is None
    assert work_digest(first) == work_digest(again) != work_digest(other)


def test_of_a_trial_of_another_server_it_is_told_where_it_stands_once():
    trial = asked()
    found = ProgressBook().after(trial.submit_id, 0, status(trial, TrialState.FAILED))
    assert [(one.number, one.state) for one in found] == [(1, TrialState.FAILED)]
    assert ProgressBook().after(trial.submit_id, 1, status(trial)) == []


def test_old_trials_are_forgotten():
    book = ProgressBook()
    first, *others = [asked() for _ in range(MOST_TRIALS + 1)]
    for one in (first, *others):
        book.see(one, status(one, TrialState.QUEUED, 3))
    assert course(book, others[0])[0][2] == 3
    assert course(book, first)[0][2] == 0, "told of what is now"


@pytest.mark.parametrize(
    ("samples_s", "nr_runs", "before_s", "expected"),
    [((), 3, None, None), ((), 3, 2.0, 6.0), ((1.0, 3.0), 3, 9.0, 2.0), ((1.0,), 1, None, 0.0)],
)
def test_the_rest_goes_by_own_runs_and_else_by_those_before(samples_s, nr_runs, before_s, expected):
    assert remaining_s(samples_s, nr_runs, before_s) == expected
