"""An exported policy decides as the policy does, in C compiled here and in onnxruntime."""

import ctypes
import json
import subprocess

import numpy as np
import pytest

pytest.importorskip("safetensors")

from tests.commands import run_schedtuna
from tests.unit.rl.test_policy import FIT, make_policy

from schedtuna.errors import PolicyError
from schedtuna.export.compiled import find_compiler
from schedtuna.rl.exported import TARGETS, TOLERANCE, checking_rows, default_name
from schedtuna.rl.policy import Network, PolicyFit, TrainedPolicy
from schedtuna.rl.pretrained import find_policy

WIDE = PolicyFit(environment="Odd */ id-v0", nr_observed=9, nr_actions=5)


def with_relu(policy):
    network = policy.network
    relu = Network(network.layers, "relu", network.mean, network.variance)
    return TrainedPolicy(policy.manifest.model_copy(update={"activation": "relu"}), relu)


def policies():
    rng = np.random.default_rng(3)
    flat = make_policy(rng, (), WIDE)
    blind = TrainedPolicy(
        flat.manifest,
        Network(
            ((np.zeros((5, 9), np.float32), flat.network.layers[0][1]),),
            "tanh",
            flat.network.mean,
            flat.network.variance,
        ),
    )
    return {
        "tanh": make_policy(rng, (7, 6), WIDE),
        "relu": with_relu(make_policy(rng, (40,), WIDE)),
        "no hidden layer": flat,
        "blind": blind,
        "pretrained": find_policy("pretrained"),
    }


@pytest.fixture(params=policies())
def policy(request):
    return policies()[request.param]


def observed(policy):
    """What it was trained near, and far beyond, where it is clipped; masks that allow something, and none."""
    rng = np.random.default_rng(9)
    rows = np.concatenate(
        [checking_rows(policy)[:16], rng.normal(0, 1e4, (8, policy.manifest.fit.nr_observed))]
    )
    mask = rng.random((len(rows), policy.manifest.fit.nr_actions)) < 0.5
    mask[:, 0] = True
    return rows.astype(np.float32), mask


def require_same(policy, rows, mask, scores, decision):
    expected = policy.network.scores(rows)
    off = TOLERANCE * (1 + abs(expected).max(axis=1, keepdims=True))
    assert (abs(scores - expected) <= off).all()
    allowed = np.sort(np.where(mask, expected, -np.inf), axis=1)
    clear = (allowed[:, -1:] - allowed[:, -2:-1] > 2 * off).ravel()
    assert clear.sum() > len(rows) / 2
    assert np.array_equal(decision[clear], policy.act(rows, mask)[clear])


def compiled(files, folder, name):
    for file, content in files.items():
        (folder / file).write_bytes(content)
    sources = [folder / f"{name}.c", folder / f"{name}_check.c"]
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
    subprocess.run([find_compiler(), *flags, "-o", folder / "policy.so", *sources, "-lm"], check=True)
    return ctypes.CDLL(str(folder / "policy.so"))


def test_c_decides_as_the_policy(policy, tmp_path):
    name = default_name(policy)
    library = compiled(TARGETS["c"].files(policy, name), tmp_path, name)
    assert library[f"{name}_check"]() == 0
    rows, mask = observed(policy)
    scores = np.zeros(mask.shape, np.float32)
    for row, into in zip(rows, scores, strict=True):
        library[f"{name}_scores"](row.ctypes, into.ctypes)
    masks = mask.astype(np.uint8)
    decide = library[f"{name}_decide"]
    decision = np.array([decide(row.ctypes, one.ctypes) for row, one in zip(rows, masks, strict=True)])
    require_same(policy, rows, mask, scores, decision)
    assert [decide(row.ctypes, None) for row in rows] == scores.argmax(axis=1).tolist()
    assert decide(rows[0].ctypes, np.zeros_like(masks[0]).ctypes) == -1
    assert decide(np.full_like(rows[0], np.nan).ctypes, None) in {-1, *range(mask.shape[1])}


def test_onnx_decides_as_the_policy(policy):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    [content] = TARGETS["onnx"].files(policy, "p").values()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rows, mask = observed(policy)
    scores, decision = session.run(["scores", "decision"], {"observation": rows, "mask": mask})
    require_same(policy, rows, mask, scores, decision)


def test_c_that_computes_something_else_says_so(tmp_path):
    policy = policies()["tanh"]
    files = TARGETS["c"].files(policy, "p")
    broken = files["p.c"].replace(b"tanhf(x)", b"x")
    assert broken != files["p.c"]
    assert compiled({**files, "p.c": broken}, tmp_path, "p").p_check() > 0


def test_a_runtime_that_computes_something_else_is_noticed(monkeypatch):
    pytest.importorskip("onnxruntime")
    policy = policies()["tanh"]
    monkeypatch.setattr(Network, "scores", lambda self, rows: np.zeros((len(rows), WIDE.nr_actions)))
    with pytest.raises(PolicyError, match="does not score"):
        TARGETS["onnx"].files(policy, "p")


def test_the_command_writes_what_compiles(tmp_path):
    def schedtuna(*argv, code=0):
        done = run_schedtuna("rl", "export", *argv, cwd=tmp_path, timeout=120)
        assert done.returncode == code, done.stderr
        return done

    told = json.loads(schedtuna("pretrained", "--to", "c", "-o", "c", "--name", "mine", "--json").stdout)
    assert told["files"] == {path.name: path.stat().st_size for path in (tmp_path / "c").iterdir()}
    assert set(told["files"]) == {"mine.h", "mine.c", "mine_check.c"}
    again = schedtuna("pretrained", "--to", "c", "-o", "c", "--name", "mine", code=2)
    assert "c/mine.h already exists" in again.stderr
    assert "known: c, onnx" in schedtuna("pretrained", "--to", "bpf", "-o", "c", code=2).stderr
    assert "no name for C" in schedtuna("pretrained", "--to", "c", "-o", "c", "--name", "a-b", code=2).stderr
    assert "nowhere" in schedtuna("nowhere", "--to", "c", "-o", "c", code=1).stderr


def test_its_name_is_of_environment_and_algorithm():
    assert default_name(make_policy(np.random.default_rng(1), fit=FIT)) == "picknext_v0_ppo"
