"""A trained policy as what other programs run: C99, or ONNX, in floats of 32 bits as it was trained.

Sums are taken in another order there than here, so scores agree to `TOLERANCE` and not bit for bit; a
decision can differ only where two scores are that close. Models of `train` are integers, and go into the
kernel, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna import __version__
from schedtuna.errors import MissingExtraError, PolicyError
from schedtuna.export.c_text import array, comment, float_array, identifier
from schedtuna.export.onnx import IR_VERSION, OPSET, run_onnx
from schedtuna.export.onnx_graph import OnnxGraph
from schedtuna.rl.policy import CLIP, EPSILON, TrainedPolicy

TOLERANCE = 1e-4  # of a score, as a part of 1 + the row's greatest
NR_ROWS = 32
_SEED = 1
_SPREAD = 3.0  # standard deviations, of the rows that check

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PolicyTarget:
    """A form.

    Attributes:
        help: What it is.
        files: Makes its files: of a policy, and of what their names begin with.
        advice: What to do with them.
    """

    help: str
    files: Callable[[TrainedPolicy, str], dict[str, bytes]]
    advice: str


def default_name(policy: TrainedPolicy) -> str:
    """Return what files are called: by the environment and the algorithm."""
    environment = policy.manifest.fit.environment.rpartition("/")[2]
    return identifier(f"{environment}_{policy.manifest.algorithm}")


def policy_c(policy: TrainedPolicy, name: str) -> dict[str, bytes]:
    """Return NAME.h, NAME.c and NAME_check.c: C99 that needs `tanhf`, or nothing."""
    texts = {
        f"{name}.h": _header(policy, name),
        f"{name}.c": _source(policy, name),
        f"{name}_check.c": _check(policy, name),
    }
    return {file: (_LICENCE + _banner(policy) + text).encode() for file, text in texts.items()}


def policy_onnx(policy: TrainedPolicy, name: str) -> dict[str, bytes]:
    """Return NAME.onnx.

    In: float32 ``observation`` [rows, observed], bool ``mask`` [rows, actions]. Out: float32 ``scores``
    [rows, actions], int64 ``decision`` [rows], the best that is allowed.

    Raises:
        MissingExtraError: The extra `onnx` is not installed.
        PolicyError: onnxruntime does not score as numpy does.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - nothing is written that it has not run
    except ImportError:
        raise MissingExtraError("exporting ONNX", "onnx") from None
    fit = policy.manifest.fit
    content = _graph(policy).file(
        onnx,
        {"observation": ("float32", fit.nr_observed), "mask": ("bool", fit.nr_actions)},
        {
            "environment": fit.environment,
            "algorithm": policy.manifest.algorithm,
            "observed": "\n".join(fit.features),
        },
    )
    observed = checking_rows(policy)
    mask = np.random.default_rng(_SEED).random((len(observed), fit.nr_actions)) < 0.7
    mask[:, -1] = True
    feed = {"observation": observed, "mask": mask}
    scores, decision = run_onnx(content, ["scores", "decision"], feed)
    expected = policy.network.scores(observed)
    if not (abs(scores - expected) <= _allowance(expected)).all():
        raise PolicyError("onnxruntime does not score the policy's observations as it should")
    if not (decision == np.where(mask, scores, -np.inf).argmax(axis=1)).all():
        raise PolicyError("onnxruntime does not take the best action that is allowed")
    return {f"{name}.onnx": content}


TARGETS: dict[str, PolicyTarget] = {
    "c": PolicyTarget(
        "C99 in floats, and the rows that check it",
        policy_c,
        "link with -lm; {name}_check() tells, where it runs, whether all is as it should be: 0 says so",
    ),
    "onnx": PolicyTarget(
        "ONNX in floats, compared with onnxruntime before it is written",
        policy_onnx,
        "give it observation [rows, observed] and mask [rows, actions]: decision is each row's action",
    ),
}


def checking_rows(policy: TrainedPolicy) -> Floats:
    """Return observations (NR_ROWS, observed) to compare by, within what was seen in training and beyond."""
    rng = np.random.default_rng(_SEED)
    mean, spread = policy.network.mean, _spread(policy)
    return (mean + _SPREAD * rng.standard_normal((NR_ROWS, len(mean))) * spread).astype(np.float32)


def _allowance(scores: np.ndarray) -> np.ndarray:
    allowance: np.ndarray = TOLERANCE * (1 + abs(scores).max(axis=1, keepdims=True))
    return allowance


def _spread(policy: TrainedPolicy) -> Floats:
    return np.sqrt(policy.network.variance + EPSILON).astype(np.float32)


def _graph(policy: TrainedPolicy) -> OnnxGraph:
    network = policy.network
    graph = OnnxGraph(OPSET, IR_VERSION, f"Schedtuna {__version__}")
    centred = graph.node("Sub", "observation", graph.constant(network.mean))
    scaled = graph.node("Div", centred, graph.constant(_spread(policy)))
    bounds = [graph.constant(np.float32(bound)) for bound in (-CLIP, CLIP)]
    hidden = graph.node("Clip", scaled, *bounds)
    for i, (weights, biases) in enumerate(network.layers):
        if i:
            hidden = graph.node("Tanh" if network.activation == "tanh" else "Relu", hidden)
        hidden = graph.node("Gemm", hidden, graph.constant(weights), graph.constant(biases), transB=1)
    allowed = graph.node("Where", "mask", hidden, graph.constant(np.float32(-np.inf)))
    best = graph.node("ArgMax", allowed, axis=1, keepdims=0, select_last_index=0)
    graph.result("scores", hidden, (policy.manifest.fit.nr_actions,), "float32")
    graph.result("decision", best, ())
    return graph


_LICENCE = "/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */\n"


def _banner(policy: TrainedPolicy) -> str:
    manifest = policy.manifest
    fit, algorithm, environment = manifest.fit, comment(manifest.algorithm), comment(manifest.fit.environment)
    names = "".join(f" *   {i:3} {comment(name)}\n" for i, name in enumerate(fit.features))
    return f"""/*
 * A policy of {algorithm} for {environment}. Written by Schedtuna {__version__}.
 * {fit.nr_observed} numbers observed, {fit.nr_actions} actions from 0.
{names} */
"""


def _header(policy: TrainedPolicy, name: str) -> str:
    upper, fit = name.upper(), policy.manifest.fit
    return f"""#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_NR_OBSERVED {fit.nr_observed}
#define {upper}_NR_ACTIONS {fit.nr_actions}

#ifdef __cplusplus
extern "C" {{
#endif

/* A score of each action, of an observation as the environment shows it. */
void {name}_scores(const float observation[{upper}_NR_OBSERVED], float scores[{upper}_NR_ACTIONS]);

/* The action of the best score among those whose mask is not 0, the first of equal ones; a null mask allows
 * all. -1: the mask allows none, or a score is none. */
int {name}_decide(const float observation[{upper}_NR_OBSERVED], const uint8_t *mask);

/* 0 if all is computed here as it should be; else 1 + the number of the first row that is not. */
int {name}_check(void);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _source(policy: TrainedPolicy, name: str) -> str:
    upper, network = name.upper(), policy.network
    tables = [float_array("mean", network.mean), float_array("spread", _spread(policy))]
    widths = [len(network.mean), *(len(biases) for _, biases in network.layers)]
    size = max(widths[:-1])
    steps = [f"\tfloat a[{size}]{f', b[{size}]' if len(widths) > 2 else ''};\n", _SCALE]
    now, then = "a", "b"
    for i, (weights, biases) in enumerate(network.layers):
        tables += _layer_tables(i, weights, biases)
        if i:
            steps.append(f"\tfor (int i = 0; i < {widths[i]}; i++)\n\t\t{now}[i] = activation({now}[i]);\n")
        then = "scores" if i == len(network.layers) - 1 else then
        tabled = ", ".join(f"{table}{i}" for table in ("weights", "columns", "begins", "biases"))
        steps.append(f"\tlayer({tabled}, {widths[i + 1]}, {now}, {then});\n")
        now, then = then, now
    body = "".join(steps).replace("NR_OBSERVED", f"{upper}_NR_OBSERVED")
    activation = "tanhf(x)" if network.activation == "tanh" else "x > 0 ? x : 0"
    return f"""#include "{name}.h"

#include <math.h>
#include <stddef.h>

{"".join(tables)}
static inline float activation(float x)
{{
	return {activation};
}}
{_LAYER}
void {name}_scores(const float observation[{upper}_NR_OBSERVED], float scores[{upper}_NR_ACTIONS])
{{
{body}}}

int {name}_decide(const float observation[{upper}_NR_OBSERVED], const uint8_t *mask)
{{
	float scores[{upper}_NR_ACTIONS], best = -INFINITY;
	int found = -1;

	{name}_scores(observation, scores);
	for (int i = 0; i < {upper}_NR_ACTIONS; i++)
		if ((mask == NULL || mask[i]) && scores[i] > best) {{
			best = scores[i];
			found = i;
		}}
	return found;
}}
"""


_SCALE = f"""
	for (int i = 0; i < NR_OBSERVED; i++) {{
		float x = (observation[i] - mean[i]) / spread[i];

		a[i] = x > {CLIP}f ? {CLIP}f : x < -{CLIP}f ? -{CLIP}f : x;
	}}
"""

_LAYER = """
/* Weights that are not 0: row i has those from begins[i] on. */
static void layer(const float *weights, const uint32_t *columns, const uint32_t *begins, const float *biases,
\t\t  int nr_rows, const float *x, float *y)
{
	for (int i = 0; i < nr_rows; i++) {
		float sum = biases[i];

		for (uint32_t k = begins[i]; k < begins[i + 1]; k++)
			sum += weights[k] * x[columns[k]];
		y[i] = sum;
	}
}
"""


def _layer_tables(i: int, weights: Floats, biases: Floats) -> list[str]:
    """A layer's weights that are not 0, row by row: a network of slots has few others."""
    rows, columns = weights.nonzero()
    begins = np.searchsorted(rows, np.arange(len(weights) + 1)).astype(np.uint32)
    padding = [0] if not len(rows) else []  # C has no empty arrays
    return [
        float_array(f"weights{i}", np.append(weights[rows, columns], np.zeros(len(padding), np.float32))),
        array(f"columns{i}", np.append(columns, padding).astype(np.uint32)),
        array(f"begins{i}", begins),
        float_array(f"biases{i}", biases),
    ]


def _check(policy: TrainedPolicy, name: str) -> str:
    upper, rows = name.upper(), checking_rows(policy)
    scores = policy.network.scores(rows).astype(np.float32)
    allowance = _allowance(scores).astype(np.float32).ravel()
    return f"""#include "{name}.h"

{float_array("observed", rows)}{float_array("expected", scores)}{float_array("allowance", allowance)}
int {name}_check(void)
{{
	for (int row = 0; row < {len(rows)}; row++) {{
		float scores[{upper}_NR_ACTIONS];

		{name}_scores(observed[row], scores);
		for (int i = 0; i < {upper}_NR_ACTIONS; i++) {{
			float off = scores[i] - expected[row][i];

			if (!(off <= allowance[row] && -off <= allowance[row]))
				return row + 1;
		}}
	}}
	return 0;
}}
"""
