/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A sched_ext scheduler's BPF object, translated: what it is, and how the simulated machine runs it.
 * docs/sched-ext-in-simulator.md explains it. Plain C: generated code, the interpreter and the simulator include it;
 * Python has the same in src/schedtuna/sim/bpf/abi.py.
 *
 * Every simulation has one block of memory. A program's addresses are offsets into it, so that no address of the host
 * reaches a program and a copy of the block is a copy of all that the program knows:
 *
 *	0			a page that reads as zeros and is never written: a NULL pointer's fields
 *	SCX_STACK		frames of 512 bytes, and the arguments of callbacks
 *	SCX_IMAGE		the object's sections (.data, .rodata, .bss, .kconfig), as `sections` says
 *	image_end .. limit	the simulator's own: maps, tasks, masks, arenas
 *
 * Behind `limit` the block goes on for SCX_SLACK bytes, which are zero. An access outside of the block, or a write to
 * the first page, ends the function and is told in `trap`: it is not carried out.
 *
 * A map or a function as a program sees it is a reference, which is no address: SCX_MAP_REFERENCE + its index in
 * `maps`, SCX_FUNCTION_REFERENCE + its index in `functions`. Maps that the simulator makes (inner ones) take
 * references of higher indices.
 */
#ifndef SCX_OBJECT_H
#define SCX_OBJECT_H

#include <stdint.h>

#define SCX_OBJECT_ABI 1 /* changes with what is below */

#define SCX_STACK 4096ull
#define SCX_FRAME_BYTES 512ull
#define SCX_STACK_BYTES (32 * SCX_FRAME_BYTES)
#define SCX_IMAGE (SCX_STACK + SCX_STACK_BYTES)
#define SCX_SLACK 8ull
#define SCX_MAX_BYTES 0xffff0000ull /* a block is smaller than 4 GiB: arena pointers may be cut to 32 bits */
#define SCX_MAP_REFERENCE (1ull << 33)
#define SCX_FUNCTION_REFERENCE (1ull << 34)
#define SCX_CONTEXT_WORDS 8   /* the arguments of a callback, at most */
#define SCX_FUEL (1ull << 26) /* jumps back that one callback may take, as the kernel bounds its programs */

struct scx_instance;
/*
 * A program, a subprogram, or a function of the kernel that these call. Registers are 64 bits wide: a function of the
 * kernel takes of an argument what its C type has, (int32_t)r2, and returns its value extended as its C type says.
 */
typedef uint64_t (*scx_code)(struct scx_instance *, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5);

enum scx_trap_reason {
	SCX_TRAP_NONE,
	SCX_TRAP_LOAD,	    /* outside of the block; detail: the address */
	SCX_TRAP_STORE,	    /* outside of the block, or to its first page; detail: the address */
	SCX_TRAP_STACK,	    /* too many frames */
	SCX_TRAP_FUEL,	    /* it jumps back without an end */
	SCX_TRAP_CALL,	    /* a function that the simulator lacks; detail: its index in `calls` */
	SCX_TRAP_UNKNOWN,   /* what the translation does not know; detail: an index in `unknowns` */
	SCX_TRAP_REFERENCE, /* called what is no function; detail: what */
};

struct scx_trap {
	uint32_t reason;      /* enum scx_trap_reason; the first one stays */
	uint32_t function;    /* an index in `functions` */
	uint32_t instruction; /* of the function, as the object has it */
	uint32_t reserved;
	uint64_t detail;
};

/* What a simulation hands the code. All but the block is the host's, which programs can't reach. */
struct scx_instance {
	uint8_t *memory; /* the block: address 0 */
	uint64_t limit;	 /* its size; the same as long as it lives */
	uint64_t stack;	 /* the lowest free address of the stack; SCX_STACK where nothing runs */
	uint64_t fuel;	 /* SCX_FUEL before each callback; 0 after a trap */
	const struct scx_object *object;
	const uint64_t *symbols; /* what the object's `symbols` are here: addresses */
	uint64_t *covered;	 /* one count per row of `blocks`, where the code counts; else NULL */
	void *core;		 /* the simulator's own */
	struct scx_trap trap;
};

/* For the interpreter: one BPF instruction, with all of it resolved. `code` is BPF's, or an enum scx_own_code. */
struct scx_instruction {
	uint8_t code;
	uint8_t dst;
	uint8_t src;
	uint8_t reserved;
	int32_t off;	/* of a jump: instructions to go, from the next one */
	uint64_t imm;	/* sign-extended where BPF's is 32 bits */
	uint32_t block; /* 1 + the index in `blocks` of what begins here; 0: nothing does */
	uint32_t padding;
};

enum scx_own_code {
	SCX_OWN_CALL = 0x8d,	   /* imm: an index in `calls`; off: how many arguments it takes */
	SCX_OWN_CALL_LOCAL = 0x85, /* imm: an index in `functions` */
	SCX_OWN_SYMBOL = 0x98,	   /* dst = symbols[imm] */
	SCX_OWN_UNKNOWN = 0xe0,	   /* imm: an index in `unknowns` */
};

struct scx_function {
	const char *name;
	const char *section; /* "struct_ops/...", "syscall", ".text": what the object says of its use */
	scx_code native;     /* NULL: interpreted */
	const struct scx_instruction *instructions; /* NULL: native */
	uint32_t nr_instructions;		    /* of the object */
	uint32_t reachable;			    /* from the operations, as far as the translation can tell */
};

/* A member of struct sched_ext_ops. */
struct scx_member {
	const char *name;
	int64_t function; /* an index in `functions`; -1: a value */
	uint64_t value;
};

/* What is called by name: kernel functions as the kernel calls them (scx_bpf_dsq_insert___v2), helpers with bpf_. */
struct scx_call {
	const char *name;
	uint32_t nr_arguments;
	uint32_t required; /* reachable from the operations: refuse the object where it is absent */
};

struct scx_section {
	const char *name;
	const uint8_t *data; /* NULL: zeros */
	uint64_t address;
	uint32_t size;
	uint32_t room; /* up to which it may grow (.data.NAME, .bss.NAME: arrays that a loader resizes) */
};

enum scx_global_kind { SCX_GLOBAL_OTHER, SCX_GLOBAL_UNSIGNED, SCX_GLOBAL_SIGNED, SCX_GLOBAL_BOOL };

struct scx_global {
	const char *name;
	uint64_t address;
	uint32_t size;
	uint32_t section;  /* an index in `sections` */
	uint32_t kind;	   /* enum scx_global_kind */
	uint32_t constant; /* of .rodata: set before the scheduler starts, never after */
};

struct scx_map {
	const char *name;
	uint32_t type; /* enum bpf_map_type */
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries; /* 0: as many as CPUs, or as the kind has it */
	uint32_t map_flags;
	int32_t inner; /* the map whose kind its inner ones have, an index in `maps`; -1: none */
	uint64_t map_extra;
	uint32_t required; /* reachable from the operations */
	uint32_t reserved;
};

/* What a map of maps holds from the beginning. */
struct scx_map_slot {
	uint32_t map; /* indices in `maps` */
	uint32_t key;
	uint32_t inner;
	uint32_t reserved;
};

/* A variable of the kernel that a program takes the address of (runqueues, ...). */
struct scx_symbol {
	const char *name;
	uint32_t required;
	uint32_t reserved;
};

/* What bpf_obj_new() and bpf_percpu_obj_new() are given. */
struct scx_local_type {
	uint32_t id;
	uint32_t size;
	const char *name;
};

/* A stretch of instructions without a jump into or out of it. */
struct scx_block {
	uint32_t function;
	uint32_t first;
	uint32_t nr_instructions;
	uint32_t reserved;
};

/* The library exports it as `scx_object`. Arrays have their length beside them. */
struct scx_object {
	uint32_t abi;	    /* SCX_OBJECT_ABI; look at it first */
	uint32_t bytes;	    /* sizeof(struct scx_object) */
	const char *name;   /* sched_ext_ops.name */
	const char *digest; /* of all that the translation was made of */
	const char *kernel; /* whose BTF says what exists */
	uint64_t image_end; /* a multiple of 4096 */
	const struct scx_function *functions;
	const struct scx_member *members;
	const struct scx_call *calls;
	scx_code *targets; /* of `calls`: the simulator writes them once, before anything runs */
	const struct scx_section *sections;
	const struct scx_global *globals;
	const struct scx_map *maps;
	const struct scx_map_slot *map_slots;
	const struct scx_symbol *symbols;
	const struct scx_local_type *local_types;
	const struct scx_block *blocks;
	const char *const *unknowns;
	uint32_t nr_functions;
	uint32_t nr_members;
	uint32_t nr_calls;
	uint32_t nr_sections;
	uint32_t nr_globals;
	uint32_t nr_maps;
	uint32_t nr_map_slots;
	uint32_t nr_symbols;
	uint32_t nr_local_types;
	uint32_t nr_blocks;
	uint32_t nr_unknowns;
	uint32_t reserved;
};

/* Runs a function's instructions: native/scx/interpreter.c. */
#ifdef __cplusplus
extern "C" {
#endif
uint64_t scx_interpret(struct scx_instance *, uint32_t function, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
		       uint64_t r5);
#ifdef __cplusplus
}
#endif

/* The first trap stays; nothing goes round after it. */
static inline void scx_set_trap(struct scx_instance *instance, enum scx_trap_reason reason, uint32_t function,
				uint32_t instruction, uint64_t detail)
{
	instance->fuel = 0;
	if (instance->trap.reason)
		return;
	instance->trap.reason = reason;
	instance->trap.function = function;
	instance->trap.instruction = instruction;
	instance->trap.detail = detail;
}

/* Call a function by its index. */
static inline uint64_t scx_run(struct scx_instance *instance, uint32_t function, uint64_t r1, uint64_t r2, uint64_t r3,
			       uint64_t r4, uint64_t r5)
{
	const struct scx_function *row = &instance->object->functions[function];

	if (row->native)
		return row->native(instance, r1, r2, r3, r4, r5);
	return scx_interpret(instance, function, r1, r2, r3, r4, r5);
}

/* Call back what a program gave a reference of: a timer's function, an order of nodes, the body of bpf_loop(). */
static inline uint64_t scx_run_reference(struct scx_instance *instance, uint64_t reference, uint64_t r1, uint64_t r2,
					 uint64_t r3)
{
	uint64_t function = reference - SCX_FUNCTION_REFERENCE;

	if (function >= instance->object->nr_functions) {
		scx_set_trap(instance, SCX_TRAP_REFERENCE, 0, 0, reference);
		return 0;
	}
	return scx_run(instance, (uint32_t)function, r1, r2, r3, 0, 0);
}

/* Call an operation as the kernel's trampoline does: its arguments lie in memory, their address is r1. */
static inline uint64_t scx_run_operation(struct scx_instance *instance, uint32_t function, const uint64_t *arguments,
					 uint32_t nr_arguments)
{
	uint64_t context = instance->stack, result;
	uint64_t *words = (uint64_t *)(void *)(instance->memory + context);

	if (context + SCX_CONTEXT_WORDS * 8 > SCX_STACK + SCX_STACK_BYTES) {
		scx_set_trap(instance, SCX_TRAP_STACK, function, 0, 0);
		return 0;
	}
	for (uint32_t i = 0; i < SCX_CONTEXT_WORDS; i++)
		words[i] = i < nr_arguments ? arguments[i] : 0;
	instance->stack = context + SCX_CONTEXT_WORDS * 8;
	result = scx_run(instance, function, context, 0, 0, 0, 0);
	instance->stack = context;
	return result;
}

#endif
