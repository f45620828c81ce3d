/* SPDX-License-Identifier: Apache-2.0 */
// BPF's helpers (include/uapi/linux/bpf.h).
#include "format.hpp"
#include "thunk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace schedtuna::scx
{

namespace
{

using u64 = std::uint64_t;
using u32 = std::uint32_t;
using s64 = std::int64_t;
using s32 = std::int32_t;

CpuId here(Core &c)
{
	return c.machine().this_cpu();
}

// Maps

u64 map_lookup(Core &c, u64 reference, u64 key)
{
	Map *map = c.map(reference);
	if (!map)
		return 0;
	u64 address = map->lookup(c.block(), c.bytes(key, map->key_size()), here(c));
	bool holds_maps = map->type() == MapType::ArrayOfMaps || map->type() == MapType::HashOfMaps;
	return holds_maps && address ? c.at<u64>(address) : address;
}

u64 map_lookup_percpu(Core &c, u64 reference, u64 key, u32 cpu)
{
	Map *map = c.map(reference);
	if (!map || cpu >= c.machine().nr_cpus())
		return 0;
	return map->lookup(c.block(), c.bytes(key, map->key_size()), cpu);
}

s64 map_update(Core &c, u64 reference, u64 key, u64 value, u64 flags)
{
	Map *map = c.map(reference);
	if (!map)
		return -EINVAL;
	return map->update(c.block(), c.bytes(key, map->key_size()), c.bytes(value, map->value_size()), flags, here(c));
}

s64 map_delete(Core &c, u64 reference, u64 key)
{
	Map *map = c.map(reference);
	return map ? map->erase(c.block(), c.bytes(key, map->key_size())) : -EINVAL;
}

s64 map_push(Core &c, u64 reference, u64 value, u64 flags)
{
	Map *map = c.map(reference);
	return map ? map->push(c.block(), c.bytes(value, map->value_size()), flags) : -EINVAL;
}

s64 map_pop(Core &c, u64 reference, u64 value)
{
	Map *map = c.map(reference);
	return map ? map->pop(c.block(), c.bytes(value, map->value_size()), true) : -EINVAL;
}

s64 map_peek(Core &c, u64 reference, u64 value)
{
	Map *map = c.map(reference);
	return map ? map->pop(c.block(), c.bytes(value, map->value_size()), false) : -EINVAL;
}

s64 for_each(Core &c, u64 reference, u64 function, u64 context, u64)
{
	Map *map = c.map(reference);
	if (!map)
		return -EINVAL;
	s64 n = 0;
	u64 index = c.block().allocate(8);
	for (u32 nth = 0; !c.instance().trap.reason; nth++) {
		u64 key, value;
		if (!map->entry(nth, here(c), key, value))
			break;
		n++;
		c.at<u32>(index) = nth;
		// (map, key, value, ctx): one more argument than a reference is called with elsewhere
		u64 row = function - SCX_FUNCTION_REFERENCE;
		if (row >= c.library().object().nr_functions) {
			scx_set_trap(&c.instance(), SCX_TRAP_REFERENCE, 0, 0, function);
			break;
		}
		if (scx_run(&c.instance(), static_cast<u32>(row), reference, key ? key : index, value, context, 0))
			break;
	}
	c.block().release(index, 8);
	return n;
}

s64 loop(Core &c, u32 times, u64 function, u64 context, u64 flags)
{
	if (flags)
		return -EINVAL;
	if (times > 8 * 1024 * 1024)
		return -E2BIG;
	for (u32 i = 0; i < times; i++)
		if (c.instance().trap.reason || scx_run_reference(&c.instance(), function, i, context, 0))
			return i + 1;
	return times;
}

// Storage

u64 storage(Core &c, Map *map, u32 owner, u64 initial, u64 flags)
{
	bool creates = flags & 1;  // BPF_LOCAL_STORAGE_GET_F_CREATE
	return map->storage(c.block(), owner, creates, initial ? c.bytes(initial, map->value_size()) : nullptr);
}

u64 task_storage_get(Core &c, u64 reference, u64 p, u64 initial, u64 flags)
{
	Map *map = c.map(reference);
	TaskId id = p ? c.task_at(p) : NONE;
	return map && id != NONE ? storage(c, map, id, initial, flags) : 0;
}

s64 task_storage_delete(Core &c, u64 reference, u64 p)
{
	Map *map = c.map(reference);
	TaskId id = p ? c.task_at(p) : NONE;
	return map && id != NONE && map->erase_storage(c.block(), id) ? 0 : -ENOENT;
}

u64 cgroup_storage_get(Core &c, u64 reference, u64 group, u64 initial, u64 flags)
{
	Map *map = c.map(reference);
	auto id = group ? c.group_at(group) : std::nullopt;
	return map && id ? storage(c, map, *id, initial, flags) : 0;
}

s64 cgroup_storage_delete(Core &c, u64 reference, u64 group)
{
	Map *map = c.map(reference);
	auto id = group ? c.group_at(group) : std::nullopt;
	return map && id && map->erase_storage(c.block(), *id) ? 0 : -ENOENT;
}

// Ring buffers: nobody reads them, so that a record is gone as soon as it is written. Its size stands in front.

u64 ringbuf_reserve(Core &c, u64 reference, u64 size, u64)
{
	if (!c.map(reference) || size > (1 << 28))
		return 0;
	u64 address = c.block().allocate(size + 16);
	if (!address)
		return 0;
	c.at<u64>(address) = size + 16;
	return address + 16;
}

void ringbuf_release(Core &c, u64 record, u64)
{
	u64 size = c.at<u64>(record - 16);
	if (size >= 16 && size < c.instance().limit)
		c.block().release(record - 16, size);
}

s64 ringbuf_output(Core &c, u64 reference, u64 data, u64 size, u64)
{
	c.bytes(data, size);
	return c.map(reference) ? 0 : -EINVAL;
}

u64 ringbuf_query(Core &c, u64 reference, u64 what)
{
	Map *map = c.map(reference);
	return map && what == 1 ? map->max_entries() : 0;  // BPF_RB_RING_SIZE; all else is 0
}

// Time, CPUs, tasks

u64 ktime(Core &c)
{
	return c.now_ns();
}

u64 jiffies(Core &c)
{
	return c.now_ns() / 4'000'000;	// CONFIG_HZ=250
}

u32 cpu_id(Core &c)
{
	return here(c);
}

u64 current_task(Core &c)
{
	return c.current_address(here(c));
}

u64 current_pid_tgid(Core &c)
{
	const auto &p = c.at<mirror::task_struct>(current_task(c));
	return static_cast<u64>(static_cast<u32>(p.tgid)) << 32 | static_cast<u32>(p.pid);
}

u32 random(Core &c)
{
	return c.random();
}

u64 per_cpu_ptr(Core &c, u64 symbol, u32 cpu)
{
	return c.per_cpu(symbol, cpu);
}

u64 this_cpu_ptr(Core &c, u64 symbol)
{
	return c.per_cpu(symbol, here(c));
}

// Memory and text

bool is_mapped(Core &c, u64 address, u64 size)
{
	return address >= SCX_STACK && size <= c.instance().limit && address <= c.instance().limit - size;
}

s64 probe_read(Core &c, u64 to, u32 size, u64 from)
{
	std::uint8_t *target = c.bytes(to, size);
	if (!is_mapped(c, from, size)) {
		std::memset(target, 0, size);
		return -EFAULT;
	}
	std::memmove(target, c.bytes(from, size), size);
	return 0;
}

s64 probe_read_str(Core &c, u64 to, u32 size, u64 from)
{
	std::uint8_t *target = c.bytes(to, size);
	if (!size)
		return 0;
	if (!is_mapped(c, from, 1)) {
		std::memset(target, 0, size);
		return -EFAULT;
	}
	std::string text = c.text(from, size - 1);
	std::memcpy(target, text.c_str(), text.size() + 1);
	return static_cast<s64>(text.size() + 1);
}

s64 compare(Core &c, u64 a, u32 size, u64 b)
{
	return std::strncmp(c.text(a, size).c_str(), c.text(b, size).c_str(), size);
}

s64 snprintf_text(Core &c, u64 to, u32 size, u64 format, u64 data, u32 data_bytes)
{
	std::string text = formatted(c, format, data, data_bytes);
	if (size) {
		std::size_t n = std::min<std::size_t>(text.size(), size - 1);
		std::uint8_t *target = c.bytes(to, size);
		std::memcpy(target, text.data(), n);
		target[n] = 0;
	}
	return static_cast<s64>(text.size() + 1);
}

u64 kptr_xchg(Core &c, u64 at, u64 value)
{
	return std::exchange(c.at<u64>(at), value);
}

s64 timer_init(Core &c, u64 timer, u64 map, u64 flags)
{
	return c.init_timer(timer, map, flags);
}

s64 timer_set_callback(Core &c, u64 timer, u64 function)
{
	return c.set_timer_callback(timer, function);
}

s64 timer_start(Core &c, u64 timer, u64 ns, u64 flags)
{
	return c.start_timer(timer, ns, flags);
}

s64 timer_cancel(Core &c, u64 timer)
{
	return c.cancel_timer(timer);
}

// No event is ever opened.
s64 perf_event_read_value(Core &c, u64, u64, u64 buffer, u32 size)
{
	std::memset(c.bytes(buffer, size), 0, size);
	return -ENOENT;
}

constexpr FunctionRow ROWS[] = {
	{"bpf_map_lookup_elem", THUNK<map_lookup>},
	{"bpf_map_update_elem", THUNK<map_update>},
	{"bpf_map_delete_elem", THUNK<map_delete>},
	{"bpf_map_push_elem", THUNK<map_push>},
	{"bpf_map_pop_elem", THUNK<map_pop>},
	{"bpf_map_peek_elem", THUNK<map_peek>},
	{"bpf_map_lookup_percpu_elem", THUNK<map_lookup_percpu>},
	{"bpf_for_each_map_elem", THUNK<for_each>},
	{"bpf_loop", THUNK<loop>},
	{"bpf_task_storage_get", THUNK<task_storage_get>},
	{"bpf_task_storage_delete", THUNK<task_storage_delete>},
	{"bpf_cgrp_storage_get", THUNK<cgroup_storage_get>},
	{"bpf_cgrp_storage_delete", THUNK<cgroup_storage_delete>},
	{"bpf_ringbuf_reserve", THUNK<ringbuf_reserve>},
	{"bpf_ringbuf_submit", THUNK<ringbuf_release>},
	{"bpf_ringbuf_discard", THUNK<ringbuf_release>},
	{"bpf_ringbuf_output", THUNK<ringbuf_output>},
	{"bpf_ringbuf_query", THUNK<ringbuf_query>},
	{"bpf_ktime_get_ns", THUNK<ktime>},
	{"bpf_ktime_get_boot_ns", THUNK<ktime>},
	{"bpf_ktime_get_coarse_ns", THUNK<ktime>},
	{"bpf_ktime_get_tai_ns", THUNK<ktime>},
	{"bpf_jiffies64", THUNK<jiffies>},
	{"bpf_get_smp_processor_id", THUNK<cpu_id>},
	{"bpf_get_current_task", THUNK<current_task>},
	{"bpf_get_current_task_btf", THUNK<current_task>},
	{"bpf_get_current_pid_tgid", THUNK<current_pid_tgid>},
	{"bpf_get_prandom_u32", THUNK<random>},
	{"bpf_per_cpu_ptr", THUNK<per_cpu_ptr>},
	{"bpf_this_cpu_ptr", THUNK<this_cpu_ptr>},
	{"bpf_probe_read_kernel", THUNK<probe_read>},
	{"bpf_probe_read_kernel_str", THUNK<probe_read_str>},
	{"bpf_strncmp", THUNK<compare>},
	{"bpf_snprintf", THUNK<snprintf_text>},
	{"bpf_trace_printk", THUNK<does_nothing>},
	{"bpf_trace_vprintk", THUNK<does_nothing>},
	{"bpf_spin_lock", THUNK<does_nothing>},
	{"bpf_spin_unlock", THUNK<does_nothing>},
	{"bpf_kptr_xchg", THUNK<kptr_xchg>},
	{"bpf_timer_init", THUNK<timer_init>},
	{"bpf_timer_set_callback", THUNK<timer_set_callback>},
	{"bpf_timer_start", THUNK<timer_start>},
	{"bpf_timer_cancel", THUNK<timer_cancel>},
	{"bpf_perf_event_read_value", THUNK<perf_event_read_value>},
};

}  // namespace

std::span<const FunctionRow> helpers()
{
	return ROWS;
}

}  // namespace schedtuna::scx
