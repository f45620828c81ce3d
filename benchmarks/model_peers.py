"""What others offer for the models of `model_speed.py`, on the same rows, on one core: name to what times it.

ONNX Runtime (the net as floats, the way converters write it), XGBoost's `inplace_predict`, scikit-learn's
gradient boosting, LightGBM's C interface for single rows, TL2cgen's generated C. One that is not installed is
named with the reason. Trees are a hundred of 31 leaves on the same data everywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Timer = Callable[[], float]
NR_TREES, NR_LEAVES = 100, 31
_ONES = 200  # single rows in a call of a timer


def timed(run: Callable[[], object], count: int) -> float:
    """Nanoseconds of one of `count` things that a call does, in the best of eight calls."""
    best = math.inf
    for _ in range(8):
        started = time.perf_counter_ns()
        run()
        best = min(best, (time.perf_counter_ns() - started) / count)
    return best


def peers(
    booster: Any, data: np.ndarray, target: np.ndarray, rows: np.ndarray, folder: Path
) -> tuple[dict[str, Timer], dict[str, str]]:
    """Return what times each peer, batch and row by row, and why others are missing.

    Args:
        booster: LightGBM's.
        data: [rows, inputs] that trees are trained on.
        target: 0 or 1 of each.
        rows: [rows, inputs] to predict, float64.
        folder: For what is compiled.
    """
    found: dict[str, Timer] = {}
    missing: dict[str, str] = {}
    makers: dict[str, Callable[[], dict[str, Timer]]] = {
        "onnxruntime": lambda: _onnxruntime(rows),
        "xgboost": lambda: _xgboost(data, target, rows),
        "sklearn": lambda: _sklearn(data, target, rows),
        "lightgbm_c": lambda: _lightgbm_c(booster, rows),
        "tl2cgen": lambda: _tl2cgen(booster, rows, folder),
    }
    for name, make in makers.items():
        try:
            found |= make()
        except ImportError as error:
            missing[name] = str(error)
    return found, missing


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Native code's standard output, too."""
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _pair(
    name: str, predict: Callable[[np.ndarray], object], rows: np.ndarray, ones: int = _ONES
) -> dict[str, Timer]:
    one = rows[:1].copy()
    return {
        f"batch_{name}": lambda: timed(lambda: predict(rows), len(rows)),
        f"python_{name}": lambda: timed(lambda: [predict(one) for _ in range(ones)], ones),
    }


def _onnxruntime(rows: np.ndarray) -> dict[str, Timer]:
    """A net of the same size, in float32."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random, sizes, nodes, weights, at = np.random.default_rng(1), (rows.shape[1], 64, 64, 1), [], [], "x"
    for layer, (before, units) in enumerate(itertools.pairwise(sizes)):
        for name, shape in ((f"w{layer}", (before, units)), (f"b{layer}", (units,))):
            weights.append(numpy_helper.from_array(random.normal(0, 0.2, shape).astype(np.float32), name))
        out = "y" if units == 1 else f"sum{layer}"
        nodes.append(helper.make_node("Gemm", [at, f"w{layer}", f"b{layer}"], [out]))
        if units > 1:
            nodes.append(helper.make_node("Relu", [out], [at := f"hidden{layer}"]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("x", sizes[0]), ("y", 1))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return _pair("onnxruntime_mlp", lambda x: session.run(None, {"x": x}), rows.astype(np.float32))


def _xgboost(data: np.ndarray, target: np.ndarray, rows: np.ndarray) -> dict[str, Timer]:
    import xgboost

    settings = {
        "objective": "binary:logistic",
        "max_leaves": NR_LEAVES,
        "grow_policy": "lossguide",
        "max_depth": 0,
    }
    settings |= {"tree_method": "hist", "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(data, target), NR_TREES)
    return _pair(
        "xgboost", lambda x: booster.inplace_predict(x, predict_type="margin"), rows.astype(np.float32), 20
    )


def _sklearn(data: np.ndarray, target: np.ndarray, rows: np.ndarray) -> dict[str, Timer]:
    ensemble: Any = importlib.import_module("sklearn.ensemble")
    model = ensemble.HistGradientBoostingClassifier(
        max_iter=NR_TREES, max_leaf_nodes=NR_LEAVES, early_stopping=False
    )

    model.fit(data, target)
    return _pair("sklearn", model.decision_function, rows, 2)


def _lightgbm_c(booster: Any, rows: np.ndarray) -> dict[str, Timer]:
    """Its fastest way for one row (LGBM_BoosterPredictForMatSingleRowFast), called as ctypes can."""
    library, nr_inputs = importlib.import_module("lightgbm.basic")._LIB, rows.shape[1]
    config, raw_score, float64 = ctypes.c_void_p(), 1, 1
    done = library.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle,
        ctypes.c_int(raw_score),
        ctypes.c_int(0),
        ctypes.c_int(-1),
        ctypes.c_int(float64),
        ctypes.c_int32(nr_inputs),
        ctypes.c_char_p(b"num_threads=1"),
        ctypes.byref(config),
    )
    if done != 0:
        raise ImportError("LightGBM refused its own C interface")
    one, length, out = rows[:1].copy(), ctypes.c_int64(), np.empty(1)
    pointers = (ctypes.c_void_p(one.ctypes.data), ctypes.byref(length), ctypes.c_void_p(out.ctypes.data))
    predict = library.LGBM_BoosterPredictForMatSingleRowFast
    predict(config, *pointers)
    if abs(out[0] - booster.predict(one, raw_score=True)[0]) > 1e-9:
        raise ImportError("LightGBM's C interface says something else than its Python one")
    return {
        "python_lightgbm_c": lambda: timed(lambda: [predict(config, *pointers) for _ in range(_ONES)], _ONES)
    }


def _tl2cgen(booster: Any, rows: np.ndarray, folder: Path) -> dict[str, Timer]:
    tl2cgen: Any = importlib.import_module("tl2cgen")
    treelite: Any = importlib.import_module("treelite")
    library, text = folder / "peer.so", folder / "booster.txt"
    booster.save_model(str(text))
    with _stdout_on_stderr():  # it says there what it does
        model = treelite.frontend.load_lightgbm_model(str(text))
        tl2cgen.export_lib(
            model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 4}, nthread=1
        )
    predictor = tl2cgen.Predictor(str(library), nthread=1)
    return _pair("tl2cgen", lambda x: predictor.predict(tl2cgen.DMatrix(x), pred_margin=True), rows, 20)
