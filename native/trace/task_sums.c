// SPDX-License-Identifier: Apache-2.0
// Task states in, sums out: what src/schedtuna/trace/metrics.py and fairness.py need of every interval.
//
// The memory is the caller's, and so are the tables; indices have been checked by whoever made them.
#include "trace_event.h"

enum { NR_KEPT = 4 };  // distributions of durations that are kept one by one
enum { NOT_KEPT = 255 };
enum { WANTS = 1, IS_NEW = 2, IS_FIRST_WAIT = 4, IS_DEATH = 8, IS_UNKNOWN = 16 };  // roles of states

// Durations of one kind; they grow at the end.
struct values {
	int64_t nr;
	int64_t *value_ns;
	int32_t *task;
	uint16_t *cpu;
};

// Times during which a task ran or waited for a CPU, without a gap.
struct spans {
	int64_t nr;
	int64_t *start_ns;
	int64_t *end_ns;
	int32_t *task;
};

// _NativeSums of metrics.py.
struct sums {
	int64_t nr_intervals;
	const int32_t *task;
	const uint32_t *tid;
	const uint8_t *state;
	const uint16_t *cpu;
	const int64_t *start_ns;
	const int64_t *end_ns;
	const int64_t *burst_ns;
	const uint8_t *began_before;
	const uint8_t *ends_after;
	// By state.
	int64_t nr_states;
	int64_t running;  // the state
	const uint8_t *roles;
	const uint8_t *kept_as;	 // which of `kept` has the durations of the state
	// By task number, or task number * nr_states + state.
	int64_t *time_ns;
	int64_t *count;
	int64_t *begin_ns;	// negative: not seen yet
	int64_t *born_ns;	// negative: not in the trace
	int64_t *first_run_ns;	// the same; of a task that never ran, when it was queued
	int64_t *dead_ns;	// negative: not in the trace
	int64_t *span_of;	// the task's last span; negative: none yet
	uint32_t *tids;
	uint8_t *alive_after;
	// By CPU * nr_states + state.
	int64_t *cpu_time_ns;
	struct values kept[NR_KEPT];  // the last: bursts
	struct spans spans;
};

static void keep(struct values *values, int64_t value_ns, int32_t task, uint16_t cpu)
{
	int64_t k = values->nr++;
	values->value_ns[k] = value_ns;
	values->task[k] = task;
	values->cpu[k] = cpu;
}

static void want(struct sums *s, int64_t k)
{
	struct spans *spans = &s->spans;
	int64_t *last = &s->span_of[s->task[k]];
	if (*last >= 0 && spans->end_ns[*last] == s->start_ns[k]) {
		spans->end_ns[*last] = s->end_ns[k];
		return;
	}
	*last = spans->nr++;
	spans->start_ns[*last] = s->start_ns[k];
	spans->end_ns[*last] = s->end_ns[k];
	spans->task[*last] = s->task[k];
}

// A birth, a first wait, what nobody knows, or a death. Of a task that is NEW and then waits, the first is
// its birth, and the end of the last its first run; unless nobody knows how that wait ended.
static void live(struct sums *s, int64_t k, uint8_t role)
{
	int32_t task = s->task[k];
	if (role & IS_DEATH) {
		s->dead_ns[task] = s->start_ns[k];
		return;
	}
	if (role & IS_UNKNOWN) {
		if (!s->count[task * s->nr_states + s->running])
			s->first_run_ns[task] = -1;
		return;
	}
	if (s->began_before[k])
		return;
	if (role & IS_NEW || s->born_ns[task] < 0)
		s->born_ns[task] = s->start_ns[k];
	if (!s->ends_after[k] && s->end_ns[k] > s->first_run_ns[task])
		s->first_run_ns[task] = s->end_ns[k];
}

// Add intervals up; those of each task come in time order.
PUBLIC void schedtuna_add_up(struct sums *s)
{
	for (int64_t k = 0; k < s->nr_intervals; k++) {
		int32_t task = s->task[k];
		uint8_t state = s->state[k], role = s->roles[state];
		int64_t duration_ns = s->end_ns[k] - s->start_ns[k];
		int64_t cell = task * s->nr_states + state;
		s->time_ns[cell] += duration_ns;
		s->count[cell] += !s->began_before[k];
		s->cpu_time_ns[s->cpu[k] * s->nr_states + state] += duration_ns;
		s->alive_after[task] |= s->ends_after[k];
		if (s->begin_ns[task] < 0) {
			s->begin_ns[task] = s->start_ns[k];
			s->tids[task] = s->tid[k];
		}
		if (s->kept_as[state] != NOT_KEPT && !s->began_before[k] && !s->ends_after[k])
			keep(&s->kept[s->kept_as[state]], duration_ns, task, s->cpu[k]);
		if (s->burst_ns[k])
			keep(&s->kept[NR_KEPT - 1], s->burst_ns[k], task, s->cpu[k]);
		if (role & WANTS)
			want(s, k);
		if (role & (IS_NEW | IS_FIRST_WAIT | IS_DEATH | IS_UNKNOWN))
			live(s, k, role);
	}
}

// Buckets of values: 32 for each power of two, so that few values share the bucket of a quantile.
enum { FINE_BITS = 5, NR_BUCKETS = 64 << FINE_BITS };

static unsigned bucket_of(int64_t value)
{
	uint64_t v = value < 0 ? 0 : (uint64_t)value;
	if (v < 1 << FINE_BITS)
		return (unsigned)v;
	unsigned exponent = 63 - (unsigned)__builtin_clzll(v);
	return (exponent - FINE_BITS + 1) << FINE_BITS | (v >> (exponent - FINE_BITS) & ((1 << FINE_BITS) - 1));
}

// Count and add up values by the group of their key (negative: in no group).
PUBLIC void schedtuna_count(int64_t nr, const int32_t *key, const int64_t *value, const int64_t *group_of_key,
			    int64_t *count, int64_t *total)
{
	for (int64_t k = 0; k < nr; k++) {
		int64_t group = group_of_key[key[k]];
		if (group < 0)
			continue;
		count[group]++;
		total[group] += value[k];
	}
}

// Put values in order of their groups; `next` is where each group begins, and afterwards where it ends.
PUBLIC void schedtuna_scatter(int64_t nr, const int32_t *key, const int64_t *value, const int64_t *group_of_key,
			      int64_t *next, int64_t *scattered)
{
	for (int64_t k = 0; k < nr; k++) {
		int64_t group = group_of_key[key[k]];
		if (group >= 0)
			scattered[next[group]++] = value[k];
	}
}

enum { FEW_VALUES = 32 };

static void sort_few(int64_t *v, int64_t nr)
{
	for (int64_t k = 1; k < nr; k++) {
		int64_t one = v[k], at = k;
		for (; at > 0 && v[at - 1] > one; at--)
			v[at] = v[at - 1];
		v[at] = one;
	}
}

// The bucket that has the value of a rank, given how many values each has; the rank within it.
static unsigned find_bucket(const uint32_t *count, int64_t *rank)
{
	unsigned bucket = 0;
	for (; *rank >= count[bucket]; bucket++)
		*rank -= count[bucket];
	return bucket;
}

// The value of a rank; the order of the values is lost. Each step leaves one of 2,048 parts of their range.
static int64_t select_value(int64_t *v, int64_t nr, int64_t rank)
{
	while (nr > FEW_VALUES) {
		int64_t low = v[0], high = v[0];
		for (int64_t k = 1; k < nr; k++) {
			low = v[k] < low ? v[k] : low;
			high = v[k] > high ? v[k] : high;
		}
		if (low == high)
			return low;
		unsigned shift = 0;
		while (((uint64_t)high - (uint64_t)low) >> shift >= NR_BUCKETS)
			shift++;
		uint32_t count[NR_BUCKETS] = {0};
		for (int64_t k = 0; k < nr; k++)
			count[((uint64_t)v[k] - (uint64_t)low) >> shift]++;
		unsigned bucket = find_bucket(count, &rank);
		int64_t kept = 0;
		for (int64_t k = 0; k < nr; k++)
			if (((uint64_t)v[k] - (uint64_t)low) >> shift == bucket)
				v[kept++] = v[k];
		nr = kept;
	}
	sort_few(v, nr);
	return v[rank];
}

enum { MOST_RANKS = 16 };

// The values of some ranks of many values: only those in the buckets of the ranks are looked at twice.
// `scratch` has room for twice as many values.
static void select_values(const int64_t *v, int64_t nr, int64_t nr_ranks, const int64_t *rank, int64_t *selected,
			  int64_t *scratch)
{
	uint32_t count[NR_BUCKETS] = {0};
	int64_t next[NR_BUCKETS], within[MOST_RANKS], collected = 0;
	unsigned bucket[MOST_RANKS];
	memset(next, -1, sizeof(next));
	for (int64_t k = 0; k < nr; k++)
		count[bucket_of(v[k])]++;
	for (int64_t k = 0; k < nr_ranks; k++) {
		within[k] = rank[k];
		bucket[k] = find_bucket(count, &within[k]);
		if (next[bucket[k]] >= 0)
			continue;
		next[bucket[k]] = collected;
		collected += count[bucket[k]];
	}
	for (int64_t k = 0; k < nr; k++) {
		int64_t *at = &next[bucket_of(v[k])];
		if (*at >= 0)
			scratch[(*at)++] = v[k];
	}
	for (int64_t k = 0; k < nr_ranks; k++) {
		uint32_t nr_in_bucket = count[bucket[k]];
		memcpy(scratch + nr, scratch + next[bucket[k]] - nr_in_bucket, nr_in_bucket * sizeof(*scratch));
		selected[k] = select_value(scratch + nr, nr_in_bucket, within[k]);
	}
}

// Find the values of some ranks in each of the groups; none is empty, nor has 2^32 values. `scratch` has
// room for twice as many as the largest has. Values may change their order within their group.
PUBLIC void schedtuna_select(int64_t nr_groups, const int64_t *start, const int64_t *count, int64_t *value,
			     int64_t nr_ranks, const int64_t *rank, int64_t *selected, int64_t *scratch)
{
	for (int64_t group = 0; group < nr_groups; group++, rank += nr_ranks, selected += nr_ranks) {
		int64_t *v = value + start[group];
		if (count[group] > FEW_VALUES) {
			select_values(v, count[group], nr_ranks, rank, selected, scratch);
			continue;
		}
		sort_few(v, count[group]);
		for (int64_t k = 0; k < nr_ranks; k++)
			selected[k] = v[rank[k]];
	}
}

// What a task of each kind is entitled to at a moment: weighted max-min fairness. Kinds are in order of
// their weights, the heaviest first. `_level()` of fairness.py, for tasks that may run on any CPU.
static void water_fill(int64_t nr_kinds, const double *weight, const int64_t *wanting, int64_t nr_cpus, double *rate)
{
	int64_t nr_wanting = 0;
	double all_weight = 0, capacity = (double)nr_cpus;
	for (int64_t kind = 0; kind < nr_kinds; kind++) {
		nr_wanting += wanting[kind];
		all_weight += (double)wanting[kind] * weight[kind];
		rate[kind] = 1;
	}
	if (nr_wanting <= nr_cpus)
		return;
	int64_t kind = 0;
	for (; kind < nr_kinds; kind++) {
		if (!wanting[kind])
			continue;
		if (weight[kind] * capacity < all_weight)
			break;
		capacity -= (double)wanting[kind];  // each has a whole CPU
		all_weight -= (double)wanting[kind] * weight[kind];
	}
	double level = capacity / all_weight;
	for (; kind < nr_kinds; kind++) {
		double share = weight[kind] * level;
		rate[kind] = share < 1 ? share : 1;
	}
}

// _Sweep of fairness.py.
struct sweep {
	int64_t nr_spans;
	const int64_t *start_ns;  // in time order
	const int64_t *end_ns;	  // in time order
	const int32_t *starting;  // whose span each start is
	const int32_t *ending;
	const int32_t *kind_of_task;
	int64_t nr_kinds;
	const double *weight;  // by kind, the heaviest first
	int64_t nr_cpus;
	// By kind: scratch, zeroed.
	int64_t *wanting;
	double *rate;
	double *level;	// CPU time that one task of the kind was entitled to so far
	// By task.
	double *entitled_ns;  // zeroed
};

// Add up what each task is entitled to, over its spans.
PUBLIC void schedtuna_sweep(struct sweep *s)
{
	int64_t started = 0, now_ns = s->nr_spans ? s->start_ns[0] : 0;
	for (int64_t ended = 0; ended < s->nr_spans;) {
		int starts = started < s->nr_spans && s->start_ns[started] <= s->end_ns[ended];
		int64_t next_ns = starts ? s->start_ns[started] : s->end_ns[ended];
		if (next_ns != now_ns) {
			water_fill(s->nr_kinds, s->weight, s->wanting, s->nr_cpus, s->rate);
			for (int64_t kind = 0; kind < s->nr_kinds; kind++)
				s->level[kind] += s->rate[kind] * (double)(next_ns - now_ns);
			now_ns = next_ns;
		}
		int32_t task = starts ? s->starting[started++] : s->ending[ended++];
		int32_t kind = s->kind_of_task[task];
		s->wanting[kind] += starts ? 1 : -1;
		s->entitled_ns[task] += starts ? -s->level[kind] : s->level[kind];
	}
}

enum { DIGIT_BITS = 11, NR_DIGITS = 1 << DIGIT_BITS, MOST_DIGITS = 6 };

static uint64_t digit_of(uint64_t key, int pass)
{
	return key >> pass * DIGIT_BITS & (NR_DIGITS - 1);
}

// Sort keys, each with an item, by the digits up to the highest key's. Stable. Returns 1 where the result
// is in the second pair of arrays.
PUBLIC int schedtuna_radix_sort(int64_t nr, uint64_t highest, uint64_t *key, int32_t *item, uint64_t *other_key,
				int32_t *other_item)
{
	int64_t next[MOST_DIGITS][NR_DIGITS] = {0};
	int nr_passes = 0;
	while (nr_passes < MOST_DIGITS && highest >> nr_passes * DIGIT_BITS)
		nr_passes++;
	for (int64_t k = 0; k < nr; k++)
		for (int pass = 0; pass < nr_passes; pass++)
			next[pass][digit_of(key[k], pass)]++;
	for (int pass = 0; pass < nr_passes; pass++) {
		int64_t *at = next[pass], sum = 0;
		for (int digit = 0; digit < NR_DIGITS; digit++) {
			int64_t count = at[digit];
			at[digit] = sum;
			sum += count;
		}
		for (int64_t k = 0; k < nr; k++) {
			int64_t to = at[digit_of(key[k], pass)]++;
			other_key[to] = key[k];
			other_item[to] = item[k];
		}
		uint64_t *keys = key;
		key = other_key, other_key = keys;
		int32_t *items = item;
		item = other_item, other_item = items;
	}
	return nr_passes & 1;
}
