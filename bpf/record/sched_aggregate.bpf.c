// SPDX-License-Identifier: GPL-2.0
/*
 * Every scheduling decision, counted in the kernel: histograms and sums per task.
 *
 * One program runs per context switch and none per wakeup: since when a task has waited is what the
 * kernel's own accounting knows (struct sched_info), and what it waited for follows from why it left
 * its CPU before. So the sums agree with /proc/<tid>/schedstat to the nanosecond.
 *
 * A task's statistics live as long as the task, and leave through `exits` at its last switch. Who wants no
 * more than the sums of all tasks (`only_sums`) reads those of the CPUs, and nothing leaves.
 */
#include "clock.bpf.h"
#include "compat.bpf.h"
#include "filter.bpf.h"
#include "sensed.h"
#include "task.bpf.h"
#include "task_stats.h"

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_stats);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} exits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* number of CPUs */
	__type(key, __u32);
	__type(value, struct cpu_stats);
} cpus SEC(".maps");

const volatile bool only_sums = false;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* number of CPUs; with only_sums */
	__type(key, __u32);
	__type(value, struct cpu_delays);
} delays SEC(".maps");

/* Of each CPU: its last-level cache << 16 | its memory node. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* number of CPUs */
	__type(key, __u32);
	__type(value, __u32);
} places SEC(".maps");

static __always_inline __u32 bucket(__u64 duration_ns)
{
	__u64 units = duration_ns >> BUCKET_SHIFT;
	__u32 octave = 0, index;
	__u64 rest = units;

	if (units < 4)
		return units;
	if (rest >> 16) {
		rest >>= 16;
		octave += 16;
	}
	if (rest >> 16) {
		rest >>= 16;
		octave += 16;
	}
	if (rest >> 8) {
		rest >>= 8;
		octave += 8;
	}
	if (rest >> 4) {
		rest >>= 4;
		octave += 4;
	}
	if (rest >> 2) {
		rest >>= 2;
		octave += 2;
	}
	octave += rest >> 1;
	index = (octave - 1) * 4 + ((units >> (octave - 2)) & 3);
	return index < NR_BUCKETS ? index : NR_BUCKETS - 1;
}

static __always_inline void count(struct task_stats *stats, __u32 histogram, __u64 duration_ns)
{
	stats->histograms[histogram & (NR_HISTOGRAMS - 1)][bucket(duration_ns) & (NR_BUCKETS - 1)]++;
}

static __always_inline struct cpu_stats *this_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cpus, &cpu);
}

/*
 * The statistics of a task that is recorded; NULL of one that is not, or without memory. Then the next
 * switch tries again, so only a task that runs for the first or last time loses anything: that is counted.
 */
static __always_inline struct task_stats *stats_of(struct task_struct *task, struct cpu_stats *cpu)
{
	struct task_stats *stats;

	if (filtering()) {
		/* What a task was when it was met decides: it keeps its statistics whatever it becomes. */
		stats = bpf_task_storage_get(&tasks, task, 0, 0);
		if (stats || !task_wanted(task))
			return stats;
	} else if ((__u32)task->tgid == recorder_tgid) {
		return NULL;
	}
	stats = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!stats && cpu && (!task->sched_info.pcount || task->flags & PF_EXITING))
		cpu->nr_unrecorded++;
	return stats;
}

/*
 * What time is it, on the runqueue's clock? That a task was queued "now", or the CPU comes from idle,
 * shows that the clock may be stale. Before going idle, and now and then, it is compared.
 */
static __always_inline __u64 time_now(struct cpu_stats *cpu, struct task_struct *prev, struct task_struct *next)
{
	__u64 clock_ns = rq_clock(next), now_ns;

	if (!next->pid || !(cpu->nr_switches & 63))
		compare_clocks(&cpu->clock, clock_ns, bpf_ktime_get_ns());
	if ((prev->pid && clock_ns != next->sched_info.last_queued) || !cpu->clock.at_ns)
		return clock_ns;
	now_ns = bpf_ktime_get_ns() - cpu->clock.offset_ns;
	return (__s64)(now_ns - clock_ns) > 0 ? now_ns : clock_ns;
}

static __always_inline void leave_kernel(struct task_stats *stats, struct task_struct *task, __u64 now_ns)
{
	fill_task_row(&stats->task, task, bpf_ktime_get_ns(), stats->flags & STATS_DEAD ? TASK_EXIT : TASK_SNAPSHOT);
	stats->now_ns = now_ns;
	stats->queued_ns = task->sched_info.last_queued;
}

static __always_inline void count_turnaround(struct cpu_stats *cpu, __u64 turnaround_ns)
{
	cpu->turnaround_ns += turnaround_ns;
	cpu->nr_turnarounds++;
	if (turnaround_ns > cpu->turnaround_max_ns)
		cpu->turnaround_max_ns = turnaround_ns;
	cpu->turnarounds[bucket(turnaround_ns >> TURNAROUND_SHIFT) & (NR_BUCKETS - 1)]++;
}

static __always_inline void emit_exit(struct task_stats *stats, struct task_struct *task, __u64 now_ns,
				      struct cpu_stats *cpu)
{
	stats->flags |= STATS_DEAD;
	leave_kernel(stats, task, now_ns);
	stats->turnaround_ns = stats->task.timestamp_ns - task->start_time;
	if (stats->flags & STATS_BORN)
		count_turnaround(cpu, stats->turnaround_ns);
	if (!only_sums && bpf_ringbuf_output(&exits, stats, sizeof(*stats), BPF_RB_NO_WAKEUP))
		cpu->nr_exits_lost++;
}

static __always_inline void sum_delay(__u32 class, __u64 delay_ns)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_delays *sums = bpf_map_lookup_elem(&delays, &cpu);

	if (!sums || class >= NR_SUMMED_DELAYS)
		return;
	sums->delay_ns[class] += delay_ns;
	sums->nr_delays[class]++;
	sums->histograms[class][bucket(delay_ns) & (NR_BUCKETS - 1)]++;
}

static __always_inline void add_delay(struct task_stats *stats, __u32 class, __u64 delay_ns)
{
	stats->delay_ns[class] += delay_ns;
	stats->nr_delays[class]++;
	if (delay_ns > stats->delay_max_ns[class])
		stats->delay_max_ns[class] = delay_ns;
	if (class < TIME_SLICES)
		count(stats, class, delay_ns);
	if (only_sums)
		sum_delay(class, delay_ns);
}

static __always_inline void add_blocked(struct task_stats *stats, __u32 class, __u64 now_ns, __u64 delay_ns)
{
	__s64 blocked_ns = now_ns - stats->off_cpu_ns - delay_ns;

	stats->nr_blocked[class]++;
	if (blocked_ns > 0) /* clocks of two CPUs may differ a little */
		stats->blocked_ns[class] += blocked_ns;
}

/* A task that was met before runs since now_ns; of the time that it did not, it waited delay_ns. */
static __always_inline void end_wait(struct task_stats *stats, __u64 now_ns, __u64 delay_ns)
{
	switch (stats->waiting_for) {
	case 0:
		break;
	case 1 + PREV_PREEMPTED:
	case 1 + PREV_RUNNABLE:
		add_delay(stats, DELAY_PREEMPT, delay_ns);
		break;
	case 1 + PREV_THROTTLED:
		add_delay(stats, DELAY_THROTTLED, delay_ns);
		break;
	case 1 + PREV_BLOCKED:
		add_blocked(stats, BLOCKED_WAIT, now_ns, delay_ns);
		add_delay(stats, DELAY_WAKEUP, delay_ns);
		break;
	case 1 + PREV_IO:
		add_blocked(stats, BLOCKED_IO, now_ns, delay_ns);
		add_delay(stats, DELAY_WAKEUP, delay_ns);
		break;
	default:
		add_blocked(stats, BLOCKED_SLEEP, now_ns, delay_ns);
		add_delay(stats, DELAY_WAKEUP, delay_ns);
	}
	stats->waiting_for = 0;
	stats->on_cpu_ns = now_ns;
}

/* A task that a snapshot found before its first switch was met there; only its switches write the rest. */
static __always_inline bool met_when_found(struct task_stats *stats)
{
	if (!stats->found_ns)
		return false;
	stats->met_ns = stats->found_ns;
	stats->cpu_time_seen_ns = stats->found_cpu_time_ns;
	stats->schedstat_run_delay_seen_ns = stats->found_run_delay_ns;
	return true;
}

static __always_inline void switch_in(struct task_stats *stats, struct task_struct *next, __u64 now_ns)
{
	__u64 queued_ns = next->sched_info.last_queued, delay_ns;

	if (!stats->met_ns && met_when_found(stats))
		stats->waiting_for = 1 + PREV_PREEMPTED; /* it waits since before counting began, who knows why */
	/* What sched_info_arrive() is about to add to run_delay, with what migrations while waiting added. */
	delay_ns = next->sched_info.run_delay - stats->schedstat_run_delay_seen_ns;
	if (queued_ns)
		delay_ns += now_ns - queued_ns;
	if ((__s64)delay_ns < 0)
		delay_ns = 0;
	if (stats->met_ns) {
		end_wait(stats, now_ns, delay_ns);
		return;
	}
	stats->met_ns = now_ns;
	stats->on_cpu_ns = now_ns;
	stats->cpu_time_seen_ns = next->se.sum_exec_runtime;
	if (next->sched_info.pcount) {
		/* It is older than the recording: when its wait began is not known. */
		stats->schedstat_run_delay_seen_ns = next->sched_info.run_delay
						     + (queued_ns ? rq_clock(next) - queued_ns : 0);
		return;
	}
	stats->flags |= STATS_BORN;
	add_delay(stats, DELAY_FIRST_RUN, delay_ns);
}

static __always_inline void switch_out(struct task_stats *stats, struct task_struct *prev, __u64 now_ns, bool preempt,
				       __u32 state)
{
	__u64 arrival_ns = prev->sched_info.last_arrival;
	__u64 cpu_time_ns = prev->se.sum_exec_runtime, run_delay_ns = prev->sched_info.run_delay;

	if (!stats->met_ns && stats->flags & STATS_BORN && prev->sched_info.pcount == 1) {
		/* Its first switch-in was not seen, but it was accounted, and all it waited for was to run at all. */
		stats->met_ns = arrival_ns;
		stats->on_cpu_ns = arrival_ns;
		add_delay(stats, DELAY_FIRST_RUN, run_delay_ns);
	} else if (!stats->met_ns) {
		if (!met_when_found(stats)) {
			stats->met_ns = now_ns;
			stats->cpu_time_seen_ns = cpu_time_ns;
			stats->schedstat_run_delay_seen_ns = run_delay_ns;
		}
	} else if (!stats->on_cpu_ns && (__s64)(arrival_ns - stats->off_cpu_ns) >= 0) {
		/* Its switch-in was not seen (some guests' kernels hide switches), but it was accounted. */
		end_wait(stats, arrival_ns, run_delay_ns - stats->schedstat_run_delay_seen_ns);
	}
	if (stats->on_cpu_ns) {
		count(stats, TIME_SLICES, now_ns - stats->on_cpu_ns);
		stats->nr_runs++;
		stats->on_cpu_ns = 0;
	}
	stats->run_ns += cpu_time_ns - stats->cpu_time_seen_ns;
	stats->cpu_time_seen_ns = cpu_time_ns;
	stats->off_cpu_ns = now_ns;
	stats->schedstat_run_delay_ns += run_delay_ns - stats->schedstat_run_delay_seen_ns;
	stats->schedstat_run_delay_seen_ns = run_delay_ns;
	stats->waiting_for = 1 + prev_state_class(preempt, prev, state);
	if (preempt || !state)
		stats->nr_involuntary++;
	else
		stats->nr_voluntary++;
}

static __always_inline void count_switch(struct cpu_stats *cpu, __u64 now_ns, bool to_idle, bool from_idle)
{
	cpu->nr_switches++;
	if (from_idle && cpu->idle_since_ns)
		cpu->idle_ns += now_ns - cpu->idle_since_ns;
	if (to_idle)
		cpu->idle_since_ns = now_ns;
}

SEC("tp_btf/sched_switch")
int on_switch(__u64 *ctx)
{
	bool preempt = ctx[0];
	struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];
	struct cpu_stats *cpu = this_cpu();
	struct task_stats *stats;
	__u64 now_ns;
	__u32 state;

	if (!cpu)
		return 0;
	now_ns = time_now(cpu, prev, next);
	count_switch(cpu, now_ns, !next->pid, !prev->pid);
	if (prev->pid) {
		stats = stats_of(prev, cpu);
		if (stats) {
			state = switch_has_prev_state ? (__u32)ctx[3] : task_state(prev);
			switch_out(stats, prev, now_ns, preempt, state);
			if (state & TASK_DEAD)
				emit_exit(stats, prev, now_ns, cpu);
		}
	}
	if (next->pid) {
		stats = stats_of(next, cpu);
		if (stats)
			switch_in(stats, next, now_ns);
	}
	return 0;
}

/* Memory for a new task is taken before it runs, so that none goes without where many are forked at once. */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	struct task_stats *stats = stats_of(task, NULL);

	if (stats && !stats->met_ns)
		stats->flags |= STATS_BORN;
	return 0;
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(on_migrate, struct task_struct *task, int target_cpu)
{
	__u32 from_cpu = task_cpu(task), to_cpu = target_cpu, *from, *to;
	struct task_stats *stats = stats_of(task, NULL);

	if (!stats)
		return 0;
	from = bpf_map_lookup_elem(&places, &from_cpu);
	to = bpf_map_lookup_elem(&places, &to_cpu);
	if (!from || !to)
		return 0;
	if ((*from & 0xffff) != (*to & 0xffff))
		stats->nr_migrations[MIGRATED_CROSS_NODE]++;
	else if (*from != *to)
		stats->nr_migrations[MIGRATED_CROSS_LLC]++;
	else
		stats->nr_migrations[MIGRATED_SAME_LLC]++;
	return 0;
}

/* Only with filter_tree. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	tree_fork(parent, child);
	return 0;
}

/*
 * A task that runs, or waits to run, since before counting began has no switch by which it is met, and
 * may never have one. Both its CPU time and its runqueue's clock are those of the last tick.
 */
static __always_inline struct task_stats *find_task(struct task_struct *task)
{
	__u64 queued_ns = task->sched_info.last_queued, clock_ns;
	struct task_stats *stats;

	if (!task_on_cpu(task) && (!queued_ns || task_throttled(task)))
		return bpf_task_storage_get(&tasks, task, 0, 0);
	stats = stats_of(task, NULL);
	if (!stats || stats->met_ns || stats->found_ns || !task->sched_info.pcount)
		return stats;
	clock_ns = rq_clock(task);
	stats->found_cpu_time_ns = task->se.sum_exec_runtime;
	stats->found_run_delay_ns = task->sched_info.run_delay + (queued_ns ? clock_ns - queued_ns : 0);
	barrier();
	stats->found_ns = clock_ns;
	return stats;
}

SEC("iter/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct cpu_stats *cpu = this_cpu();
	struct task_stats *stats;

	if (!task || !cpu)
		return 0;
	stats = find_task(task);
	if (!stats || stats->flags & STATS_DEAD)
		return 0;
	leave_kernel(stats, task, bpf_ktime_get_ns() - cpu->clock.offset_ns);
	bpf_seq_write(ctx->meta->seq, stats, sizeof(*stats));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
