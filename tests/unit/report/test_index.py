"""One page over many studies: what is read of them, and what the page shows."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from schedtuna.cli.main import main
from schedtuna.errors import UsageError
from schedtuna.evidence.result import Verdict
from schedtuna.history.verdicts import find_verdicts
from schedtuna.machine.manifest import build_manifest
from schedtuna.report.index import render_index

HEADER = {"format": "schedtuna-trials", "version": 1, "identity": {}}

CONTENT = {
    "version": 1,
    "scheduler": "fair",
    "places": [{"kind": "host"}, {"kind": "host"}],
    "metric": "time_s",
    "direction": "min",
    "default": "default",
    "candidate": "fair:nice=3",
    "verdict": "improved",
    "effect": {"ratio": 0.8, "ci95": [0.7, 0.9], "pairs": 6},
}


def study(results, name, *, began_at=0.0, command=("bench",), kernel="6.18.1", **fields):
    folder = results / name
    folder.mkdir(parents=True)
    (folder / "trials.jsonl").write_text(json.dumps(HEADER) + "\n")
    manifest = build_manifest(command)
    machine = manifest.machine.model_copy(update={"kernel_release": kernel})
    manifest = manifest.model_copy(update={"machine": machine, "created_at": began_at})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    (folder / "comparison.json").write_text(json.dumps(CONTENT | fields))
    return folder


class Shown(HTMLParser):
    """The rows that a browser would show, and where they link to."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.scripts = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "tr" and "data-workload" in found:
            self.rows.append(found)
        if tag == "a":
            self.links.append(found["href"])
        self.scripts += tag == "script"


def shown(results):
    return Shown(render_index(*find_verdicts([results]), where=results, title="t"))


def test_studies_are_read_oldest_first(tmp_path):
    study(
        tmp_path, "b", began_at=2.0, verdict="worse", effect={"ratio": 1.5, "ci95": [1.2, None], "pairs": 5}
    )
    study(tmp_path, "deep/a", began_at=1.0)
    found, without = find_verdicts([tmp_path])
    assert [one.folder.name for one in found] == ["a", "b"]
    assert without == {}
    assert (found[1].verdict, found[1].low, found[1].high, found[1].nr_pairs) == (
        Verdict.WORSE,
        1.2,
        math.inf,
        5,
    )
    assert found[0].kernel == "6.18.1"


def test_a_searched_study_has_its_winner_spelt(tmp_path):
    folder = study(
        tmp_path, "a", candidate={"nice": 3, "autogroup": False}, place={"kind": "vm", "kernel": "7.3.4"}
    )
    content = json.loads((folder / "comparison.json").read_text())
    del content["places"]
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "comparison.json").unlink()
    [found], _ = find_verdicts([tmp_path])
    assert found.candidate == "fair:nice=3,autogroup=false"
    assert found.kernel == "7.3.4 (vm)"


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"version": 99}',
        '{"version": 1}',
        "\xff",
        '{"effect": {"ratio": "NaN", "ci95": [1, 1], "pairs": 2}}',
        json.dumps(CONTENT | {"effect": {"ratio": 0.8, "ci95": [0.7, 0.9], "pairs": math.inf}}),
    ],
)
def test_what_has_no_usable_verdict_is_listed_with_the_reason(tmp_path, damage):
    study(tmp_path, "good")
    bad = study(tmp_path, "bad")
    (bad / "comparison.json").write_text(damage)
    unfinished = study(tmp_path, "unfinished")
    (unfinished / "comparison.json").unlink()
    found, without = find_verdicts([tmp_path])
    assert [one.folder.name for one in found] == ["good"]
    assert str(bad) in without[bad]
    assert "no verdict" in without[unfinished]
    page = render_index(found, without, where=tmp_path, title="t")
    assert "2 folders" in page


@pytest.mark.parametrize("began_at", [math.nan, math.inf, 1e308, 1e18, -1.0])
def test_a_study_of_no_possible_time_is_none(tmp_path, began_at):
    bad = study(tmp_path, "bad")
    manifest = json.loads((bad / "manifest.json").read_text()) | {"created_at": began_at}
    (bad / "manifest.json").write_text(json.dumps(manifest))
    found, without = find_verdicts([tmp_path])
    assert found == []
    assert str(bad) in without[bad]
    render_index(found, without, where=tmp_path, title="t")


def test_the_page_groups_links_and_marks_what_changed(tmp_path):
    first = study(tmp_path, "a b#1", began_at=1.0, kernel="6.17")
    (first / "report.html").write_text("")
    study(tmp_path, "c", began_at=2.0, kernel="6.18")
    study(tmp_path, "d", began_at=3.0, command=("other",))
    text = render_index(*find_verdicts([tmp_path]), where=tmp_path / "pages", title="t")
    page = Shown(text)
    assert [row["data-workload"] for row in page.rows] == ["other", "bench", "bench"]
    assert page.links == ["../a%20b%231/report.html"]
    assert re.findall(r'class="changed">([^<]*)<', text) == ["6.18"]
    assert "http" not in text.replace("http-equiv", "")


def test_a_bundled_load_is_called_by_its_name(tmp_path):
    study(tmp_path, "a", command=("/usr/bin/python3", "-I", "mix.py"), workload="interactive-mix")
    study(tmp_path, "b", command=("bench", "a b"))
    assert {row["data-workload"] for row in shown(tmp_path).rows} == {"bench 'a b'", "interactive-mix"}


def test_foreign_text_stays_text(tmp_path):
    hostile = "</script><script>alert(1)</script>\"'><img src=x onerror=y>"
    study(
        tmp_path,
        "a",
        command=(hostile,),
        candidate=hostile,
        default=hostile,
        metric=hostile,
        scheduler=hostile,
    )
    page = shown(tmp_path)
    assert page.scripts == 1
    assert page.rows[0]["data-scheduler"] == hostile


@pytest.mark.parametrize(
    ("effect", "arrows"),
    [
        ({"ratio": 1.0, "ci95": [0.9, 1.1], "pairs": 4}, 0),
        ({"ratio": 1.0, "ci95": [None, 1.1], "pairs": 4}, 1),
        ({"ratio": 30.0, "ci95": [0.001, None], "pairs": 4}, 2),
        ({"ratio": 0.0, "ci95": [0.0, 0.0], "pairs": 4}, 1),
    ],
)
def test_an_interval_that_goes_on_has_an_arrow(tmp_path, effect, arrows):
    study(tmp_path, "a", effect=effect)
    text = render_index(*find_verdicts([tmp_path]), where=tmp_path, title="t")
    assert text.count('class="end"') == arrows
    assert "nan" not in text
    assert 'inf"' not in text


def test_the_command_writes_the_page_and_says_where(tmp_path, capsys):
    study(tmp_path, "a")
    for _ in range(2):  # an own page is replaced
        with pytest.raises(SystemExit) as ended:
            main(["report", "--index", str(tmp_path)])
        assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "with a verdict: 1, without: 0",
        f"index: {tmp_path}/index.html",
    ]
    assert len(Shown((tmp_path / "index.html").read_text()).rows) == 1
    with pytest.raises(SystemExit):
        main(["report", "--index", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["studies"][0]["ci95"] == [0.7, 0.9]


def test_a_folder_that_is_none_is_refused(tmp_path, capsys):
    with pytest.raises(UsageError, match="is not a folder"):
        find_verdicts([tmp_path / "nope"])
    with pytest.raises(SystemExit) as ended:
        main(["report", "--index", str(tmp_path / "nope")])
    assert ended.value.code == 2
    assert "nope is not a folder" in capsys.readouterr().err
