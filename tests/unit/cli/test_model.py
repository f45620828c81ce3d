"""`schedtuna model`: shows, checks and exports what is a model, and says what is wrong with what is none."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys

import pytest
from tests import models

from schedtuna.cli.main import main
from schedtuna.export import parity
from schedtuna.model.file import write_model
from schedtuna.model.shipped import find_model
from schedtuna.model.trees import BoxTrees


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["model", *map(str, arguments)])
    told = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, told.out, told.err


@pytest.fixture
def forest(tmp_path):
    path = tmp_path / "forest.safetensors"
    write_model(models.make("trees"), path)
    return path


def test_show_says_which_inputs_decide(capsys):
    code, out, _ = run(capsys, "show", "migration")
    assert code == 0
    assert "logistic regression" in out and "stay, migrate" in out
    code, out, _ = run(capsys, "show", "migration", "--json")
    told = json.loads(out)
    changed = told["decisions_changed"]
    assert changed["src_load_permille"] > changed["nr_idle_cpus"] > 0
    assert told["inputs"][2] == {
        "name": "src_load_permille",
        "kind": "linear",
        "lo": -50,
        "hi": 1049,
        "nr_bins": 11,
        "per_octave": 0,
    }


def test_show_draws_a_tree_that_decides_as_the_model_does(capsys, forest):
    model = models.make("trees")
    code, out, _ = run(capsys, "show", forest, "--tree", 0)
    assert code == 0
    lines = [line.replace("|", " ").replace("`", " ").replace("--", "  ") for line in out.splitlines()]

    def leaf(at: int, values: dict[str, int]) -> int:
        """Follow the picture: a question's yes stands below it, its no further down at the same depth."""
        text = lines[at].replace("yes:", "").replace("no: ", "").strip()
        if not text.endswith("?"):
            return int(text)
        name, _, edge = text.rstrip("?").split()
        depth = len(lines[at + 1]) - len(lines[at + 1].lstrip())
        below = [n for n in range(at + 1, len(lines)) if len(lines[n]) - len(lines[n].lstrip()) == depth]
        return leaf(below[0] if values[name] < int(edge) else below[1], values)

    assert model.rows and isinstance(model.core, BoxTrees)
    for row in range(0, len(model.rows), 97):
        values = dict(zip((one.name for one in model.inputs), model.rows.values[row].tolist(), strict=True))
        expected = model.core.leaves[0, model.rows.accumulators[row, 0]]
        assert leaf(0, values) == expected


def test_show_refuses_a_tree_that_is_not_there(capsys, forest):
    assert run(capsys, "show", forest, "--tree", 20)[0] == 2
    assert "0 to 19" in run(capsys, "show", forest, "--tree", -1)[2]
    assert run(capsys, "show", "migration", "--tree", 0)[0] == 2


def test_check_runs_all_executors(capsys, forest):
    code, out, _ = run(capsys, "check", forest, "--json")
    assert code == 0
    found = {one["executor"]: one["outcome"] for one in json.loads(out)["executors"]}
    assert found["reference"] == found["generated C"] == "same"


def test_check_fails_where_one_differs(capsys, monkeypatch):
    monkeypatch.setitem(parity.EXECUTORS, "broken", lambda model: (False, "row 3"))
    code, out, err = run(capsys, "check", "migration")
    assert code == 1
    assert "broken" in out and "row 3" in out and "not what the reference computes: broken" in err


def test_check_without_a_compiler_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = run(capsys, "check", "migration")
    assert code == 0
    assert "not here" in out and "no C compiler" in out
    assert run(capsys, "export", "migration", "--to", "native", "-o", tmp_path / "x")[0] == 3


def test_export_writes_what_compiles_and_checks_itself(capsys, tmp_path):
    code, out, _ = run(capsys, "export", "migration", "--to", "c", "-o", tmp_path / "c", "--name", "mig")
    assert code == 0 and "mig_check()" in out
    folder = tmp_path / "c"
    assert {path.name for path in folder.iterdir()} == {"mig.c", "mig.h", "mig_check.c"}
    subprocess.run(
        [
            "gcc",
            "-std=c99",
            "-shared",
            "-fPIC",
            "-o",
            folder / "mig.so",
            folder / "mig.c",
            folder / "mig_check.c",
        ],
        check=True,
    )
    assert ctypes.CDLL(str(folder / "mig.so")).mig_check() == 0


def test_a_native_library_decides(capsys, tmp_path):
    code, out, _ = run(capsys, "export", "migration", "--to", "native", "-o", tmp_path, "--json")
    assert code == 0
    assert set(json.loads(out)["files"]) == {"migration.so", "migration.h"}
    library = ctypes.CDLL(str(tmp_path / "migration.so"))
    assert library.migration_check() == 0
    row = ctypes.c_int64 * 4
    assert [library.migration_decide(row(*values)) for values in ((2, 6, 900, 200), (4, 4, 500, 500))] == [
        1,
        0,
    ]


def test_export_replaces_nothing_unless_told(capsys, tmp_path):
    assert run(capsys, "export", "migration", "--to", "c", "-o", tmp_path)[0] == 0
    (tmp_path / "migration.c").write_text("mine")
    code, _, err = run(capsys, "export", "migration", "--to", "c", "-o", tmp_path)
    assert code == 2 and "--force" in err
    assert (tmp_path / "migration.c").read_text() == "mine"
    assert run(capsys, "export", "migration", "--to", "c", "-o", tmp_path, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("show", "migraton"), 1, "did you mean migration"),
        (("check", "/dev/null"), 1, "there is no model"),
        (("export", "migration", "--to", "cc", "-o", "x"), 2, "no such form"),
        (("export", "migration", "--to", "c", "-o", "x", "--name", "int"), 2, "no name for C"),
    ],
)
def test_mistakes_are_told(capsys, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    got, _, err = run(capsys, *arguments)
    assert got == code and told in err
    assert not (tmp_path / "x").exists()


def test_a_damaged_file_is_refused(capsys, forest):
    content = bytearray(forest.read_bytes())
    content[-1] ^= 1
    forest.write_bytes(bytes(content))
    code, _, err = run(capsys, "check", forest)
    assert code == 1 and "damaged" in err


def test_check_measures_in_the_kernel_and_keeps_a_budget(capsys):
    code, out, _ = run(capsys, "check", "migration", "--json")
    told = json.loads(out)
    outcome = {one["executor"]: one["outcome"] for one in told["executors"]}["kernel"]
    assert code == 0 and outcome in {"same", "not here"}
    code, _, err = run(capsys, "check", "migration", "--budget-ns", 1)
    if outcome == "not here":
        assert told["kernel_cost"] is None
        assert code == 3 and "--budget-ns needs the kernel" in err
    else:
        cost = told["kernel_cost"]
        assert cost["class_name"] == "linear" and cost["cold_ns"]["16"] > cost["cold_ns"]["0"]
        assert code == 1 and "1 ns are allowed" in err
        assert "after 16 MB" in run(capsys, "check", "migration", "--budget-ns", 10**9)[1]


def test_export_to_bpf_writes_what_a_program_needs(capsys, tmp_path, forest):
    code, out, _ = run(capsys, "export", forest, "--to", "bpf", "-o", tmp_path / "out", "--name", "forest")
    assert code == 0 and "see forest.md" in out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"forest.md", "forest.table", "forest.bpf.h", "model_trees_small.bpf.o", "model.h"} <= written
    assert "trees_small" in (tmp_path / "out/forest.md").read_text()


def test_export_to_onnx_writes_what_onnxruntime_runs(capsys, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    code, out, _ = run(capsys, "export", "migration", "--to", "onnx", "-o", tmp_path, "--name", "mig")
    assert code == 0 and "decision is the number of each row's label" in " ".join(out.split())
    session = onnxruntime.InferenceSession(tmp_path / "mig.onnx", providers=["CPUExecutionProvider"])
    model = find_model("migration")
    (decision,) = session.run(["decision"], {"values": model.rows.values})
    assert decision.tolist() == model.decide(model.rows.bins).tolist()
    assert {*decision.tolist()} == {0, 1}


def test_serve_answers_at_a_socket_until_it_is_ended(tmp_path):
    path = tmp_path / "decide"
    command = [
        sys.executable,
        "-m",
        "schedtuna",
        "model",
        "serve",
        "--model-path",
        "migration",
        "--socket",
        path,
    ]
    features = {"cpu": 4, "cpu_idle": 2, "cpu_not_idle": 6, "src_dom_load": 0.9, "dst_dom_load": 0.2}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert "answers at" in server.stderr.readline()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
            line.sendall(json.dumps({"id": 7, "features": features}).encode() + b"\n")
            assert json.loads(line.recv(1000)) == {"id": 7, "decision": "migrate"}
        server.send_signal(signal.SIGTERM)
        told = server.communicate()[1]
    assert server.returncode == 130 and "1 requests in 1 batches, 0 refused" in told
    assert not path.exists()


@pytest.mark.parametrize(("content", "told"), [(None, "there is no model"), (b"nonsense", "nonsense.bin")])
def test_serve_refuses_what_is_no_model(content, told, capsys, tmp_path):
    path = tmp_path / "nonsense.bin"
    if content is not None:
        path.write_bytes(content)
    code, out, error = run(capsys, "serve", "--model-path", path)
    assert (code, out) == (1, "") and told in error
