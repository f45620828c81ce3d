"""What programs show of a study that do not show it themselves."""

from types import SimpleNamespace

from schedtuna.tune.progress import ProgressLines


def test_each_phase_shows_its_first_and_last_run(capsys):
    show = ProgressLines()
    for phase, nr_runs in (("search", 5), ("confirmation", 12)):
        for done in range(1, nr_runs + 1):
            trial = SimpleNamespace(reason="it broke\nall of it" if done == nr_runs else "")
            record = SimpleNamespace(phase=phase, trial=trial)
            show(SimpleNamespace(record=record, done=done, total=nr_runs))  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "search: run 1 of at most 5",
        "search: run 5 of at most 5: it broke",
        "confirmation: run 1 of at most 12",
        "confirmation: run 12 of at most 12: it broke",
    ]
