/* SPDX-License-Identifier: Apache-2.0 */
// scx_bpf_*: dispatch queues. Names are the kernel's, from 6.12 to 7.3.
#include "thunk.hpp"

#include <cerrno>

namespace schedtuna::scx
{

namespace
{

using u64 = std::uint64_t;
using u32 = std::uint32_t;
using s32 = std::int32_t;

bool dsq_insert(Core &c, u64 p, u64 dsq, u64 slice, u64 flags)
{
	return c.insert(p, dsq, slice, nullptr, flags);
}

bool dsq_insert_vtime(Core &c, u64 p, u64 dsq, u64 slice, u64 vtime, u64 flags)
{
	return c.insert(p, dsq, slice, &vtime, flags);
}

bool dsq_insert_vtime_args(Core &c, u64 p, u64 address)
{
	auto args = c.at<mirror::scx_bpf_dsq_insert_vtime_args>(address);
	return c.insert(p, args.dsq_id, args.slice, &args.vtime, args.enq_flags);
}

bool dsq_move_to_local(Core &c, u64 dsq)
{
	return c.move_to_local(dsq, 0);
}

bool dsq_move_to_local_v2(Core &c, u64 dsq, u64 flags)
{
	return c.move_to_local(dsq, flags);
}

s32 create_dsq(Core &c, u64 dsq, s32)
{
	return static_cast<s32>(c.create_dsq(dsq));
}

void destroy_dsq(Core &c, u64 dsq)
{
	c.destroy_dsq(dsq);
}

s32 dsq_nr_queued(Core &c, u64 id)
{
	auto index = c.find_dsq(id, c.machine().this_cpu());
	return index ? static_cast<s32>(c.dsq(*index).nr()) : -ENOENT;
}

u64 dsq_peek(Core &c, u64 id)
{
	auto index = c.user_dsq(id);
	if (!index) {
		c.error("peek on non-existent DSQ " + std::to_string(id));
		return 0;
	}
	return c.address_of(c.dsq(*index).first());
}

u32 dispatch_nr_slots(Core &c)
{
	return c.nr_slots();
}

void dispatch_cancel(Core &c)
{
	c.cancel_dispatch();
}

u32 reenqueue_local(Core &c)
{
	return c.reenqueue(c.machine().this_cpu());
}

void dsq_reenq(Core &c, u64 id, u64)
{
	auto index = c.find_dsq(id, c.machine().this_cpu());
	if (index)
		c.reenqueue(*index);
	else
		c.error("non-existent DSQ " + std::to_string(id) + " to enqueue anew");
}

// The iterator: which queue, which of its tasks are meant, where it is, and what scx_bpf_dsq_move_set_*() said.
struct DsqIterator {
	u32 dsq, is_reversed;
	u64 last_seq;  // tasks that came later are left out
	u32 nth, id;   // the next one's number among those; who was returned last
	u64 slice, vtime;
	u32 has_slice, has_vtime;
};
static_assert(sizeof(DsqIterator) <= 48);

s32 iter_dsq_new(Core &c, u64 address, u64 id, u64 flags)
{
	auto &it = c.at<DsqIterator>(address);
	it = {};
	it.dsq = it.id = NONE;
	if (flags & ~c.constants().SCX_DSQ_ITER_REV)
		return -EINVAL;
	auto index = c.user_dsq(id);
	if (!index)
		return -ENOENT;
	it.dsq = *index;
	it.is_reversed = flags != 0;
	it.last_seq = c.dsq(*index).last_seq();
	return 0;
}

u64 iter_dsq_next(Core &c, u64 address)
{
	auto &it = c.at<DsqIterator>(address);
	if (it.dsq == NONE)
		return 0;
	const auto &places = c.places();
	bool is_there = it.id != NONE && it.id < places.size() && places[it.id].dsq == it.dsq;
	TaskId next = NONE;
	if (!it.is_reversed && (it.nth == 0 || is_there)) {
		next = it.nth == 0 ? c.dsq(it.dsq).first() : c.dsq(it.dsq).next(places, it.id);
		while (next != NONE && places[next].seq > it.last_seq)
			next = c.dsq(it.dsq).next(places, next);
		it.nth++;
	} else {
		// Who was returned last has left the queue: as many as were passed before stand before the next one.
		std::vector<TaskId> all;
		for (TaskId id : c.dsq(it.dsq).all(places))
			if (places[id].seq <= it.last_seq)
				all.push_back(id);
		if (!is_there && it.nth)
			it.nth--;
		if (it.nth < all.size())
			next = it.is_reversed ? all[all.size() - 1 - it.nth] : all[it.nth];
		it.nth++;
	}
	it.id = next;
	it.has_slice = it.has_vtime = 0;
	return c.address_of(next);
}

/* The slice and the virtual time that were set before are for this move alone. */
bool move_from(Core &c, u64 address, u64 p, u64 dsq, u64 flags, bool by_vtime)
{
	auto &it = c.at<DsqIterator>(address);
	TaskId id = c.task_at(p);
	if (id == NONE || it.dsq == NONE || c.places()[id].dsq != it.dsq)
		return false;
	if (it.has_slice)
		c.set_slice(id, it.slice);
	if (it.has_vtime)
		c.task(id).scx.dsq_vtime = it.vtime;
	it.has_slice = it.has_vtime = 0;
	return c.move(id, dsq, flags, by_vtime);
}

bool dsq_move(Core &c, u64 address, u64 p, u64 dsq, u64 flags)
{
	return move_from(c, address, p, dsq, flags, false);
}

bool dsq_move_vtime(Core &c, u64 address, u64 p, u64 dsq, u64 flags)
{
	return move_from(c, address, p, dsq, flags, true);
}

void dsq_move_set_slice(Core &c, u64 address, u64 slice)
{
	auto &it = c.at<DsqIterator>(address);
	it.slice = slice;
	it.has_slice = 1;
}

void dsq_move_set_vtime(Core &c, u64 address, u64 vtime)
{
	auto &it = c.at<DsqIterator>(address);
	it.vtime = vtime;
	it.has_vtime = 1;
}

constexpr FunctionRow ROWS[] = {
	{"scx_bpf_dsq_insert", THUNK<dsq_insert>},
	{"scx_bpf_dsq_insert___v2", THUNK<dsq_insert>},
	{"scx_bpf_dispatch", THUNK<dsq_insert>},
	{"scx_bpf_dsq_insert_vtime", THUNK<dsq_insert_vtime>},
	{"scx_bpf_dispatch_vtime", THUNK<dsq_insert_vtime>},
	{"__scx_bpf_dsq_insert_vtime", THUNK<dsq_insert_vtime_args>},
	{"scx_bpf_dsq_move_to_local", THUNK<dsq_move_to_local>},
	{"scx_bpf_dsq_move_to_local___v2", THUNK<dsq_move_to_local_v2>},
	{"scx_bpf_consume", THUNK<dsq_move_to_local>},
	{"scx_bpf_create_dsq", THUNK<create_dsq>},
	{"scx_bpf_destroy_dsq", THUNK<destroy_dsq>},
	{"scx_bpf_dsq_nr_queued", THUNK<dsq_nr_queued>},
	{"scx_bpf_dsq_peek", THUNK<dsq_peek>},
	{"scx_bpf_dispatch_nr_slots", THUNK<dispatch_nr_slots>},
	{"scx_bpf_dispatch_cancel", THUNK<dispatch_cancel>},
	{"scx_bpf_reenqueue_local", THUNK<reenqueue_local>},
	{"scx_bpf_reenqueue_local___v2", THUNK<reenqueue_local>},
	{"scx_bpf_dsq_reenq", THUNK<dsq_reenq>},
	{"bpf_iter_scx_dsq_new", THUNK<iter_dsq_new>},
	{"bpf_iter_scx_dsq_next", THUNK<iter_dsq_next>},
	{"bpf_iter_scx_dsq_destroy", THUNK<does_nothing>},
	{"scx_bpf_dsq_move", THUNK<dsq_move>},
	{"scx_bpf_dsq_move_vtime", THUNK<dsq_move_vtime>},
	{"scx_bpf_dsq_move_set_slice", THUNK<dsq_move_set_slice>},
	{"scx_bpf_dsq_move_set_vtime", THUNK<dsq_move_set_vtime>},
};

}  // namespace

std::span<const FunctionRow> dsq_functions()
{
	return ROWS;
}

}  // namespace schedtuna::scx
