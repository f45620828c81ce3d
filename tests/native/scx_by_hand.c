/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler as a translation of its object would be, written by hand against include/scx_object.h: one queue by
 * weighted virtual time, as the kernel's example scx_simple. A library, or part of a test's program.
 */
#include "scx_mirror.h"
#include "scx_object.h"

#include <stddef.h>

#define VTIME_QUEUE 0ull
#define NAME_BYTES 64

enum { INIT, SELECT_CPU, ENQUEUE, DISPATCH, RUNNING, STOPPING, ENABLE, NR_FUNCTIONS };
enum { CREATE_DSQ, SELECT_CPU_DFL, INSERT, INSERT_VTIME, MOVE_TO_LOCAL, LOOKUP, ERROR, NR_CALLS };

/* The image: .bss, then .rodata. */
struct image {
	uint64_t vtime_now;
	uint64_t slice_ns;
	uint64_t local_dsq;
	uint8_t fifo_sched;
	uint8_t fails; /* scx_bpf_error() at the first enqueue */
	char words[NAME_BYTES];
};

static scx_code targets[NR_CALLS];
#define CALL(i, name, ...) targets[name]((i), __VA_ARGS__)
#define IMAGE(i) ((struct image *)(void *)((i)->memory + SCX_IMAGE))
#define TASK(i, address) ((struct task_struct *)(void *)((i)->memory + (address)))
#define ARGUMENT(i, r1, n) (((uint64_t *)(void *)((i)->memory + (r1)))[n])
#define FUNCTION(name) \
	static uint64_t name(struct scx_instance *i, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
#define UNUSED (void)i, (void)r1, (void)r2, (void)r3, (void)r4, (void)r5

static void count(struct scx_instance *i, uint32_t which)
{
	uint64_t key = i->stack, found;

	*(uint32_t *)(void *)(i->memory + key) = which;
	found = CALL(i, LOOKUP, SCX_MAP_REFERENCE, key, 0, 0, 0);
	if (found)
		++*(uint64_t *)(void *)(i->memory + found);
}

FUNCTION(init)
{
	UNUSED;
	return CALL(i, CREATE_DSQ, VTIME_QUEUE, (uint64_t)-1, 0, 0, 0);
}

FUNCTION(select_cpu)
{
	uint64_t is_idle = i->stack, cpu;

	UNUSED;
	i->stack += SCX_FRAME_BYTES;
	cpu = CALL(i, SELECT_CPU_DFL, ARGUMENT(i, r1, 0), ARGUMENT(i, r1, 1), ARGUMENT(i, r1, 2), is_idle, 0);
	i->stack -= SCX_FRAME_BYTES;
	if (i->memory[is_idle]) {
		count(i, 0);
		CALL(i, INSERT, ARGUMENT(i, r1, 0), IMAGE(i)->local_dsq, IMAGE(i)->slice_ns, 0, 0);
	}
	return cpu;
}

FUNCTION(enqueue)
{
	uint64_t p = ARGUMENT(i, r1, 0), flags = ARGUMENT(i, r1, 1), vtime = TASK(i, p)->scx.dsq_vtime;
	struct image *image = IMAGE(i);

	UNUSED;
	count(i, 1);
	if (image->fails) {
		uint64_t *data = (uint64_t *)(void *)(i->memory + i->stack);

		data[0] = (uint64_t)TASK(i, p)->pid;
		CALL(i, ERROR, SCX_IMAGE + offsetof(struct image, words), i->stack, 8, 0, 0);
		return 0;
	}
	if (image->fifo_sched) {
		CALL(i, INSERT, p, VTIME_QUEUE, image->slice_ns, flags, 0);
		return 0;
	}
	if ((int64_t)(vtime - (image->vtime_now - image->slice_ns)) < 0)
		vtime = image->vtime_now - image->slice_ns;
	CALL(i, INSERT_VTIME, p, VTIME_QUEUE, image->slice_ns, vtime, flags);
	return 0;
}

FUNCTION(dispatch)
{
	UNUSED;
	return CALL(i, MOVE_TO_LOCAL, VTIME_QUEUE, 0, 0, 0, 0);
}

FUNCTION(running)
{
	uint64_t vtime = TASK(i, ARGUMENT(i, r1, 0))->scx.dsq_vtime;

	UNUSED;
	if ((int64_t)(IMAGE(i)->vtime_now - vtime) < 0)
		IMAGE(i)->vtime_now = vtime;
	return 0;
}

FUNCTION(stopping)
{
	struct sched_ext_entity *scx = &TASK(i, ARGUMENT(i, r1, 0))->scx;

	UNUSED;
	scx->dsq_vtime += (IMAGE(i)->slice_ns - scx->slice) * 100 / scx->weight;
	return 0;
}

FUNCTION(enable)
{
	UNUSED;
	TASK(i, ARGUMENT(i, r1, 0))->scx.dsq_vtime = IMAGE(i)->vtime_now;
	return 0;
}

static const struct scx_function functions[NR_FUNCTIONS] = {
	[INIT] = {"simple_init", "struct_ops/init", init, NULL, 1, 1},
	[SELECT_CPU] = {"simple_select_cpu", "struct_ops/select_cpu", select_cpu, NULL, 1, 1},
	[ENQUEUE] = {"simple_enqueue", "struct_ops/enqueue", enqueue, NULL, 1, 1},
	[DISPATCH] = {"simple_dispatch", "struct_ops/dispatch", dispatch, NULL, 1, 1},
	[RUNNING] = {"simple_running", "struct_ops/running", running, NULL, 1, 1},
	[STOPPING] = {"simple_stopping", "struct_ops/stopping", stopping, NULL, 1, 1},
	[ENABLE] = {"simple_enable", "struct_ops/enable", enable, NULL, 1, 1},
};
static const struct scx_member members[] = {
	{"select_cpu", SELECT_CPU, 0}, {"enqueue", ENQUEUE, 0}, {"dispatch", DISPATCH, 0}, {"running", RUNNING, 0},
	{"stopping", STOPPING, 0},     {"enable", ENABLE, 0},	{"init", INIT, 0},	   {"flags", -1, 0},
	{"timeout_ms", -1, 0},
};
static const struct scx_call calls[NR_CALLS] = {
	[CREATE_DSQ] = {"scx_bpf_create_dsq", 2, 1},
	[SELECT_CPU_DFL] = {"scx_bpf_select_cpu_dfl", 4, 1},
	[INSERT] = {"scx_bpf_dsq_insert", 4, 1},
	[INSERT_VTIME] = {"scx_bpf_dsq_insert_vtime", 5, 1},
	[MOVE_TO_LOCAL] = {"scx_bpf_dsq_move_to_local", 1, 1},
	[LOOKUP] = {"bpf_map_lookup_elem", 2, 1},
	[ERROR] = {"scx_bpf_error_bstr", 3, 1},
};
static const struct image initial = {
	0, 20000000, 0x8000000000000002ull, 0, 0, "pid %d is one too many",
};
static const struct scx_section sections[] = {
	{".data", (const uint8_t *)&initial, SCX_IMAGE, sizeof(initial), sizeof(initial)},
};
#define GLOBAL(name, kind) {#name, SCX_IMAGE + offsetof(struct image, name), sizeof(initial.name), 0, kind, 0}
static const struct scx_global globals[] = {
	GLOBAL(vtime_now, SCX_GLOBAL_UNSIGNED),
	GLOBAL(slice_ns, SCX_GLOBAL_UNSIGNED),
	GLOBAL(fifo_sched, SCX_GLOBAL_BOOL),
	GLOBAL(fails, SCX_GLOBAL_BOOL),
};
static const struct scx_map maps[] = {{"stats", 6, 4, 8, 2, 0, -1, 0, 1, 0}};

extern const struct scx_object scx_object;
const struct scx_object scx_object = {
	.abi = SCX_OBJECT_ABI,
	.bytes = sizeof(struct scx_object),
	.name = "by_hand",
	.digest = "none",
	.kernel = "none",
	.image_end = (SCX_IMAGE + sizeof(struct image) + 4095) & ~4095ull,
	.functions = functions,
	.members = members,
	.calls = calls,
	.targets = targets,
	.sections = sections,
	.globals = globals,
	.maps = maps,
	.nr_functions = NR_FUNCTIONS,
	.nr_members = sizeof(members) / sizeof(members[0]),
	.nr_calls = NR_CALLS,
	.nr_sections = 1,
	.nr_globals = 4,
	.nr_maps = 1,
};
