"""What is kept of trials: across restarts, within a quota, for a day."""

import uuid

import pytest

from schedtuna.errors import StudyError
from schedtuna.server.refusal import RefusedError
from schedtuna.server.store import KEPT_S, TrialEntry, TrialStore, content_digest
from schedtuna.wire import RemoteCommand, Submission, TrialOutcome, TrialState


def entry(state=TrialState.DONE, *, ended_at=100.0, fetched_at=None, padding=0):
    asked = Submission(submit_id=uuid.uuid4().hex, command=RemoteCommand(argv=("true",)))
    outcome = TrialOutcome(warnings=("x" * padding,)) if padding else None
    return TrialEntry(
        submission=asked,
        client="one",
        state=state,
        submitted_at=ended_at - 1,
        ended_at=ended_at if state.is_end else None,
        fetched_at=fetched_at,
        outcome=outcome,
    )


def test_what_is_put_is_there_after_a_restart(tmp_path):
    kept = [entry(TrialState.QUEUED), entry(TrialState.RUNNING), entry(padding=10)]
    store = TrialStore(tmp_path / "trials", quota_bytes=10_000)
    for one in kept:
        store.put(one)
    again = TrialStore(tmp_path / "trials", quota_bytes=10_000)
    assert {one.id: one for one in again} == {one.id: one for one in kept}
    assert again.used_bytes == store.used_bytes > 0


def test_a_day_after_its_end_a_trial_is_forgotten(tmp_path):
    store = TrialStore(tmp_path / "trials", quota_bytes=10_000)
    old, young, waiting = (
        store.put(one) for one in (entry(), entry(ended_at=200.0), entry(TrialState.QUEUED))
    )
    store.make_room(150.0 + KEPT_S)
    assert (store.find(old.id), store.find(young.id), store.find(waiting.id)) == (None, young, waiting)


def test_room_is_made_by_what_was_fetched_alone(tmp_path):
    store = TrialStore(tmp_path / "trials", quota_bytes=4000)
    fetched, waiting = store.put(entry(fetched_at=150.0, padding=2000)), store.put(entry(padding=2000))
    store.make_room(200.0)
    assert store.find(fetched.id).outcome is None
    assert "dropped" in store.find(fetched.id).reason
    assert store.find(waiting.id) == waiting
    store.put(entry(padding=2000))
    with pytest.raises(RefusedError) as refused:
        store.make_room(200.0)
    assert refused.value.status == 507


def test_damaged_and_newer_files_are_named(tmp_path):
    store = TrialStore(tmp_path / "trials", quota_bytes=3000)
    path = tmp_path / "trials" / f"{store.put(entry()).id}.json"
    for text in ("{", '{"format_version": 99}', '{"format_version": 1, "client": "x"}', "[]"):
        path.write_text(text)
        with pytest.raises(StudyError, match=path.name):
            TrialStore(tmp_path / "trials", quota_bytes=3000)


def test_a_submission_is_the_same_whatever_its_lease_is():
    one = Submission(submit_id="0" * 32, workload="pipes")
    assert content_digest(one) == content_digest(one.model_copy(update={"lease_s": 5.0}))
    assert content_digest(one) != content_digest(one.model_copy(update={"seed": 5}))
