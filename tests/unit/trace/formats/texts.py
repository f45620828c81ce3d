"""What the tools print, cut from their real output."""

# ruff: noqa: E501  # the tools' lines are as long as they are

PERF_SCRIPT = b"""\
            perf 18264/18264 [000]  1853.582371345:       sched:sched_switch: prev_comm=perf prev_pid=18264 \
prev_prio=120 prev_state=D ==> next_comm=migration/0 next_pid=18 next_prio=0
     migration/0    18/18    [000]  1853.582390201: sched:sched_migrate_task: comm=perf pid=18264 prio=120 \
orig_cpu=0 dest_cpu=1
     migration/0    18/18    [000]  1853.582394112:       sched:sched_switch: prev_comm=migration/0 prev_pid=18 \
prev_prio=0 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
            perf 18264/18264 [001]  1853.582401000: sched:sched_stat_runtime: comm=perf pid=18264 runtime=9 [ns]
            perf 18264/18264 [001]  1853.582500001:       sched:sched_waking: comm=perf-exec pid=18266 prio=120 \
target_cpu=000
         swapper     0/0     [000]  1853.582562500:       sched:sched_switch: prev_comm=swapper/0 prev_pid=0 \
prev_prio=120 prev_state=R ==> next_comm=perf-exec next_pid=18266 next_prio=120
       perf-exec 18266/18266 [000]  1853.582600000: sched:sched_process_fork: comm=perf-exec pid=18266 \
child_comm=perf-exec child_pid=18270
       perf-exec 18266/18266 [000]  1853.582600100: sched:sched_wakeup_new: comm=perf-exec pid=18270 prio=120 \
target_cpu=001
       perf-exec 18266/18266 [000]  1853.582700000:       sched:sched_switch: prev_comm=perf-exec prev_pid=18266 \
prev_prio=120 prev_state=R+ ==> next_comm=perf-exec next_pid=18270 next_prio=120
"""

FTRACE = b"""\
# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
            bash-18823   [000] .....  3562.049722: sched_process_fork: comm=bash pid=18823 child_comm=bash \
child_pid=18828
            bash-18823   [000] d..2.  3562.050324: sched_wakeup_new: comm=bash pid=18828 prio=120 target_cpu=001
          pytest-11251   [000] d..3.  3562.051281: sched_waking: comm=kworker/0:1H pid=44 prio=100 target_cpu=000
          pytest-11251   [000] dN.4.  3562.051296: sched_wakeup: comm=kworker/0:1H pid=44 prio=100 target_cpu=000
          pytest-11251   [000] d..2.  3562.051301: sched_switch: prev_comm=pytest prev_pid=11251 prev_prio=120 \
prev_state=D ==> next_comm=kworker/0:1H next_pid=44 next_prio=100
    kworker/0:1H-44      [000] d..2.  3562.051337: sched_switch: prev_comm=kworker/0:1H prev_pid=44 \
prev_prio=100 prev_state=I ==> next_comm=my prog next_pid=11409 next_prio=120
       hackbench-18828   [001] .....  3562.052516: sched_process_exec: filename=/usr/bin/hackbench pid=18828 \
old_pid=18828
       hackbench-18828   [001] .....  3562.060000: sched_process_exit: comm=hackbench pid=18828 prio=120
CPU:1 [LOST 42 EVENTS]
          <idle>-0       [001] dNh4.  3562.070000: sched_wakeup: comm=my prog pid=11409 prio=120 target_cpu=001
"""

TRACE_CMD = b"""\
cpus=2
            bash-19440 [001]  3586.810163: sched_process_fork:   comm=bash pid=19440 child_comm=bash child_pid=19442
            bash-19440 [001]  3586.810174: sched_wakeup_new:     bash:19442 [120] CPU:001
            bash-19440 [001]  3586.810176: sched_switch:         bash:19440 [120] R ==> bash:19442 [120]
       hackbench-19442 [001]  3586.811804: sched_switch:         a:b:19442 [120] S ==> bash:19440 [120]
"""

# As report_sample.py of Android's simpleperf prints (made after its source, not cut from an output).
SIMPLEPERF = b"""\
# ========
# cmdline : simpleperf record -a -e sched:sched_switch,sched:sched_waking --duration 5
# ========
#
app\t101/101 [001] 100.000123: 1 sched:sched_waking:
\tffffffc0080f1a2c ttwu_do_wakeup ([kernel.kallsyms])
\ttracing data:
\t\tcommon_type : 63
\t\tcommon_pid : 101
\t\tcomm : my worker
\t\tpid : 202
\t\tprio : 120
\t\ttarget_cpu : 0

swapper\t0/0 [000] 100.000173: 1 sched:sched_switch:
\tffffffc009c8f9f4 __schedule ([kernel.kallsyms])
\ttracing data:
\t\tprev_comm : swapper/0
\t\tprev_pid : 0
\t\tprev_prio : 120
\t\tprev_state : 0
\t\tnext_comm : my worker
\t\tnext_pid : 202
\t\tnext_prio : 120

"""

VMSTAT_T = b"""\
procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu----- -----timestamp-----
 r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st                 UTC
12  0      0 21063084  31544 2449820    0    0  1656   696  429 19567 37 12 51  0  0 2026-11-21 02:55:07
14  1      8 21063084  31544 2449820    0    2   464     4  926 1474 94  5  0  1  0 2026-11-21 02:55:08
"""

PIDSTAT = b"""\
Linux 6.18.44 (vm) \t11/21/26 \t_x86_64_\t(2 CPU)

23:59:59      UID       PID    %usr %system  %guest   %wait    %CPU   CPU  Command
00:00:01        0         1    0.00    0.95    0.00    0.00    0.95     1  my prog
00:00:01     1000     25819   23,81    0.00    0.00   75.24   23.81     0  python
Average:        0         1    0.00    0.95    0.00    0.00    0.95     -  my prog
"""

PIDSTAT_H = b"""\
Linux 6.18.44 (vm) \t2026-11-21 \t_x86_64_\t(2 CPU)

# Time        UID       PID    %usr   VSZ     RSS   kB_rd/s   cswch/s  Command
1795229770        0         1    0.96   53436   21292    2.00      2.88  ksoftirqd/0
"""

DSTAT = b"""\
"Dstat 0.8.0 CSV output"
"Author:","Dag Wieers <dag@wieers.com>",,,,"URL:","http://dag.wieers.com/home-made/dstat/"
"Host:","vm",,,,"User:","root"
"Cmdline:","dstat -T -cdy --output d.csv 1 3",,,,"Date:","21 Nov 2026 02:56:10 UTC"
"epoch","total cpu usage",,,,,"dsk/total",,"system",,"load avg",,
"epoch","usr","sys","idl","wai","stl","read","writ","int","csw","1m","5m","15m"
1795229770.782,37.466,11.906,50.241,0.258,0.129,3392333.960,1403879.381,862.541,38920.177,10.980,36.100,42.500
1795229771.783,91,3,5,1,0,0,36864,574,702,10.750,35.640,42.310
"""
