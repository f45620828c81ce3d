/* SPDX-License-Identifier: Apache-2.0 */
// Load averages of tasks, queues and groups, and the weights that groups have on each CPU.
#include "fair.hpp"

#include <algorithm>

namespace schedtuna::sim
{

namespace
{

constexpr Ns CONTRIBUTION_INTERVAL = 1'000'000;	 // a queue tells its group once per ms at most

}  // namespace

void Fair::update_any_load(Machine &m, EntityId id, Change change, bool to_group)
{
	const Entity &entity = entities_[id];
	QueueId queue = entity.queue;
	LoadAvg &load = loads_[id];
	bool of_task = is_task(id);
	Ns now = load_clock(m, queue);
	if (load.last_update) {
		std::int64_t runnable = entity.on_rq;
		if (!of_task)
			runnable = queue_loads_[id].nr_runnable;
		if (load.age(now, entity.on_rq, entity.delayed ? 0 : runnable, queues_[queue].curr == id))
			load.average(entity.load());
	}
	bool decayed = update_queue_load(queues_[queue], queue_loads_[queue], now);
	if (!of_task || !load.last_update || change == Change::Detach || queue >= nr_cpus_)
		pass_load_on(m, id, change, decayed, to_group);
}

// What changes with the queue, and what its group is told.
void Fair::pass_load_on(Machine &m, EntityId id, Change change, bool decayed, bool to_group)
{
	const Entity &entity = entities_[id];
	LoadAvg &load = loads_[id];
	QueueLoad &queue_load = queue_loads_[entity.queue];
	if (!is_task(id)) {
		decayed |= propagate_load(queue_load, load, entity.load(), queue_loads_[id],
					  scale_down(queues_[id].load_weight));
		queue_loads_[id].nr_runnable = queues_[id].h_nr_runnable;  // se_update_runnable()
	}
	bool attaches = !load.last_update && change == Change::Attach;
	if (attaches)
		queue_load.attach(load, entity.load());
	else if (change == Change::Detach)
		queue_load.detach(load, entity.load());
	if (attaches || change == Change::Detach || (decayed && to_group))
		contribute(m, entity.queue);
}

void Fair::contribute(Machine &m, QueueId queue)
{
	if (queue < nr_cpus_)
		return;
	QueueLoad &load = queue_loads_[queue];
	Ns now = m.now();
	if (now - load.contributed_at < CONTRIBUTION_INTERVAL)
		return;
	std::int64_t delta = load.load_avg - load.contribution;
	if (std::abs(delta) <= load.contribution / 64)
		return;
	groups_[group_of(queue)].load_avg += delta;
	load.contribution = load.load_avg;
	load.contributed_at = now;
}

// reweight_entity()
void Fair::reweight(Machine &m, EntityId id, std::uint32_t weight)
{
	Entity &entity = entities_[id];
	if (entity.on_rq)
		update_curr(m, entity.queue);
	QueueLoad &queue_load = queue_loads_[entity.queue];
	LoadAvg &load = loads_[id];
	bool is_attached = tracks_load_ && load.last_update;
	if (is_attached)
		queue_load.dequeue_load(load, entity.load());
	queues_[entity.queue].reweight(entities_, id, params_, weight, is_task(id));
	if (!is_attached)
		return;
	load.load_avg = entity.load() * load.load_sum / load.divider();
	queue_load.enqueue_load(load, entity.load());
}

// calc_group_shares(): of the group's weight, a CPU's part is that of the group's load that is there.
void Fair::set_shares(Machine &m, EntityId id)
{
	const Group &group = groups_[group_of(id)];
	const QueueLoad &load = queue_loads_[id];
	std::int64_t here = std::max(scale_down(queues_[id].load_weight), load.load_avg);
	std::int64_t everywhere = group.load_avg - load.contribution + here;
	auto all = static_cast<std::int64_t>(group.shares);
	std::int64_t shares = all * here;
	if (everywhere)
		shares /= everywhere;
	shares = std::clamp<std::int64_t>(shares, MIN_SHARES, all);
	if (shares != entities_[id].weight)
		reweight(m, id, static_cast<std::uint32_t>(shares));
}

// sched_group_set_shares()
bool Fair::set_group_weight(Machine &m, GroupId group)
{
	groups_[group].shares = static_cast<std::uint64_t>(m.group_weight(group)) << WEIGHT_SHIFT;
	for (CpuId cpu = 0; cpu < nr_cpus_; cpu++)
		for (EntityId id = queue_of(group, cpu); id != NONE; id = parent_of(id)) {
			if (tracks_load_)
				update_load(m, id, Change::None, true);
			update_group(m, id);
		}
	return true;
}

// remove_entity_load_avg(): what a sleeping task left behind goes when its old queue is updated the next time.
void Fair::remove_load(EntityId id)
{
	LoadAvg &load = loads_[id];
	if (!tracks_load_ || !load.last_update)
		return;
	QueueLoad &queue_load = queue_loads_[entities_[id].queue];
	if (load.age(queue_load.last_update, 0, 0, false))
		load.average(entities_[id].load());
	queue_load.remove(load);
	load.last_update = 0;
}

// post_init_entity_util_avg(): a new task is thought to use what others of its weight do, at most half of what is left.
void Fair::init_load(TaskId id)
{
	LoadAvg &load = loads_[entity_of(id)];
	const Entity &entity = entities_[entity_of(id)];
	const QueueLoad &queue_load = queue_loads_[entity.queue];
	std::int64_t cap = (1024 - queue_load.util_avg) / 2;
	if (cap <= 0)
		return;
	load.util_avg = cap;
	if (queue_load.util_avg)
		load.util_avg = std::min(queue_load.util_avg * entity.load() / (queue_load.load_avg + 1), cap);
	load.runnable_avg = load.util_avg;
}

// task_h_load(): a task's part in its CPU's load, through all groups above it.
std::int64_t Fair::h_load(TaskId id) const
{
	auto part = [this](auto self, EntityId entity) -> std::int64_t {
		EntityId parent = parent_of(entity);
		const QueueLoad &queue_load = queue_loads_[entities_[entity].queue];
		std::int64_t whole = parent == NONE ? queue_load.load_avg : self(self, parent);
		return loads_[entity].load_avg * whole / (queue_load.load_avg + 1);
	};
	return part(part, entity_of(id));
}

// update_blocked_averages(): children stand behind their parents.
void Fair::update_blocked(Machine &m, CpuId cpu)
{
	for (auto group = static_cast<GroupId>(groups_.size()); group-- > 0;) {
		QueueId queue = queue_of(group, cpu);
		if (!queue_loads_[queue].last_update && !queues_[queue].nr_queued)
			continue;
		if (update_queue_load(queues_[queue], queue_loads_[queue], load_clock(m, queue)))
			contribute(m, queue);
		if (group != ROOT_GROUP && (loads_[queue].last_update || queue_loads_[queue].propagates))
			update_load(m, queue, Change::None, true);
	}
}

}  // namespace schedtuna::sim
