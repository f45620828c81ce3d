"""How did the system develop over a window of samples? Average, change and percent change of each metric."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence


def window_features(
    samples: Sequence[tuple[int, Mapping[str, float]]],
) -> dict[str, float]:
    """Return `NAME.average`, `NAME.change` and `NAME.percent_change` for every metric of the samples.

    The average is over time: each sample stands for the time since the one before (the first for as
    long as the second). The change is from the first sample to the last; of rates per second it is
    the change of the rate, not the sum. The percent change is relative to the first; NaN from zero.

    Args:
        samples: (timestamp in ns, metrics), in time order, as `SystemSampler.sample()` returns them.
    """
    if not samples:
        return {}
    times = [timestamp for timestamp, _ in samples]
    lengths = [later - earlier for earlier, later in itertools.pairwise(times)]
    weights = [lengths[0], *lengths] if lengths else [1]
    features: dict[str, float] = {}
    for name in samples[0][1]:
        if not all(name in values for _, values in samples):
            continue
        values = [metrics[name] for _, metrics in samples]
        total = sum(weights)
        average = sum(v * w for v, w in zip(values, weights, strict=True)) / total if total else values[-1]
        change = values[-1] - values[0]
        percent = 100 * change / abs(values[0]) if values[0] else (0.0 if not change else math.nan)
        features |= {f"{name}.average": average, f"{name}.change": change, f"{name}.percent_change": percent}
    return features
