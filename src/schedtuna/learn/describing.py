"""What is in a dataset, in figures for people?"""

from __future__ import annotations

from typing import Any

import numpy as np

from schedtuna.learn.dataset_form import SPLITS, Dataset

_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def about_labels(data: Dataset) -> list[dict[str, Any]]:
    """Return how many rows have which label; of numbers, how many lie in each quarter."""
    labels, split = data.labels(), data.column("split")
    if data.task.label == "number":
        edges = np.quantile(labels, _QUARTERS, method="nearest")
        places = np.clip(np.searchsorted(edges[1:-1], labels, side="right"), 0, len(edges) - 2)
        names = [f"{edges[i]:,} to {edges[i + 1]:,} {data.task.unit}" for i in range(len(edges) - 1)]
    else:
        places = labels
        names = ["others", "chosen"] if data.task.label == "choice" else data.card.classes
    found = []
    for number, name in enumerate(names):
        here = places == number
        found.append(
            {
                "label": name,
                "nr_rows": int(here.sum()),
                "share": float(here.mean()),
                **{side: int((here & (split == side)).sum()) for side in SPLITS},
            }
        )
    return found


def about_features(data: Dataset) -> list[dict[str, Any]]:
    """Return each feature's range and how many of its bins occur."""
    values, bins = data.features(), data.bins()
    return [
        {
            "feature": name,
            "least": int(values[:, k].min()),
            "median": int(np.quantile(values[:, k], 0.5, method="nearest")),
            "most": int(values[:, k].max()),
            "nr_bins_used": len(np.unique(bins[:, k])),
        }
        for k, name in enumerate(data.feature_names)
    ]
