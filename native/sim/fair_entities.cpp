/* SPDX-License-Identifier: Apache-2.0 */
// Entities of tasks and groups: their accounts, how they enter and leave queues, and which one is next.
#include "fair.hpp"

#include <algorithm>

namespace schedtuna::sim
{

// The account of the current entity. What it finds about its slice, it says at once.
void Fair::account(Machine &m, QueueId queue, Ns ran)
{
	FairQueue &q = queues_[queue];
	EntityId id = q.curr;
	Entity &curr = entities_[id];
	curr.exec_start += ran;
	if (params_.hrtick && is_task(id))
		infos_[task_of(id)].ran += ran;
	curr.vruntime += curr.delta_fair(ran);
	bool is_over = q.update_deadline(entities_, id, params_);
	if (q.nr_queued == 1)
		return;
	if (params_.version >= 618)
		is_over |= !FairQueue::is_protected(curr, params_);
	else if (params_.preempt_short && !is_over)  // did_preempt_short()
		is_over = !FairQueue::is_protected(curr, params_) && !q.eligible(entities_, curr.vruntime);
	if (is_over) {
		m.resched(cpu_of(queue));
		clear_buddies(id);
	}
}

void Fair::clear_buddies(EntityId id)
{
	for (; id != NONE && queues_[entities_[id].queue].next == id; id = parent_of(id))
		queues_[entities_[id].queue].next = NONE;
}

void Fair::set_next_buddy(EntityId id)
{
	for (; id != NONE && entities_[id].on_rq && !entities_[id].idle; id = parent_of(id))
		queues_[entities_[id].queue].next = id;
}

void Fair::requeue_delayed(Machine &m, EntityId id)
{
	queues_[entities_[id].queue].requeue_delayed(entities_, id, params_);
	update_load(m, id, Change::None, false);
	count_runnable(id, 1);
}

// Of groups' entities that are delayed or no longer are, no task is queued: they count for nothing.
void Fair::count_runnable(EntityId id, std::uint32_t change)
{
	for (EntityId up = is_task(id) ? id : NONE; up != NONE; up = parent_of(up))
		queues_[entities_[up].queue].h_nr_runnable += change;
}

[[gnu::always_inline]] inline void Fair::enqueue_entity(Machine &m, EntityId id, bool initial, bool migrated)
{
	QueueId queue = entities_[id].queue;
	FairQueue &q = queues_[queue];
	Entity &entity = entities_[id];
	bool is_curr = q.curr == id;
	if (is_curr)
		q.place(entities_, id, params_, initial);
	update_curr(m, queue);
	update_load(m, id, Change::Attach, true);
	update_group(m, id);
	if (!is_curr)
		q.place(entities_, id, params_, initial);
	q.load_weight += entity.weight;
	q.nr_queued++;
	if (migrated)
		entity.exec_start = 0;	// no longer cache-hot
	if (!is_curr)
		q.enqueue(entities_, id);
	entity.on_rq = true;
}

// What a task's coming or going changes above the level at which it is felt as an entity.
void Fair::follow_up(Machine &m, EntityId id, Ns slice, std::uint32_t queued, std::uint32_t runnable,
		     std::uint32_t idle)
{
	for (; id != NONE; id = parent_of(id)) {
		FairQueue &q = queues_[entities_[id].queue];
		update_load(m, id, Change::None, true);
		update_group(m, id);
		q.set_slice(entities_, id, slice);
		slice = q.min_slice(entities_);
		q.h_nr_queued += queued;
		q.h_nr_runnable += runnable;
		q.h_nr_idle += idle;
	}
}

void Fair::enqueue_task(Machine &m, TaskId task, bool initial, bool migrated)
{
	EntityId id = entity_of(task);
	std::uint32_t nr_idle = entities_[id].idle, nr_runnable = !entities_[id].delayed;
	Ns slice = 0;
	for (; id != NONE; id = parent_of(id)) {
		if (entities_[id].on_rq) {
			if (entities_[id].delayed)
				requeue_delayed(m, id);
			break;
		}
		if (slice) {
			entities_[id].slice = slice;
			entities_[id].custom_slice = true;
		}
		enqueue_entity(m, id, initial, migrated);
		FairQueue &q = queues_[entities_[id].queue];
		if (parent_of(id) != NONE)
			slice = q.min_slice(entities_);
		q.h_nr_queued++;
		q.h_nr_runnable += nr_runnable;
		q.h_nr_idle += nr_idle;
		initial = migrated = false;
	}
	if (id != NONE)
		follow_up(m, id, slice, 1, nr_runnable, nr_idle);
	CpuId cpu = m.task(task).cpu;
	list_task(cpu, task);
	if (params_.hrtick)
		start_hrtick(m, cpu);
}

// False: it is not eligible, and stays until it is (DELAY_DEQUEUE).
[[gnu::always_inline]] inline bool Fair::dequeue_entity(Machine &m, EntityId id, Leave why)
{
	QueueId queue = entities_[id].queue;
	FairQueue &q = queues_[queue];
	Entity &entity = entities_[id];
	update_curr(m, queue);
	clear_buddies(id);
	if (why == Leave::Sleep && params_.delay_dequeue && !q.eligible(entities_, entity.vruntime)) {
		update_load(m, id, Change::None, false);
		entity.delayed = true;
		count_runnable(id, 0u - 1);
		return false;
	}
	update_load(m, id, why == Leave::Migrate ? Change::Detach : Change::None, true);
	q.update_lag(entities_, id, params_);
	if (id != q.curr)
		q.dequeue(entities_, id);
	if (params_.place_rel_deadline && (why == Leave::Change || why == Leave::Migrate)) {
		entity.deadline -= entity.vruntime;
		entity.rel_deadline = true;
	}
	entity.on_rq = false;
	q.load_weight -= entity.weight;
	q.nr_queued--;
	update_group(m, id);
	if (why == Leave::Delayed) {
		entity.delayed = false;
		count_runnable(id, 1);
		if (params_.delay_zero)
			entity.vlag = std::min<Ns>(entity.vlag, 0);
	}
	return true;
}

// False: the task stays, delayed.
bool Fair::dequeue_entities(Machine &m, EntityId id, Leave why)
{
	bool of_task = is_task(id), sleeps = why != Leave::Change && why != Leave::Migrate;
	std::uint32_t nr_queued = of_task, nr_idle = of_task && entities_[id].idle;
	std::uint32_t nr_runnable = of_task && (sleeps || !entities_[id].delayed);
	EntityId first = id;
	Ns slice = 0;
	for (; id != NONE; id = parent_of(id)) {
		FairQueue &q = queues_[entities_[id].queue];
		if (!dequeue_entity(m, id, why)) {
			if (id == first && of_task)
				return false;
			slice = q.min_slice(entities_);
			break;
		}
		q.h_nr_queued -= nr_queued;
		q.h_nr_runnable -= nr_runnable;
		q.h_nr_idle -= nr_idle;
		if (q.nr_queued) {
			id = parent_of(id);
			if (id == NONE)
				break;
			slice = q.min_slice(entities_);
			if (sleeps)
				set_next_buddy(id);
			break;
		}
		why = Leave::Sleep;
	}
	if (id != NONE)
		follow_up(m, id, slice, 0 - nr_queued, 0 - nr_runnable, 0 - nr_idle);
	if (of_task)
		unlist_task(cpu_of(entities_[first].queue), task_of(first));
	return true;
}

TaskId Fair::pick_task(Machine &m, CpuId cpu)
{
	for (QueueId queue = cpu;;) {
		FairQueue &q = queues_[queue];
		if (!q.nr_queued)
			return NONE;
		if (q.curr != NONE && entities_[q.curr].on_rq)
			update_curr(m, queue);
		EntityId id = pick_next_entity(m, queue, true);
		if (id == NONE)
			queue = cpu;
		else if (is_task(id))
			return task_of(id);
		else
			queue = id;
	}
}

void Fair::put_prev_entity(Machine &m, EntityId id)
{
	QueueId queue = entities_[id].queue;
	FairQueue &q = queues_[queue];
	if (entities_[id].on_rq) {
		update_curr(m, queue);
		q.enqueue(entities_, id);
		update_load(m, id, Change::None, false);
	}
	q.curr = NONE;
}

void Fair::set_next_entity(Machine &m, EntityId id, bool first)
{
	QueueId queue = entities_[id].queue;
	FairQueue &q = queues_[queue];
	clear_buddies(id);
	if (entities_[id].on_rq) {
		q.dequeue(entities_, id);
		update_load(m, id, Change::None, true);
		if (first)
			q.set_protection(entities_, id, params_);
	}
	entities_[id].exec_start = clock(m, queue);
	q.curr = id;
	if (params_.hrtick && is_task(id))
		infos_[task_of(id)].ran_before = infos_[task_of(id)].ran;
}

void Fair::put_prev_task(Machine &m, CpuId cpu)
{
	if (cpus_[cpu].running == NONE)
		return;
	for (EntityId id = entity_of(cpus_[cpu].running); id != NONE; id = parent_of(id))
		put_prev_entity(m, id);
	cpus_[cpu].running = NONE;
}

void Fair::set_next_task(Machine &m, CpuId cpu, TaskId task, bool first)
{
	for (EntityId id = entity_of(task); id != NONE; id = parent_of(id))
		set_next_entity(m, id, first);
	cpus_[cpu].running = task;
}

// Only the levels that the two tasks don't share change hands: what they share goes on under its protection.
void Fair::switch_entities(Machine &m, CpuId cpu, TaskId next)
{
	Cpu &c = cpus_[cpu];
	if (c.running == NONE) {
		set_next_task(m, cpu, next, true);
		return;
	}
	EntityId to = entity_of(next), from = entity_of(c.running);
	while (entities_[to].queue != entities_[from].queue) {
		std::uint32_t to_depth = depth_of(to), from_depth = depth_of(from);
		if (to_depth <= from_depth) {
			put_prev_entity(m, from);
			from = parent_of(from);
		}
		if (to_depth >= from_depth) {
			set_next_entity(m, to, true);
			to = parent_of(to);
		}
	}
	put_prev_entity(m, from);
	set_next_entity(m, to, true);
	c.running = next;
}

}  // namespace schedtuna::sim
