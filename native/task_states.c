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

enum { KNOWN = 1, BEGAN_BEFORE = 2 };      // of struct task
enum { CUTS = 1, BREAKS = 2, BEARS = 4 };  // of effects
enum { RUNS = 1, SLEEPS = 2, HIDES = 4 };  // of kinds

static const int64_t NOT_SEEN = INT64_MIN / 4;

// _Machine of intervals.py.
struct machine {
    const uint8_t *step_of_event;  // by type << 4 | prev_state
    const uint8_t *after;          // by state << 5 | step: the state afterwards
    const uint8_t *effects;        // by state << 5 | step: what becomes of the interval
    const uint8_t *before_first;   // by step: the state before a tid's first
    const uint8_t *kinds;          // by state: whether the task runs, sleeps, or nobody knows
    struct task *tasks;            // by tid
    uint32_t *tids;                // those seen, in the order of their first steps
    int64_t *on_cpu;               // by CPU
    int64_t start_ns;
    int64_t nr_tids;
    int32_t nr_tasks;
    uint8_t in, vanish;     // steps
    uint8_t unknown, dead;  // states
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

static void end_interval(struct machine *m, const struct task *task, uint32_t tid, uint8_t state,
                         int64_t end_ns) {
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

static void take_step(struct machine *m, uint32_t tid, uint8_t step, int64_t now_ns, uint16_t cpu) {
    struct task *task = &m->tasks[tid];
    if (!(task->flags & KNOWN)) {
        m->tids[m->nr_tids++] = tid;
        *task = (struct task){
            .since_ns = m->start_ns,
            .number = NOBODY,
            .state = m->before_first[step],
            .flags = KNOWN | BEGAN_BEFORE,
        };
        if (task->state != m->dead) task->number = m->nr_tasks++;
    }
    unsigned cell = (unsigned)task->state << 5 | step;
    uint8_t effect = m->effects[cell];
    if (!(effect & CUTS)) return;
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
    if (task->state == m->dead) end_interval(m, task, tid, m->dead, now_ns);
}

// Take events in time order. Each ends up to 8 intervals: two tasks vanish, two step, each may die.
PUBLIC void schedtuna_take_events(struct machine *m, const struct event *events, int64_t nr_events) {
    m->nr_intervals = 0;
    for (const struct event *e = events; e < events + nr_events; e++) {
        int64_t now_ns = (int64_t)e->timestamp_ns;
        if (e->type == SWITCH) {
            int64_t ran = m->on_cpu[e->cpu];
            m->on_cpu[e->cpu] = e->other_tid;
            if (ran != e->tid && ran != NOBODY) {
                if (ran) take_step(m, (uint32_t)ran, m->vanish, now_ns, e->cpu);
                if (e->tid) take_step(m, e->tid, m->vanish, now_ns, e->cpu);
            }
        }
        uint8_t step = m->step_of_event[(uint8_t)(e->type << 4 | (e->prev_state & 15))];
        if (e->tid && step != IGNORED) take_step(m, e->tid, step, now_ns, e->target_cpu);
        if (e->type == SWITCH && e->other_tid) take_step(m, e->other_tid, m->in, now_ns, e->target_cpu);
    }
}
