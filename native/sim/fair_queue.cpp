/* SPDX-License-Identifier: Apache-2.0 */
#include "fair_queue.hpp"

#include <algorithm>
#include <iterator>

namespace schedtuna::sim
{

namespace
{

// sched_prio_to_weight and sched_prio_to_wmult of kernel/sched/core.c; the latter is 2^32 / weight, not always rounded.
// The last is SCHED_IDLE's.
constexpr std::uint32_t NICE_WEIGHTS[] = {88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548,
					  7620,	 6100,	4904,  3906,  3121,  2501,  1991,  1586,  1277,	 1024,	820,
					  655,	 526,	423,   335,   272,   215,   172,   137,	  110,	 87,	70,
					  56,	 45,	36,    29,    23,    18,    15,	   3};
constexpr std::uint32_t NICE_INVERSES[] = {48388,     59856,	 76040,	    92818,     118348,	  147320,    184698,
					   229616,    287308,	 360437,    449829,    563644,	  704093,    875809,
					   1099582,   1376151,	 1717300,   2157191,   2708050,	  3363326,   4194304,
					   5237765,   6557202,	 8165337,   10153587,  12820798,  15790321,  19976592,
					   24970740,  31350126,	 39045157,  49367440,  61356676,  76695844,  95443717,
					   119304647, 148102320, 186737708, 238609294, 286331153, 1431655765};

}  // namespace

// __calc_delta() multiplies by weight * inverse, with as many bits dropped as make that fit in 32.
void Entity::set_weight(std::uint32_t scaled_up, bool is_task)
{
	weight = scaled_up;
	low = std::max(weight >> WEIGHT_SHIFT, 2u);
	std::uint64_t inverse = 0xffffffff / low;
	if (const auto *nice = std::find(std::begin(NICE_WEIGHTS), std::end(NICE_WEIGHTS), low);
	    is_task && nice != std::end(NICE_WEIGHTS))
		inverse = NICE_INVERSES[nice - NICE_WEIGHTS];
	std::uint64_t product = NICE_0_WEIGHT * inverse;
	shift = 32;
	while (product >> 32) {
		product >>= 1;
		shift--;
	}
	factor = static_cast<std::uint32_t>(product);
}

void Timeline::Block::find_least()
{
	least = waiting[0].vruntime;
	for (std::uint32_t i = 1; i < size; i++)
		least = std::min(least, waiting[i].vruntime);
}

[[gnu::always_inline]] inline void Timeline::insert(EntityId id, Ns deadline, Ns vruntime)
{
	if (blocks_.empty())
		blocks_.emplace_back();
	// The last block that begins no later: equal deadlines are FIFO.
	std::size_t b = 0;
	if (blocks_.size() > 1) {
		auto begins_later = [](Ns at, const Block &block) { return at < block.waiting[0].deadline; };
		auto after = std::upper_bound(blocks_.begin(), blocks_.end(), deadline, begins_later);
		b = after == blocks_.begin() ? 0 : static_cast<std::size_t>(after - blocks_.begin()) - 1;
	}
	if (blocks_[b].size == BLOCK) {
		blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(b) + 1, Block{});
		Block &full = blocks_[b], &half = blocks_[b + 1];
		half.size = BLOCK / 2;
		full.size = BLOCK - half.size;
		std::copy_n(full.waiting + full.size, half.size, half.waiting);
		full.find_least();
		half.find_least();
		b += deadline >= half.waiting[0].deadline;
	}
	Block &block = blocks_[b];
	Waiting *end = block.waiting + block.size, *at = end;
	while (at != block.waiting && at[-1].deadline > deadline)
		at--;
	std::copy_backward(at, end, end + 1);
	*at = {deadline, vruntime, id};
	if (!block.size || vruntime < block.least)
		block.least = vruntime;
	block.size++;
}

[[gnu::always_inline]] inline void Timeline::erase(EntityId id, Ns deadline)
{
	auto ends_before = [](const Block &block, Ns at) { return block.waiting[block.size - 1].deadline < at; };
	auto block = blocks_.begin();
	if (blocks_.size() > 1)
		block = std::lower_bound(blocks_.begin(), blocks_.end(), deadline, ends_before);
	for (;; ++block) {
		Waiting *end = block->waiting + block->size;
		Waiting *at = std::find_if(block->waiting, end, [id](const Waiting &w) { return w.id == id; });
		if (at == end)
			continue;
		Ns vruntime = at->vruntime;
		std::copy(at + 1, end, at);
		if (!--block->size)
			blocks_.erase(block);
		else if (vruntime == block->least)
			block->find_least();
		return;
	}
}

[[gnu::always_inline]] inline EntityId Timeline::first_eligible(Ns zero, std::int64_t load, std::int64_t sum) const
{
	auto eligible = [=](Ns vruntime) { return static_cast<__int128>(vruntime - zero) * load <= sum; };
	for (const Block &block : blocks_) {
		if (blocks_.size() > 1 && !eligible(block.least))
			continue;
		for (std::uint32_t i = 0; i < block.size; i++)
			if (eligible(block.waiting[i].vruntime))
				return block.waiting[i].id;
	}
	return NONE;
}

void FairQueue::enqueue(const Entities &entities, EntityId id)
{
	const Entity &entity = entities[id];
	bool first = timeline_.empty();
	timeline_.insert(id, entity.deadline, entity.vruntime);
	sum_weighted_ += (entity.vruntime - zero_) * entity.load();
	sum_load_ += entity.load();
	if (first) {
		min_slice_ = max_slice_ = entity.slice;
		nr_min_ = nr_max_ = 1;
		return;
	}
	if (nr_min_ && entity.slice <= min_slice_) {
		nr_min_ = entity.slice == min_slice_ ? nr_min_ + 1 : 1;
		min_slice_ = entity.slice;
	}
	if (nr_max_ && entity.slice >= max_slice_) {
		nr_max_ = entity.slice == max_slice_ ? nr_max_ + 1 : 1;
		max_slice_ = entity.slice;
	}
}

void FairQueue::dequeue(const Entities &entities, EntityId id)
{
	const Entity &entity = entities[id];
	timeline_.erase(id, entity.deadline);
	sum_weighted_ -= (entity.vruntime - zero_) * entity.load();
	sum_load_ -= entity.load();
	nr_min_ -= nr_min_ && entity.slice == min_slice_;
	nr_max_ -= nr_max_ && entity.slice == max_slice_;
}

void FairQueue::set_slice(Entities &entities, EntityId id, Ns slice)
{
	if (entities[id].slice == slice)
		return;
	entities[id].slice = slice;
	nr_min_ = nr_max_ = 0;
}

void FairQueue::find_slices(const Entities &entities) const
{
	min_slice_ = NEVER;
	max_slice_ = 0;
	timeline_.each([&](EntityId id) {
		min_slice_ = std::min(min_slice_, entities[id].slice);
		max_slice_ = std::max(max_slice_, entities[id].slice);
		return false;
	});
	nr_min_ = nr_max_ = 0;
	timeline_.each([&](EntityId id) {
		nr_min_ += entities[id].slice == min_slice_;
		nr_max_ += entities[id].slice == max_slice_;
		return false;
	});
}

EntityId FairQueue::pick(const Entities &entities, const FairParams &params, bool protect) const
{
	const Entity *running = current(entities);
	if (nr_queued == 1)
		return running ? curr : timeline_.first();
	if (params.pick_buddy && next != NONE && eligible(entities, entities[next].vruntime))
		return next;
	Sum total = sum(entities);
	if (running && static_cast<__int128>(running->vruntime - zero_) * total.load > total.weighted)
		running = nullptr;
	if (running && protect && (params.run_to_parity || params.version >= 618) && is_protected(*running, params))
		return curr;
	EntityId best = timeline_.first_eligible(zero_, total.load, total.weighted);
	if (best == NONE || (running && running->deadline < entities[best].deadline))
		return running ? curr : NONE;
	return best;
}

void FairQueue::place(Entities &entities, EntityId id, const FairParams &params, bool initial)
{
	Entity &entity = entities[id];
	Ns average = avg_vruntime(entities);
	if (!entity.custom_slice)
		entity.slice = params.base_slice_ns;
	Ns lag = 0;
	// Adding it will move V towards it; inflated by (W + w) / W its lag is what it had after that.
	if (params.place_lag && nr_queued && entity.vlag) {
		std::int64_t load = sum_load_;
		if (const Entity *running = current(entities))
			load += running->load();
		lag = entity.vlag * (load + entity.load()) / std::max<std::int64_t>(load, 1);
	}
	entity.vruntime = average - lag;
	if (entity.rel_deadline) {
		entity.deadline += entity.vruntime;
		entity.rel_deadline = false;
		return;
	}
	Ns slice = entity.delta_fair(entity.slice);
	if (initial && params.place_deadline_initial)
		slice /= 2;
	entity.deadline = entity.vruntime + slice;
}

void FairQueue::update_lag(Entities &entities, EntityId id, const FairParams &params)
{
	Entity &entity = entities[id];
	Ns longest = params.version >= 618 ? max_slice(entities) + params.tick_ns
					   : std::max(2 * entity.slice, params.tick_ns);
	Ns limit = entity.delta_fair(longest);
	entity.vlag = std::clamp(avg_vruntime(entities) - entity.vruntime, -limit, limit);
}

void FairQueue::renew_deadline(Entities &entities, EntityId id, const FairParams &params)
{
	Entity &entity = entities[id];
	if (!entity.custom_slice)
		entity.slice = params.base_slice_ns;
	entity.deadline = entity.vruntime + entity.delta_fair(entity.slice);
	avg_vruntime(entities);
}

void FairQueue::requeue_delayed(Entities &entities, EntityId id, const FairParams &params)
{
	Entity &entity = entities[id];
	if (params.delay_zero) {
		update_lag(entities, id, params);
		if (entity.vlag > 0) {
			nr_queued--;
			if (id != curr)
				dequeue(entities, id);
			entity.vlag = 0;
			place(entities, id, params, false);
			if (id != curr)
				enqueue(entities, id);
			nr_queued++;
		}
	}
	entity.delayed = false;
}

// The account must be up to date (update_curr()).
void FairQueue::reweight(Entities &entities, EntityId id, const FairParams &params, std::uint32_t weight, bool is_task)
{
	Entity &entity = entities[id];
	auto rescale = [&](Ns value) { return static_cast<Ns>(static_cast<__int128>(value) * entity.weight / weight); };
	Ns protection = 0;
	if (entity.on_rq) {
		update_lag(entities, id, params);
		entity.deadline -= entity.vruntime;
		entity.rel_deadline = true;
		// vlag was just overwritten: see Entity.
		if (id == curr && is_protected(entity, params))
			protection = rescale(entity.vlag - entity.vruntime);
		nr_queued--;
		if (id != curr) {
			Ns relative = entity.deadline;
			entity.deadline += entity.vruntime;
			dequeue(entities, id);
			entity.deadline = relative;
		}
		load_weight -= entity.weight;
	}
	entity.vlag = rescale(entity.vlag);
	if (entity.rel_deadline)
		entity.deadline = rescale(entity.deadline);
	entity.set_weight(weight, is_task);
	if (!entity.on_rq)
		return;
	place(entities, id, params, false);
	if (protection)
		entity.vlag = entity.vruntime + protection;
	load_weight += weight;
	if (id != curr)
		enqueue(entities, id);
	nr_queued++;
}

void FairQueue::set_protection(Entities &entities, EntityId id, const FairParams &params) const
{
	Entity &entity = entities[id];
	entity.vlag = entity.deadline;
	if (params.version < 618)
		return;
	Ns slice = params.run_to_parity ? min_slice(entities) : params.base_slice_us * 1000;
	if (slice < entity.slice)
		entity.vlag = std::min(entity.deadline, entity.vruntime + entity.delta_fair(slice));
}

void FairQueue::cancel_protection(Entity &entity, const FairParams &params)
{
	if (is_protected(entity, params))
		entity.vlag = params.version >= 618 ? entity.vruntime : entity.deadline + 1;
}

std::size_t pick_from_state(std::span<const EntityState> states, const QueueState &state, const FairParams &params)
{
	Entities entities(states.size());
	FairQueue queue;
	queue.nr_queued = static_cast<std::uint32_t>(states.size());
	if (state.next < states.size())
		queue.next = static_cast<EntityId>(state.next);
	for (EntityId id = 0; id < states.size(); id++) {
		const EntityState &from = states[id];
		Entity &entity = entities[id];
		entity.vruntime = from.vruntime;
		entity.deadline = from.deadline;
		entity.vlag = from.vprot;
		entity.slice = from.slice;
		entity.delayed = from.delayed;
		entity.on_rq = true;
		entity.set_weight(from.weight << WEIGHT_SHIFT, true);
		if (from.current)
			queue.curr = id;
		else
			queue.enqueue(entities, id);
	}
	EntityId id = queue.pick(entities, params, state.protect);
	return id == NONE ? SIZE_MAX : id;
}

}  // namespace schedtuna::sim
