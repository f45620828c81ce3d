"""Who ran on which CPU? A picture of switches in numpy: a row per CPU, time from left to right."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import IDLE_TID, EventArray, EventType

Picture = npt.NDArray[np.uint8]
WIDTH = 800  # pixels of time
ROW, GAP = 18, 4  # pixels of a CPU, and between two
IDLE = (38, 42, 50)
BACKGROUND = (16, 18, 22)
_MOST_ROWS = 64  # CPUs beyond are left out, as a picture would be too large to look at
_GOLDEN = 0.618_033_988_75  # of the circle of hues, so that neighbours differ


def strip(events: EventArray, *, nr_cpus: int, begin_ns: int, end_ns: int, width: int = WIDTH) -> Picture:
    """Return a picture of who ran from one time to another.

    A pixel has the colour of whoever ran at its middle; tasks have their own, by tid. Before time 0 there is
    nothing.

    Args:
        events: From the beginning on, or at least from each CPU's last switch before `begin_ns`.
        nr_cpus: How many there are; the first 64 are drawn.
        begin_ns: Of the picture's left edge.
        end_ns: Of its right edge.
        width: In pixels.

    Returns:
        (height, width, 3), 8 bits each of red, green and blue.
    """
    switches = events[events["type"] == EventType.SWITCH]
    times = begin_ns + (np.arange(width) + 0.5) * ((end_ns - begin_ns) / width)
    nr_rows = min(nr_cpus, _MOST_ROWS)
    picture = np.empty((nr_rows * (ROW + GAP) + GAP, width, 3), np.uint8)
    picture[:] = BACKGROUND
    for cpu in range(nr_rows):
        own = switches[switches["cpu"] == cpu]
        tids = np.concatenate([[IDLE_TID], own["other_tid"].astype(np.int64)])
        shown = tids[np.searchsorted(own["timestamp_ns"], times, side="right")]
        top = GAP + cpu * (ROW + GAP)
        picture[top : top + ROW, times >= 0] = _colours(shown[times >= 0])
    return picture


def _colours(tids: npt.NDArray[np.int64]) -> Picture:
    """The colour of each task; idle is dark."""
    found, places = np.unique(tids, return_inverse=True)
    palette = [IDLE if tid == IDLE_TID else _colour(int(tid)) for tid in found]
    return np.array(palette, np.uint8).reshape(-1, 3)[places]


def _colour(tid: int) -> tuple[int, int, int]:
    lightness = (0.52, 0.66, 0.44)[tid % 3]
    red, green, blue = colorsys.hls_to_rgb(tid * _GOLDEN % 1.0, lightness, 0.62)
    return round(255 * red), round(255 * green), round(255 * blue)
