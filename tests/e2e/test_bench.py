"""`schedtuna bench` as a user types it."""

from __future__ import annotations

import json

import pytest

from schedtuna.cli.main import main

pytest.importorskip("stable_baselines3")


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["bench", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def test_its_parts_are_listed(bench):
    code, out, _ = bench("list")
    assert code == 0 and out.startswith("SchedBench 1, sha256 ")
    assert all(f"{kind} " in out for kind in ("track", "family", "certificate", "dataset"))
    code, out, _ = bench("list", "--json")
    assert code == 0 and {"version", "sha256", "parts"} == set(json.loads(out))


def test_an_entry_is_run_verified_and_refused_once_it_was_changed(bench, tmp_path):
    code, out, _ = bench("run", "stride:quantum_us=3000", "-o", "own.json", "--episodes", 8)
    assert code == 0 and "heavy-tail" in out and "schedtuna bench verify own.json" in out
    code, _, err = bench("run", "fair", "-o", "own.json", "--episodes", 8)
    assert code == 2 and "is there already" in err
    code, out, _ = bench("verify", "own.json", "--episodes", 8)
    assert code == 0 and "verified: its episodes give what it claims" in out
    code, out, _ = bench("verify", "own.json", "--episodes", 8, "--date", "2100-01-01", "--json")
    told = json.loads(out)
    assert code == 0 and told["is_verified"] and told["drawn_from"].endswith(" 2100-01-01")
    own = tmp_path / "own.json"
    own.write_text(own.read_text().replace("quantum_us=3000", "quantum_us=30"))
    code, out, _ = bench("verify", "own.json", "--episodes", 8)
    assert code == 1 and "refused: its content is not what its own hash is of" in out


def test_mistakes_say_what_was_expected(bench):
    for arguments, message in (
        (("run", "las", "--track", "one_cpu"), "no track 'one_cpu'"),
        (("run", "las", "--episodes", 4), "do not tell how they vary"),
        (("run", "lass", "--episodes", 8), "can't tell what 'lass' would do"),
        (("verify", "nothing.json"), "nothing.json can't be read"),
    ):
        code, _, err = bench(*arguments)
        assert code in (1, 2) and message in err
    assert bench("verify", "x.json", "--date", "tomorrow")[0] == 2


def test_a_run_without_a_file_tells_its_figures(bench):
    code, out, _ = bench("run", "srtf", "--episodes", 8, "--json")
    told = json.loads(out)
    assert code == 0 and told["file"] is None and told["nr"] == 8
    assert told["score"] < 0.9  # it sees sizes
