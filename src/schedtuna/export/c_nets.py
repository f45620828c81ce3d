"""What computes a net in C: tables, and a function that fills accumulators.

Where there is memory, weights are stored input by input, and units computed 32 at a time: compilers then
keep their sums in vectors, of which none has to be added up across. Products of two inputs are added in 16
bits: at most 2 x 127 x 127, or in the first layer one of 255 x 127.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schedtuna.export.c_text import HEAD, array
from schedtuna.model.core import Core
from schedtuna.model.nets import MOST_HIDDEN, Mlp, StepNet

_LANES = 32  # units at a time: of 16, GCC makes single numbers


def net_code(core: Core, _nr_bins: Sequence[int], small: bool) -> str:
    """Return the tables and `run` of a net."""
    assert isinstance(core, Mlp | StepNet)
    return _plain(core) if small else _in_lanes(core)


def _padded(count: int) -> int:
    return -(-count // _LANES) * _LANES


def _in_lanes(core: Mlp | StepNet) -> str:
    last = len(core.weights) - 1
    text = declared = body = ""
    offset = 0
    for layer, weights in enumerate(core.weights[:last]):
        units, inputs = weights.shape
        table = np.zeros((_padded(inputs) if layer else inputs, _padded(units)), np.int16)
        table[:inputs, :units] = weights.T
        biases = np.zeros(_padded(units), np.int32)
        biases[:units] = core.biases[layer]
        text += array(f"WEIGHTS_{layer}", table) + array(f"BIASES_{layer}", biases)
        declared += f"\tint16_t hidden_{layer}[{_padded(units)}];\n"
        body += _layer_in_lanes(core, layer, offset)
        offset += 2 * units
    logits, inputs = core.weights[last].shape
    text += array(f"WEIGHTS_{last}", core.weights[last].astype(np.int16))
    text += array(f"BIASES_{last}", core.biases[last])
    body += f"""
	for (int unit = 0; unit < {logits}; unit++) {{
		int32_t sum = BIASES_{last}[unit];

		for (int input = 0; input < {inputs}; input++)
			sum += WEIGHTS_{last}[unit][input] * hidden_{last - 1}[input];
		logits[unit] = sum;
		if (accumulators)
			accumulators[{offset} + unit] = sum;
	}}
"""
    return text + HEAD + declared + body + "}\n"


def _layer_in_lanes(core: Mlp | StepNet, layer: int, offset: int) -> str:
    units, inputs = core.weights[layer].shape
    product = f"WEIGHTS_{layer}[input{{0}}][first + lane] * in{{0}}"
    if layer:
        source = f"hidden_{layer - 1}"
        taken = f"const int16_t in = {source}[input], in_1 = {source}[input + 1];"
        term, step = f"{product.format('')} + {product.format('_1').replace('input_1', 'input + 1')}", 2
    else:
        taken, step = "const int16_t in = (int16_t)x[input];", 1
        term = _term(core, layer, product.format(""))
    return f"""
	for (int first = 0; first < {_padded(units)}; first += {_LANES}) {{
		int32_t sums[{_LANES}];

		for (int lane = 0; lane < {_LANES}; lane++)
			sums[lane] = BIASES_{layer}[first + lane];
		for (int input = 0; input < {inputs}; input += {step}) {{
			{taken}

			for (int lane = 0; lane < {_LANES}; lane++)
				sums[lane] += (int16_t)({term});
		}}
		for (int lane = 0; lane < {_LANES}; lane++) {{
			const int32_t sum = sums[lane];
{_activation(core, layer)}			hidden_{layer}[first + lane] = (int16_t)value;
		}}
		for (int lane = 0; accumulators && lane < {_LANES} && first + lane < {units}; lane++) {{
			accumulators[{offset} + first + lane] = sums[lane];
			accumulators[{offset + units} + first + lane] = hidden_{layer}[first + lane];
		}}
	}}
"""


def _term(core: Mlp | StepNet, layer: int, product: str) -> str:
    """What a weight adds to a sum; of a step net's first layer, rounded by itself."""
    if layer or not isinstance(core, StepNet) or not core.shift:
        return product
    return f"({product} + {1 << core.shift >> 1}) >> {core.shift}"


def _plain(core: Mlp | StepNet) -> str:
    """Unit by unit: the least of tables and code."""
    text, body, offset, source = "", "", 0, "x"
    last = len(core.weights) - 1
    declared = "".join(f"\tuint8_t hidden_{layer}[{len(core.weights[layer])}];\n" for layer in range(last))
    for layer, weights in enumerate(core.weights):
        text += array(f"WEIGHTS_{layer}", weights) + array(f"BIASES_{layer}", core.biases[layer])
        units, inputs = weights.shape
        product = _term(core, layer, f"WEIGHTS_{layer}[unit][input] * {source}[input]")
        body += f"""
	for (int unit = 0; unit < {units}; unit++) {{
		int32_t sum = BIASES_{layer}[unit];

		for (int input = 0; input < {inputs}; input++)
			sum += {product};
"""
        if layer == last:
            body += f"""		logits[unit] = sum;
		if (accumulators)
			accumulators[{offset} + unit] = sum;
	}}
"""
            break
        body += f"""{_activation(core, layer)}		hidden_{layer}[unit] = (uint8_t)value;
		if (accumulators) {{
			accumulators[{offset} + unit] = sum;
			accumulators[{offset + units} + unit] = value;
		}}
	}}
"""
        offset += 2 * units
        source = f"hidden_{layer}"
    return text + HEAD + declared + body + "}\n"


def _activation(core: Mlp | StepNet, layer: int) -> str:
    if isinstance(core, StepNet):
        return "\t\tconst int32_t value = sum >= 0;\n\n"
    shift = core.shifts[layer]
    rounded = f"(sum + {1 << shift >> 1}) >> {shift}" if shift else "sum"
    return f"""		int32_t value = {rounded};

		value = value < 0 ? 0 : value > {MOST_HIDDEN} ? {MOST_HIDDEN} : value;
"""
