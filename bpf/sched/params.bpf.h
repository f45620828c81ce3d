/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parameters in force. They are swapped whole, and a swap is over when no program uses the old ones any
 * more (the kernel waits for RCU when a map in a map is replaced). Each CPU checks a version when it meets it.
 */
#ifndef PARAMS_BPF_H
#define PARAMS_BPF_H

#include "state.bpf.h"

struct params_array {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tuna_params);
} first_params SEC(".maps"), former_params SEC(".maps");

enum { ASKED = 0, ACCEPTED = 1 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct params_array);
} tuna_params SEC(".maps") = {
	.values = {[ASKED] = &first_params, [ACCEPTED] = &former_params},
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tuna_in_force);
} tuna_in_force SEC(".maps");

static __always_inline struct tuna_params *stored_params(__u32 which)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&tuna_params, &which);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

static __always_inline bool are_valid(const struct tuna_params *now)
{
	return now->version && now->slice_us >= TUNA_SLICE_US_MIN && now->slice_us <= TUNA_SLICE_US_MAX
	       && now->cpu_util_threshold >= TUNA_THRESHOLD_MIN && now->cpu_util_threshold <= TUNA_ONE
	       && now->scheduling_policy < TUNA_NR_POLICIES
	       && (now->slice_lag_scaling | now->rr_sched | now->no_builtin_idle | now->local_pcpu
		   | now->direct_dispatch | now->sticky_cpu | now->stay_with_kthread | now->native_priority
		   | now->local_kthreads | now->no_wake_sync | now->aggressive_gpu_tasks | now->timer_kick)
			  <= 1;
}

/* The defaults, until others are set: a scheduler without a program beside it needs nobody to set them. */
static __always_inline void set_defaults(void)
{
	const struct tuna_params defaults = {.version = 1, .slice_us = 20000, .cpu_util_threshold = 870};
	__u32 which;

	bpf_for(which, ASKED, ACCEPTED + 1)
	{
		struct tuna_params *stored = stored_params(which);

		if (stored && !stored->version)
			*stored = defaults;
	}
}

/* Round robin and weighted order share the queues, and at a flip nobody is to be left behind the other's keys. */
static __noinline void follow_order(__u32 rr)
{
	__u32 llc;

	if (__sync_lock_test_and_set(&order_is_rr, rr) == rr)
		return;
	bpf_for(llc, 0, nr_llcs)
	{
		struct llc_ctx *llcc = llc_ctx(llc);

		if (llcc && before(llcc->vtime, llcc->last_key))
			llcc->vtime = llcc->last_key;
	}
	__sync_fetch_and_add(&epoch, 1);
}

/* A CPU meets a version: does it hold? */
static __noinline void judge(struct tuna_in_force *own, const struct tuna_params *asked)
{
	const struct tuna_params *accepted = stored_params(ACCEPTED);

	own->version = asked->version;
	own->since_ns = bpf_ktime_get_ns();
	own->nr_decisions = 0;
	own->refused = !are_valid(asked);
	own->nr_refused += own->refused;
	if (own->refused && !(accepted && are_valid(accepted)))
		leave(TUNA_EXIT_PARAMS, "version %llu of the parameters is out of bounds, and so is the one before",
		      asked->version);
}

static __always_inline struct tuna_in_force *own_in_force(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tuna_in_force, &zero);
}

/* The parameters that hold on this CPU; NULL: there are none. */
static __always_inline const struct tuna_params *params_held(void)
{
	const struct tuna_params *held = stored_params(ASKED);
	struct tuna_in_force *own = own_in_force();

	if (!held || !own)
		return NULL;
	if (own->version != held->version)
		judge(own, held);
	if (own->refused)
		held = stored_params(ACCEPTED);
#ifndef NO_RR_SCHED
	if (held && held->rr_sched != order_is_rr)
		follow_order(held->rr_sched);
#endif
	return held;
}

/* ... for a decision. */
static __always_inline const struct tuna_params *params_now(void)
{
	const struct tuna_params *held = params_held();
	struct tuna_in_force *own = own_in_force();

	if (own)
		own->nr_decisions++;
	return held;
}

#endif
