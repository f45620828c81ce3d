// SPDX-License-Identifier: Apache-2.0
// Events in, task states out. src/schedtuna/trace/intervals.py calls this, and has the memory.
//
// What a step does in a state is not known here: the tables come from src/schedtuna/trace/states.py.
#include "trace_event.h"

#define NOBODY (-1)
#define IGNORED 255

// What is known of the task that has a tid now. _TASK_DTYPE of intervals.py.
struct task {
	int64_t since_ns;
	int64_t burst_ns;  // CPU time since its last sleep; negative: the trace does not see all of it
	int32_t number;
	uint16_t cpu;
	uint8_t state;
	uint8_t flags;
};
_Static_assert(sizeof(struct task) == 24, "_TASK_DTYPE has 24 bytes");

enum { KNOWN = 1, BEGAN_BEFORE = 2 };		      // of struct task
enum { CUTS = 1, BREAKS = 2, BEARS = 4 };	      // of effects
enum { RUNS = 1, SLEEPS = 2, HIDES = 4, WAITS = 8 };  // of kinds
enum { NOT_BEGUN, UNCHAINED, NOT_RECORDED };	      // Why of gaps.py

static const int64_t NOT_SEEN = INT64_MIN / 4;
static const int64_t NO_EVENT_YET = INT64_MAX;

// What is known of a CPU. _CPU_DTYPE of intervals.py.
struct cpu {
	int64_t current;   // NOBODY: no switch yet
	int64_t since_ns;  // its last switch
	int64_t begin_ns;  // what happened before is not known; NO_EVENT_YET
	int64_t nr_events;
	int64_t first_target_ns;  // when a task was first put on its queue by another CPU
};
_Static_assert(sizeof(struct cpu) == 40, "_CPU_DTYPE has 40 bytes");

// Times of which nobody knows what a CPU did. They grow at the end.
struct gaps {
	int64_t nr;
	int64_t *start_ns;
	int64_t *end_ns;
	uint16_t *cpu;
	uint8_t *why;
};

// _Machine of intervals.py.
struct machine {
	const uint8_t *step_of_event;  // by type << 4 | prev_state
	const uint8_t *after;	       // by state << 5 | step: the state afterwards
	const uint8_t *effects;	       // by state << 5 | step: what becomes of the interval
	const uint8_t *before_first;   // by step: the state before a tid's first
	const uint8_t *kinds;	       // by state: whether the task runs, sleeps, or nobody knows
	struct task *tasks;	       // by tid
	uint32_t *tids;		       // those seen, in the order of their first steps
	struct cpu *cpus;	       // by CPU
	int64_t start_ns;
	int64_t slack_ns;		     // how long before its first event a CPU's recording began, for all we know
	int64_t nr_stretches, nr_unchained;  // from a switch of a CPU to its next; those that don't fit together
	int64_t nr_tids;
	int32_t nr_tasks;
	uint8_t in, vanish;	// steps
	uint8_t unknown, dead;	// states
	uint8_t hides_idle;	// tid 0 stands for whoever was not recorded
	struct gaps gaps;	// room for two per event
	// Intervals that ended, written from 0 on.
	int64_t nr_intervals;
	int64_t *interval_start_ns;
	int64_t *interval_end_ns;
	int64_t *interval_burst_ns;
	int32_t *interval_task;
	uint32_t *interval_tid;
	uint16_t *interval_cpu;
	uint8_t *interval_state;
	uint8_t *interval_began_before;
};

static void end_interval(struct machine *m, const struct task *task, uint32_t tid, uint8_t state, int64_t end_ns)
{
	int64_t k = m->nr_intervals++;
	m->interval_start_ns[k] = task->since_ns;
	m->interval_end_ns[k] = end_ns;
	m->interval_burst_ns[k] = m->kinds[state] & SLEEPS && task->burst_ns > 0 ? task->burst_ns : 0;
	m->interval_task[k] = task->number;
	m->interval_tid[k] = tid;
	m->interval_cpu[k] = task->cpu;
	m->interval_state[k] = state;
	m->interval_began_before[k] = (task->flags & BEGAN_BEFORE) != 0;
}

static void add_gap(struct machine *m, uint16_t cpu, int64_t start_ns, int64_t end_ns, uint8_t why)
{
	if (end_ns <= start_ns)
		return;
	int64_t k = m->gaps.nr++;
	m->gaps.start_ns[k] = start_ns;
	m->gaps.end_ns[k] = end_ns;
	m->gaps.cpu[k] = cpu;
	m->gaps.why[k] = why;
}

static void meet(struct machine *m, struct task *task, uint32_t tid, uint8_t step, int64_t now_ns, uint16_t cpu)
{
	m->tids[m->nr_tids++] = tid;
	*task = (struct task){
		.since_ns = m->start_ns,
		.number = NOBODY,
		.state = m->before_first[step],
		.flags = KNOWN | BEGAN_BEFORE,
	};
	if (task->state == m->dead)
		return;
	task->number = m->nr_tasks++;
	int64_t begin_ns = m->cpus[cpu].begin_ns < now_ns ? m->cpus[cpu].begin_ns : now_ns;
	if (m->kinds[task->state] & RUNS && begin_ns > m->start_ns) {
		end_interval(m, task, tid, m->unknown, begin_ns);
		task->since_ns = begin_ns;
	}
}

// Whether a wait began before all is known of the CPUs on whose queues it was.
static int waited_unseen(const struct machine *m, const struct task *task, uint8_t step, uint16_t cpu)
{
	return step == m->in && m->kinds[task->state] & WAITS
	       && (task->since_ns < m->cpus[cpu].begin_ns || task->since_ns < m->cpus[task->cpu].begin_ns);
}

static void take_step(struct machine *m, uint32_t tid, uint8_t step, int64_t now_ns, uint16_t cpu)
{
	struct task *task = &m->tasks[tid];
	if (!(task->flags & KNOWN))
		meet(m, task, tid, step, now_ns, cpu);
	unsigned cell = (unsigned)task->state << 5 | step;
	uint8_t effect = m->effects[cell];
	if (!(effect & CUTS))
		return;
	if (waited_unseen(m, task, step, cpu))
		effect |= BREAKS;
	if (task->state != m->dead) {
		uint8_t state = effect & BREAKS ? m->unknown : task->state;
		end_interval(m, task, tid, state, now_ns);
		if (m->kinds[state] & RUNS)
			task->burst_ns += task->flags & BEGAN_BEFORE ? NOT_SEEN : now_ns - task->since_ns;
		else if (m->kinds[state] & (SLEEPS | HIDES))
			task->burst_ns = 0;
	}
	if (effect & BEARS) {
		task->number = m->nr_tasks++;
		task->burst_ns = 0;
	}
	task->state = m->after[cell];
	task->since_ns = now_ns;
	task->cpu = cpu;
	task->flags = KNOWN;
	if (task->state == m->dead)
		end_interval(m, task, tid, m->dead, now_ns);
}

// Whether a task leaves a CPU that it can't have been on since the CPU's recording began.
static int came_unseen(const struct machine *m, const struct sched_event *e)
{
	const struct task *task = &m->tasks[e->tid];
	uint8_t step = m->step_of_event[(uint8_t)(e->type << 4 | (e->prev_state & 15))];
	return e->tid && task->flags & KNOWN && step != IGNORED
	       && m->effects[(unsigned)task->state << 5 | step] & BREAKS;
}

static void take_switch(struct machine *m, const struct sched_event *e, int64_t now_ns)
{
	struct cpu *cpu = &m->cpus[e->cpu];
	int64_t ran = cpu->current, since_ns = cpu->since_ns;
	cpu->current = e->other_tid;
	cpu->since_ns = now_ns;
	if (ran == NOBODY) {
		if (m->hides_idle && !e->tid)
			add_gap(m, e->cpu, since_ns, now_ns, NOT_RECORDED);
		if (!came_unseen(m, e))
			return;
		m->nr_stretches++;
		m->nr_unchained++;
		add_gap(m, e->cpu, since_ns, now_ns, UNCHAINED);
		return;
	}
	m->nr_stretches++;
	if (ran != e->tid) {
		m->nr_unchained++;
		add_gap(m, e->cpu, since_ns, now_ns, UNCHAINED);
		if (ran)
			take_step(m, (uint32_t)ran, m->vanish, now_ns, e->cpu);
		if (e->tid)
			take_step(m, e->tid, m->vanish, now_ns, e->cpu);
	} else if (m->hides_idle && !ran) {
		add_gap(m, e->cpu, since_ns, now_ns, NOT_RECORDED);
	}
}

static void begin_cpu(struct machine *m, uint16_t cpu, int64_t now_ns)
{
	int64_t begin_ns = now_ns - m->slack_ns > m->start_ns ? now_ns - m->slack_ns : m->start_ns;
	m->cpus[cpu].begin_ns = m->cpus[cpu].since_ns = begin_ns;
	add_gap(m, cpu, m->start_ns, begin_ns, NOT_BEGUN);
}

// Take events in time order. Each ends up to 12 intervals: two tasks vanish, two step, each may be met, or die.
PUBLIC void schedtuna_take_events(struct machine *m, const struct sched_event *events, int64_t nr_events)
{
	m->nr_intervals = m->gaps.nr = 0;
	for (const struct sched_event *e = events; e < events + nr_events; e++) {
		int64_t now_ns = (int64_t)e->timestamp_ns;
		struct cpu *here = &m->cpus[e->cpu];
		here->nr_events++;
		if (here->begin_ns == NO_EVENT_YET)
			begin_cpu(m, e->cpu, now_ns);
		if (e->target_cpu != e->cpu
		    && (e->type == EVENT_WAKEUP || e->type == EVENT_WAKEUP_NEW || e->type == EVENT_MIGRATE)
		    && now_ns < m->cpus[e->target_cpu].first_target_ns)
			m->cpus[e->target_cpu].first_target_ns = now_ns;
		if (e->type == EVENT_SWITCH)
			take_switch(m, e, now_ns);
		uint8_t step = m->step_of_event[(uint8_t)(e->type << 4 | (e->prev_state & 15))];
		if (e->tid && step != IGNORED)
			take_step(m, e->tid, step, now_ns, e->target_cpu);
		if (e->type == EVENT_SWITCH && e->other_tid)
			take_step(m, e->other_tid, m->in, now_ns, e->target_cpu);
	}
}
