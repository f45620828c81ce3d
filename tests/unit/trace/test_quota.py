"""Where a trace does not tell throttled tasks, is it said that a quota may be in its waits?"""

import io

from tests.unit.trace.formats.texts import FTRACE

from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sink import Collector

# A task that is alone on its CPU under a quota, as ftrace printed it on 7.3: 10 ms of every 100.
THROTTLED = b"""\
          <idle>-0       [000] d..2.    20.500000: sched_switch: prev_comm=swapper/0 prev_pid=0 \
prev_prio=120 prev_state=R ==> next_comm=hog next_pid=125 next_prio=120
             hog-125     [000] d..2.    20.510000: sched_switch: prev_comm=hog prev_pid=125 prev_prio=120 \
prev_state=R+ ==> next_comm=swapper/0 next_pid=0 next_prio=120
          <idle>-0       [000] d..2.    20.600000: sched_switch: prev_comm=swapper/0 prev_pid=0 \
prev_prio=120 prev_state=R ==> next_comm=hog next_pid=125 next_prio=120
             hog-125     [000] d..2.    20.610000: sched_switch: prev_comm=hog prev_pid=125 prev_prio=120 \
prev_state=R+ ==> next_comm=other next_pid=126 next_prio=120
"""


def leaving(state):
    """The hog leaves its CPU idle in another state."""
    return THROTTLED.replace(b"R+ ==> next_comm=swapper", state + b" ==> next_comm=swapper")


def analysis(text, window_s=None, **manifest):
    collector = Collector({"mode": "import", **manifest})
    sched_text.parse(io.BytesIO(text), collector)
    return Analysis(collector.trace(), window_s=window_s, allow_lost=True)


def test_a_runnable_task_that_leaves_an_idle_cpu_may_be_held_back():
    assert analysis(THROTTLED).nr_held_back == 1
    assert analysis(leaving(b"R")).nr_held_back == 1


def test_a_task_that_sleeps_or_is_preempted_is_not():
    assert analysis(leaving(b"S")).nr_held_back == 0
    assert analysis(FTRACE).nr_held_back == 0


def test_only_the_window_counts():
    assert analysis(THROTTLED, (0.05, 0.2)).nr_held_back == 0


def test_recordings_of_ours_tell_throttled_tasks_and_filtered_ones_have_no_idle_cpus():
    assert analysis(THROTTLED, mode="stream").nr_held_back == 0
    assert analysis(THROTTLED, filter={"comm": "hog"}).nr_held_back == 0
