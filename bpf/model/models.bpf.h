/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The model that decides now: a table in a map of maps, so that another takes its place whole.
 * User space fills a new inner map and puts it in; who looks up gets the one or the other, never half of each.
 *
 * struct model_table: the class's own structure, declared before this is included.
 */
#ifndef MODEL_MODELS_BPF_H
#define MODEL_MODELS_BPF_H

#include <bpf/bpf_helpers.h>

struct model_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct model_table)); /* clang leaves the type out of BTF here */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct model_map);
} models SEC(".maps");

/* The table, or NULL where user space has not put one in yet. */
static __always_inline const struct model_table *current_model(void)
{
	__u32 zero = 0;
	void *map = bpf_map_lookup_elem(&models, &zero);

	return map ? bpf_map_lookup_elem(map, &zero) : NULL;
}

#endif
