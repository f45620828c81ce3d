/* SPDX-License-Identifier: Apache-2.0 */
// Functions of the kernel that are not sched_ext's: iterators, objects, trees and lists, tasks, cgroups, arenas.
#include "thunk.hpp"

#include <cerrno>
#include <cstring>

namespace schedtuna::scx
{

namespace
{

using u64 = std::uint64_t;
using u32 = std::uint32_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

// Numbers

struct NumberIterator {
	s32 current, end;
};

s32 iter_num_new(Core &c, u64 address, s32 start, s32 end)
{
	auto &it = c.at<NumberIterator>(address);
	it = {};
	if (start > end)
		return -EINVAL;
	if (static_cast<s64>(end) - start > 8 * 1024 * 1024)  // BPF_MAX_LOOPS
		return -E2BIG;
	it = {static_cast<s32>(static_cast<u32>(start) - 1), end};
	return 0;
}

u64 iter_num_next(Core &c, u64 address)
{
	auto &it = c.at<NumberIterator>(address);
	if (static_cast<s64>(static_cast<s32>(static_cast<u32>(it.current) + 1)) >= it.end) {
		it = {};
		return 0;
	}
	it.current++;
	return address;
}

// Objects: in front of each stands its size.

u64 obj_new(Core &c, u64 type)
{
	const scx_object &object = c.library().object();
	for (u32 i = 0; i < object.nr_local_types; i++) {
		if (object.local_types[i].id != type)
			continue;
		u64 bytes = object.local_types[i].size + 16ull, address = c.block().allocate(bytes);
		if (!address)
			return 0;
		c.at<u64>(address) = bytes;
		return address + 16;
	}
	scx_set_trap(&c.instance(), SCX_TRAP_REFERENCE, 0, 0, type);
	return 0;
}

u64 obj_new_impl(Core &c, u64 type, u64)
{
	return obj_new(c, type);
}

void obj_drop(Core &c, u64 address)
{
	u64 bytes = c.at<u64>(address - 16);
	if (bytes >= 16 && bytes < c.instance().limit && !(bytes & 7))
		c.block().release(address - 16, bytes);
}

u64 refcount_acquire(Core &, u64 address)
{
	return address;
}

// A tree is a list in its order: its root, then each node, holds the address of the next one. Equal nodes keep theirs.
// The second word of a node tells whether it is in one.

s32 rbtree_add(Core &c, u64 root, u64 node, u64 less)
{
	if (c.at<u64>(node + 8))
		return -EINVAL;
	u64 at = root;
	while (u64 next = c.at<u64>(at)) {
		if (c.instance().trap.reason || scx_run_reference(&c.instance(), less, node, next, 0) & 0xff)
			break;
		at = next;
	}
	c.at<u64>(node) = c.at<u64>(at);
	c.at<u64>(node + 8) = root;
	c.at<u64>(at) = node;
	return 0;
}

s32 rbtree_add_impl(Core &c, u64 root, u64 node, u64 less, u64, u64)
{
	return rbtree_add(c, root, node, less);
}

u64 rbtree_first(Core &c, u64 root)
{
	return c.at<u64>(root);
}

u64 rbtree_remove(Core &c, u64 root, u64 node)
{
	u64 at = root;
	while (c.at<u64>(at) && c.at<u64>(at) != node && !c.instance().trap.reason)
		at = c.at<u64>(at);
	if (!c.at<u64>(at))
		return 0;
	c.at<u64>(at) = c.at<u64>(node);
	c.at<u64>(node) = c.at<u64>(node + 8) = 0;
	return node;
}

// A list is the kernel's: head and nodes hold the next and the one before; zeros: it is empty.

void list_open(Core &c, u64 head)
{
	if (!c.at<u64>(head))
		c.at<u64>(head) = c.at<u64>(head + 8) = head;
}

s32 list_insert(Core &c, u64 head, u64 node, bool at_front)
{
	if (c.at<u64>(node + 16))
		return -EINVAL;
	list_open(c, head);
	u64 before = at_front ? head : c.at<u64>(head + 8), behind = c.at<u64>(before);
	c.at<u64>(node) = behind;
	c.at<u64>(node + 8) = before;
	c.at<u64>(node + 16) = head;
	c.at<u64>(before) = node;
	c.at<u64>(behind + 8) = node;
	return 0;
}

s32 list_push_front(Core &c, u64 head, u64 node)
{
	return list_insert(c, head, node, true);
}

s32 list_push_back(Core &c, u64 head, u64 node)
{
	return list_insert(c, head, node, false);
}

u64 list_take(Core &c, u64 head, bool from_front)
{
	list_open(c, head);
	u64 node = c.at<u64>(from_front ? head : head + 8);
	if (node == head)
		return 0;
	u64 behind = c.at<u64>(node), before = c.at<u64>(node + 8);
	c.at<u64>(before) = behind;
	c.at<u64>(behind + 8) = before;
	c.at<u64>(node) = c.at<u64>(node + 8) = c.at<u64>(node + 16) = 0;
	return node;
}

u64 list_pop_front(Core &c, u64 head)
{
	return list_take(c, head, true);
}

u64 list_pop_back(Core &c, u64 head)
{
	return list_take(c, head, false);
}

// Tasks and cgroups

u64 same(Core &, u64 address)
{
	return address;
}

u64 task_from_pid(Core &c, s32 pid)
{
	auto id = static_cast<TaskId>(pid - 1);
	return pid > 0 && c.is_task(id) ? c.address_of(id) : 0;
}

u64 cgroup_from_id(Core &c, u64 id)
{
	u32 n = std::max(c.machine().nr_groups(), 1u);
	return id >= 1 && id <= n ? c.group_address(static_cast<GroupId>(id - 1)) : 0;
}

u64 cgroup_ancestor(Core &c, u64 address, s32 level)
{
	auto id = c.group_at(address);
	if (!id || level < 0)
		return 0;
	for (GroupId at = *id;; at = c.machine().group_parent(at)) {
		s32 own = c.at<mirror::cgroup>(c.group_address(at)).level;
		if (own == level)
			return c.group_address(at);
		if (own < level || own == 0)
			return 0;
	}
}

bool task_under_cgroup(Core &c, u64 p, u64 ancestor)
{
	TaskId id = c.task_at(p);
	auto wanted = c.group_at(ancestor);
	if (id == NONE || !wanted)
		return false;
	for (GroupId at = c.machine().task(id).group;; at = c.machine().group_parent(at)) {
		if (at == *wanted)
			return true;
		if (at == sim::ROOT_GROUP)
			return false;
	}
}

// Arenas: pages of the block, so that a pointer into one is an address like others.

constexpr u64 PAGE = 4096;

u64 arena_alloc_pages(Core &c, u64, u64 address, u32 nr_pages, s32, u64)
{
	return address || !nr_pages ? 0 : c.block().allocate(nr_pages * PAGE, PAGE);
}

void arena_free_pages(Core &c, u64, u64 address, u32 nr_pages)
{
	if (nr_pages)
		std::memset(c.bytes(address, nr_pages * PAGE), 0, nr_pages * PAGE);
}

s32 arena_reserve_pages(Core &, u64, u64, u32)
{
	return 0;
}

constexpr FunctionRow ROWS[] = {
	{"bpf_iter_num_new", THUNK<iter_num_new>},
	{"bpf_iter_num_next", THUNK<iter_num_next>},
	{"bpf_iter_num_destroy", THUNK<does_nothing>},
	{"bpf_obj_new", THUNK<obj_new>},
	{"bpf_obj_new_impl", THUNK<obj_new_impl>},
	{"bpf_obj_drop", THUNK<obj_drop>},
	{"bpf_obj_drop_impl", THUNK<obj_drop>},
	{"bpf_refcount_acquire", THUNK<refcount_acquire>},
	{"bpf_refcount_acquire_impl", THUNK<refcount_acquire>},
	{"bpf_rbtree_add", THUNK<rbtree_add>},
	{"bpf_rbtree_add_impl", THUNK<rbtree_add_impl>},
	{"bpf_rbtree_first", THUNK<rbtree_first>},
	{"bpf_rbtree_remove", THUNK<rbtree_remove>},
	{"bpf_list_push_front", THUNK<list_push_front>},
	{"bpf_list_push_front_impl", THUNK<list_push_front>},
	{"bpf_list_push_back", THUNK<list_push_back>},
	{"bpf_list_push_back_impl", THUNK<list_push_back>},
	{"bpf_list_pop_front", THUNK<list_pop_front>},
	{"bpf_list_pop_back", THUNK<list_pop_back>},
	{"bpf_task_acquire", THUNK<same>},
	{"bpf_task_release", THUNK<does_nothing>},
	{"bpf_task_from_pid", THUNK<task_from_pid>},
	{"bpf_task_under_cgroup", THUNK<task_under_cgroup>},
	{"bpf_cgroup_acquire", THUNK<same>},
	{"bpf_cgroup_release", THUNK<does_nothing>},
	{"bpf_cgroup_from_id", THUNK<cgroup_from_id>},
	{"bpf_cgroup_ancestor", THUNK<cgroup_ancestor>},
	{"bpf_rcu_read_lock", THUNK<does_nothing>},
	{"bpf_rcu_read_unlock", THUNK<does_nothing>},
	{"bpf_preempt_disable", THUNK<does_nothing>},
	{"bpf_preempt_enable", THUNK<does_nothing>},
	{"bpf_rdonly_cast", THUNK<same>},
	{"bpf_cast_to_kern_ctx", THUNK<same>},
	{"bpf_arena_alloc_pages", THUNK<arena_alloc_pages>},
	{"bpf_arena_free_pages", THUNK<arena_free_pages>},
	{"bpf_arena_reserve_pages", THUNK<arena_reserve_pages>},
	{"bpf_stream_vprintk", THUNK<does_nothing>},
	{"bpf_stream_vprintk_impl", THUNK<does_nothing>},
};

}  // namespace

std::span<const FunctionRow> bpf_functions()
{
	return ROWS;
}

}  // namespace schedtuna::scx
