"""Settings that each CPU has a file for, on made-up files of the CPUs that are online here."""

import os
import signal

import pytest

from schedtuna.errors import KnobError, SpaceError, UnavailableError
from schedtuna.knobs import registry
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.conformance import check_knob
from schedtuna.knobs.cpu_files import CpuFilesKnob
from schedtuna.knobs.file_formats import number
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, FileSubject
from schedtuna.knobs.session import Changes
from schedtuna.knobs.undo import undo
from schedtuna.machine.topology import topology_now

MACHINE = Target(Scope.MACHINE)
CPUS = topology_now().online
OFFLINE = max(CPUS) + 1
needs_two = pytest.mark.skipif(len(CPUS) < 2, reason="one CPU is online")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


@pytest.fixture
def server(tmp_path):
    """Its folder; every CPU has a runtime of its own, in nanoseconds."""
    for cpu in (*CPUS, OFFLINE):
        folder = tmp_path / f"server/cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "runtime").write_text(f"{50_000_001 + 1000 * cpu}\n")
        (folder / "period").write_text("1000000000\n")
    return tmp_path / "server"


@pytest.fixture
def knob(server, monkeypatch):
    made = CpuFilesKnob(
        "server_runtime_us", (server / "runtime",), number(1000, 500_000, scale=1000, unit="us"), "a server"
    )
    known = registry.all_knobs()
    monkeypatch.setattr(registry, "all_knobs", lambda: (made, *known))
    monkeypatch.setattr("schedtuna.knobs.session.all_knobs", lambda: (made, *known))
    monkeypatch.setattr("schedtuna.knobs.session.knobs_for", lambda _scope: (made, *known))
    return made


def read(server):
    """What each CPU's file says in its first line, as a plain file keeps what was longer behind it."""
    return {cpu: (server / f"cpu{cpu}/runtime").read_text().split()[0] for cpu in (*CPUS, OFFLINE)}


def test_all_cpus_get_a_value_and_their_own_one_back(knob, server, journal):
    before = read(server)
    with Changes(MACHINE, journal) as changes:
        changes.apply({knob.name: 200_000})
        assert read(server) == dict.fromkeys(CPUS, "200000000") | {OFFLINE: before[OFFLINE]}
        assert knob.show(MACHINE) == 200_000
        assert knob.is_uniform(MACHINE)
    assert read(server) == before
    assert journal.open_records() == []


def test_it_keeps_the_contract(knob, journal):
    assert check_knob(knob, MACHINE, journal)


@needs_two
def test_the_lowest_value_is_shown_and_is_set_where_cpus_differ(knob, server, journal):
    before = read(server)
    found = knob.probe(MACHINE)
    assert found.ok
    assert f"50000 on CPU {CPUS[0]}, 50001 on CPU {CPUS[1]}" in found.hint
    assert knob.show(MACHINE) == 50_000
    with Changes(MACHINE, journal) as changes:
        changes.apply({knob.name: 50_000})
        assert {read(server)[cpu] for cpu in CPUS} == {"50000000"}
        assert knob.probe(MACHINE).hint == ""
    assert read(server) == before


@needs_two
@pytest.mark.parametrize("nth", range(len(CPUS) + 1))
def test_undo_puts_every_cpu_back_after_a_kill_at_any_step(knob, server, journal, nth):
    before = read(server)
    seen = []

    def on_step(name):
        seen.append(name)
        if sum(step.startswith(knob.name) for step in seen) == nth + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        Changes(MACHINE, Journal(journal.directory, on_step=on_step)).apply({knob.name: 200_000})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert {str(outcome.result) for outcome in undo(journal)} == {"restored"}
    assert read(server) == before


def test_no_value_is_above_the_period(knob, server):
    (server / f"cpu{CPUS[-1]}/period").write_text("100000000")
    assert knob.spec(MACHINE).max_value == 100_000
    with pytest.raises(SpaceError):
        knob.spec(MACHINE).validate_value(100_001)


def test_one_cpu_that_can_not_be_written_makes_it_unavailable(knob, server, journal):
    path = server / f"cpu{CPUS[-1]}/runtime"
    path.write_text("what?")
    assert str(path) in knob.probe(MACHINE).reason
    before = read(server)
    with pytest.raises(UnavailableError, match="says 'what"):
        Changes(MACHINE, journal).apply({knob.name: 200_000})
    assert read(server) == before


@pytest.mark.parametrize("path", ["cpu0/period", "runtime", "cpux/runtime", "../cpu0/runtime", "cpu/runtime"])
def test_revert_writes_only_to_files_of_the_knob(knob, server, journal, path):
    (record,) = journal.begin([Change(knob.name, FileSubject(path=server / path), "1", "2")])
    with pytest.raises(KnobError, match="names no file of this knob"):
        knob.revert(record)
