"""`schedtuna model import`: nets of other libraries decide as they did, or are refused by name."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.cli.test_model import run

from schedtuna.model.decider import MigrationDecider
from schedtuna.model.file import read_model

NAMES = ("cpu", "cpu_idle", "cpu_not_idle", "src_dom_load", "dst_dom_load", *(f"spare_{n}" for n in range(5)))
SIZES = (10, 64, 64, 1)
KERAS_SIZES = (10, 16, 8, 1)
DATA = Path(__file__).parents[2] / "data/nets"


def made_rows(count: int = 1500, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    counts, loads = random.integers(0, 64, (count, 3)), random.random((count, 2))
    return np.concatenate([counts, loads, np.zeros((count, 5))], axis=1)


def made_layers(sizes=SIZES, seed: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    """A net about whose decisions inputs matter, and that decides both."""
    random = np.random.default_rng(seed)
    layers = []
    units = made_rows()[:, : sizes[0]]
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        weights = random.normal(0, np.sqrt(2 / before), (after, before))
        weights /= np.maximum(units.std(axis=0), 1e-9) if number == 0 else 1
        if number == 0:
            weights[:, 5:] = 0.5  # of the spare inputs: only what they are worth goes into biases
        biases = -np.median(units @ weights.T, axis=0)
        layers.append((weights.astype(np.float32), biases.astype(np.float32)))
        units = np.maximum(units @ weights.T + biases, 0)
    return layers


def decided(layers, rows: np.ndarray) -> np.ndarray:
    units = rows
    for number, (weights, biases) in enumerate(layers):
        units = units @ weights.T.astype(float) + biases
        units = units if number == len(layers) - 1 else np.maximum(units, 0)
    return units[:, 0] > 0


def onnx_file(path: Path, layers, *, ends: str = "Sigmoid", between: str = "Relu", gemm: bool = True) -> Path:
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    known, nodes, last = [], [], "x"
    for number, (weights, biases) in enumerate(layers):
        given = weights if gemm else weights.T.copy()
        known += [numpy_helper.from_array(given, f"w{number}"), numpy_helper.from_array(biases, f"b{number}")]
        if gemm:
            nodes.append(
                helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"s{number}"], transB=1)
            )
        else:
            nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]))
            nodes.append(helper.make_node("Add", [f"m{number}", f"b{number}"], [f"s{number}"]))
        last = f"s{number}"
        kind = between if number < len(layers) - 1 else ends
        if kind:
            nodes.append(helper.make_node(kind, [last], [f"a{number}"]))
            last = f"a{number}"
    value = helper.make_tensor_value_info
    sizes = len(layers[0][0][0]), len(layers[-1][1])
    graph = helper.make_graph(
        nodes, "net", [value("x", 1, ["rows", sizes[0]])], [value(last, 1, ["rows", sizes[1]])], known
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def keras_file(path: Path, _layers) -> Path:
    """What Keras 3.15.1 wrote of made_layers(KERAS_SIZES): Dense layers, relu and sigmoid."""
    path.write_bytes((DATA / f"keras_3.15.1{path.suffix}").read_bytes())
    return path


def torch_net(layers):
    torch = pytest.importorskip("torch")
    parts = []
    for weights, biases in layers:
        part = torch.nn.Linear(weights.shape[1], len(biases))
        part.weight.data, part.bias.data = torch.from_numpy(weights), torch.from_numpy(biases)
        parts += [part, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1], torch.nn.Sigmoid()).eval()


def torch_file(path: Path, layers) -> Path:
    torch = pytest.importorskip("torch")
    net = torch_net(layers)
    if path.suffix == ".pt2":
        rows = {0: torch.export.Dim.DYNAMIC}
        torch.export.save(torch.export.export(net, (torch.zeros(2, 10),), dynamic_shapes=(rows,)), path)
    else:
        torch.save(net.state_dict(), path)
    return path


def tflite_file(path: Path, _layers) -> Path:
    """What TensorFlow's converter made of the net that Keras wrote."""
    pytest.importorskip("ai_edge_litert", reason="the extra 'tflite' is not installed")
    path.write_bytes((DATA / "tensorflow_2.21.0.tflite").read_bytes())
    return path


def saved_model(path: Path, _layers) -> Path:
    """What Keras' export wrote of the same net; `.module`: tf.saved_model.save, of its arithmetic."""
    writer = "tensorflow_2.21.0" if path.suffix == ".module" else "keras_3.15.1"
    shutil.copytree(DATA / f"{writer}.saved_model", path)
    return path


WRITERS = {
    ".onnx": onnx_file,
    ".keras": keras_file,
    ".h5": keras_file,
    ".pt2": torch_file,
    ".pt": torch_file,
    ".tflite": tflite_file,
    ".saved_model": saved_model,
    ".module": saved_model,
}
OF_KERAS = (".keras", ".h5", ".tflite", ".saved_model", ".module")


@pytest.fixture
def rows(tmp_path) -> Path:
    path: Path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([NAMES, *made_rows().tolist()])
    return path


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_imported_net_decides_as_it_did(suffix, capsys, tmp_path, rows):
    if suffix in (".keras", ".h5"):
        pytest.importorskip("h5py")
    layers = made_layers(KERAS_SIZES if suffix in OF_KERAS else SIZES)
    net, out = WRITERS[suffix](tmp_path / f"net{suffix}", layers), tmp_path / "mine.safetensors"
    code, text, error = run(capsys, "import", net, "--rows", rows, "-o", out, "--json")
    assert code == 0, error
    told, model = json.loads(text), read_model(out)
    assert model.labels == ("stay", "migrate") and told["decisions_changed"] < 0.03
    assert told["fixed"] == {f"spare_{n}": 0 for n in range(5)}
    assert bool(told["assumed"]) == (suffix == ".pt")
    others = made_rows(seed=5)
    found = MigrationDecider(model).decide_batch(others.astype(np.float32))
    expected = decided(layers, others)
    assert 0.2 < expected.mean() < 0.8
    assert (found != expected).mean() < 0.03


def test_what_it_costs_is_counted(capsys, tmp_path, rows):
    layers = made_layers()
    net, out = onnx_file(tmp_path / "net.onnx", layers, gemm=False), tmp_path / "mine.safetensors"
    code, text, error = run(capsys, "import", net, "--rows", rows, "-o", out)
    assert code == 0 and "spare_0 = 0" in text + error
    changed = MigrationDecider(out).decide_batch(made_rows().astype(np.float32)) != decided(
        layers, made_rows()
    )
    assert f"decides {changed.sum()} of 1500 rows" in text


def bad_activation(path):
    return onnx_file(path.with_suffix(".onnx"), made_layers(), between="Tanh")


def without_relu(path):
    return onnx_file(path.with_suffix(".onnx"), made_layers(), between="")


def too_wide(path):
    return onnx_file(path.with_suffix(".onnx"), made_layers((10, 65, 1)))


def too_deep(path):
    return onnx_file(path.with_suffix(".onnx"), made_layers((10, 8, 8, 8, 1)))


def not_finite(path):
    layers = made_layers()
    layers[1][0][3, 3] = np.nan
    return onnx_file(path.with_suffix(".onnx"), layers)


def whole_module(path):
    torch = pytest.importorskip("torch")
    torch.save(torch_net(made_layers()), path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def a_folder(path):
    path.mkdir()
    return path


def of_another_kind(path):
    path.with_suffix(".pb").write_bytes(b"TFL3")
    return path.with_suffix(".pb")


def of_integers(path):
    pytest.importorskip("ai_edge_litert", reason="the extra 'tflite' is not installed")
    path.with_suffix(".tflite").write_bytes((DATA / "tensorflow_2.21.0_int8.tflite").read_bytes())
    return path.with_suffix(".tflite")


REFUSED = {
    bad_activation: "Tanh",
    without_relu: "has to be a ReLU",
    too_wide: "65 units",
    too_deep: "4 dense layers",
    not_finite: "not finite",
    whole_module: "state_dict",
    a_folder: "SavedModel",
    of_integers: "QUANTIZE can't be represented",
    of_another_kind: "no such kind",
}


@pytest.mark.parametrize("write", REFUSED, ids=lambda one: one.__name__)
def test_what_it_can_not_be_is_refused_by_name(write, capsys, tmp_path, rows):
    code, _, error = run(capsys, "import", write(tmp_path / "net"), "--rows", rows, "-o", tmp_path / "out")
    assert code in (1, 2) and REFUSED[write] in " ".join(error.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [one for one in WRITERS if WRITERS[one] is not saved_model])
def test_damaged_files_are_refused(suffix, capsys, tmp_path, rows):
    if suffix in (".keras", ".h5"):
        pytest.importorskip("h5py")
    whole = WRITERS[suffix](tmp_path / f"net{suffix}", made_layers()).read_bytes()
    for number, content in enumerate((b"", whole[: len(whole) // 2], b"PK\3\4" + bytes(100), whole[::-1])):
        net = tmp_path / f"bad_{number}{suffix}"
        net.write_bytes(content)
        code, _, error = run(capsys, "import", net, "--rows", rows, "-o", tmp_path / "out")
        assert code == 1 and "Traceback" not in error, error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,a\n1,2\n", "the same"),
        ("a,b\n1\n", "line 2"),
        ("a,b\n1,2\n3,x\n", "line 3"),
        ("a,b\n1,2\n", "takes 10 values"),
        (",".join(NAMES) + "\n" + ",".join(["nan"] * 10) + "\n", "finite"),
        (",".join(NAMES) + "\n" + ",".join(["1"] * 10) + "\n", "same in all rows"),
    ],
)
def test_bad_rows_are_refused(text, told, capsys, tmp_path):
    net = onnx_file(tmp_path / "net.onnx", made_layers())
    (tmp_path / "rows.csv").write_text(text)
    code, _, error = run(capsys, "import", net, "--rows", tmp_path / "rows.csv", "-o", tmp_path / "out")
    assert code == 1 and told in " ".join(error.split())
