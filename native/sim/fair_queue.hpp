/* SPDX-License-Identifier: Apache-2.0 */
// One queue of the fair class: a cfs_rq, its entities, and EEVDF's rules about them.
//
// Everything follows kernel/sched/fair.c of 6.18.44, the functions of which are named beside ours. Times are
// nanoseconds, of the CPU or (vruntime, deadline, lag) of the queue's virtual time.
#pragma once

#include "fair_params.hpp"
#include "rows.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace schedtuna::sim
{

using EntityId = std::uint32_t;

inline constexpr std::uint32_t WEIGHT_SHIFT = 10;  // SCHED_FIXEDPOINT_SHIFT: weights of groups need the resolution
inline constexpr std::uint32_t NICE_0_LOAD = NICE_0_WEIGHT << WEIGHT_SHIFT;

// A task or a group on one CPU (struct sched_entity), one cache line.
struct Entity {
	Ns vruntime = 0;
	Ns deadline = 0;  // without rel_deadline; else its distance from vruntime
	// Lag when it was dequeued; while it runs, the vruntime up to which it is protected. The kernel shares one word
	// between the two as well, which shows: a current entity whose weight changes loses its protection.
	Ns vlag = 0;
	Ns slice = 0;
	Ns exec_start = 0;
	std::uint32_t weight = NICE_0_LOAD;  // scaled up
	std::uint32_t factor = 0;	     // of delta_fair()
	std::uint32_t low = NICE_0_WEIGHT;   // scale_load_down() of the weight
	std::uint32_t queue = NONE;	     // where it is or is to be queued
	std::uint8_t shift = 32;
	bool on_rq = false;
	bool delayed = false;  // it sleeps, but is still queued
	bool rel_deadline = false;
	bool custom_slice = false;
	bool idle = false;  // policy SCHED_IDLE

	std::int64_t load() const
	{
		return low;
	}
	void set_weight(std::uint32_t scaled_up, bool is_task);
	Ns delta_fair(Ns delta) const  // calc_delta_fair(): delta * 1024 / weight, truncated as the kernel does
	{
		if (weight == NICE_0_LOAD)
			return delta;
		return static_cast<Ns>(static_cast<unsigned __int128>(static_cast<std::uint64_t>(delta)) * factor
				       >> shift);
	}
};

static_assert(sizeof(Entity) == 64);

using Entities = Rows<Entity>;

// Entities in order of (deadline, insertion), in blocks that know their least vruntime. A queue of up to 32 is one
// sorted array.
class Timeline
{
      public:
	bool empty() const
	{
		return blocks_.empty();
	}
	inline void insert(EntityId id, Ns deadline, Ns vruntime);
	inline void erase(EntityId id, Ns deadline);
	EntityId first() const
	{
		return blocks_.empty() ? NONE : blocks_.front().waiting[0].id;
	}
	// The first whose (vruntime - zero) * load is at most `sum`; NONE.
	inline EntityId first_eligible(Ns zero, std::int64_t load, std::int64_t sum) const;
	// Every entity, in order, until the function returns true.
	template <typename F> void each(F f) const
	{
		for (const Block &block : blocks_)
			for (std::uint32_t i = 0; i < block.size; i++)
				if (f(block.waiting[i].id))
					return;
	}

      private:
	static constexpr std::uint32_t BLOCK = 32;
	struct Waiting {
		Ns deadline, vruntime;
		EntityId id;
	};
	struct Block {
		std::uint32_t size = 0;
		Ns least = 0;  // vruntime
		Waiting waiting[BLOCK];

		void find_least();
	};
	std::vector<Block> blocks_;
};

class FairQueue
{
      public:
	EntityId curr = NONE;  // not in the timeline
	EntityId next = NONE;  // buddy
	std::uint32_t nr_queued = 0;
	std::uint32_t h_nr_queued = 0, h_nr_runnable = 0, h_nr_idle = 0;  // tasks, of groups below as well
	std::uint64_t load_weight = 0;					  // of all that are queued, scaled up

	const Timeline &timeline() const
	{
		return timeline_;
	}
	void enqueue(const Entities &, EntityId);  // __enqueue_entity()
	void dequeue(const Entities &, EntityId);  // __dequeue_entity()
	void set_slice(Entities &, EntityId, Ns);  // of an entity that is queued or runs

	// V, rounded down. It doesn't depend on the base of the sums, which moves along so that they stay small.
	Ns avg_vruntime(const Entities &entities)
	{
		if (!sum_load_) {
			if (const Entity *running = current(entities))
				zero_ = running->vruntime;
			return zero_;
		}
		Sum total = sum(entities);
		std::int64_t delta = total.weighted / total.load;
		delta -= total.weighted % total.load < 0;
		sum_weighted_ -= sum_load_ * delta;
		zero_ += delta;
		return zero_;
	}
	// lag >= 0, without a division. For integers that is the same as vruntime <= floor(V).
	bool eligible(const Entities &entities, Ns vruntime) const
	{
		Sum total = sum(entities);
		return static_cast<__int128>(vruntime - zero_) * total.load <= total.weighted;
	}
	EntityId pick(const Entities &, const FairParams &, bool protect) const;  // pick_eevdf(); NONE: empty
	Ns min_slice(const Entities &entities) const
	{
		const Entity *running = current(entities);
		Ns slice = running ? running->slice : NEVER;
		if (timeline_.empty())
			return slice;
		if (!nr_min_)
			find_slices(entities);
		return std::min(slice, min_slice_);
	}
	Ns max_slice(const Entities &entities) const
	{
		const Entity *running = current(entities);
		Ns slice = running ? running->slice : 0;
		if (timeline_.empty())
			return slice;
		if (!nr_max_)
			find_slices(entities);
		return std::max(slice, max_slice_);
	}

	void place(Entities &, EntityId, const FairParams &, bool initial);		 // place_entity()
	void update_lag(Entities &, EntityId, const FairParams &);			 // update_entity_lag()
	bool update_deadline(Entities &entities, EntityId id, const FairParams &params)	 // true: the slice is over
	{
		if (entities[id].vruntime < entities[id].deadline)
			return false;
		renew_deadline(entities, id, params);
		return true;
	}
	void requeue_delayed(Entities &, EntityId, const FairParams &);	 // without the counts of tasks
	void reweight(Entities &, EntityId, const FairParams &, std::uint32_t weight, bool is_task);

	void set_protection(Entities &, EntityId, const FairParams &) const;  // set_protect_slice()
	void update_protection(Entities &entities, EntityId id) const	      // update_protect_slice()
	{
		Entity &entity = entities[id];
		entity.vlag = std::min(entity.vlag, entity.vruntime + entity.delta_fair(min_slice(entities)));
	}
	static bool is_protected(const Entity &entity, const FairParams &params)  // protect_slice()
	{
		return params.version >= 618 ? entity.vruntime < entity.vlag : entity.vlag == entity.deadline;
	}
	static void cancel_protection(Entity &, const FairParams &);  // cancel_protect_slice()

      private:
	struct Sum {
		std::int64_t weighted, load;
	};
	void renew_deadline(Entities &, EntityId, const FairParams &);
	Sum sum(const Entities &entities) const
	{
		Sum total{sum_weighted_, sum_load_};
		if (const Entity *running = current(entities)) {
			total.weighted += (running->vruntime - zero_) * running->load();
			total.load += running->load();
		}
		return total;
	}
	const Entity *current(const Entities &entities) const
	{
		return curr != NONE && entities[curr].on_rq ? &entities[curr] : nullptr;
	}
	void find_slices(const Entities &) const;

	Timeline timeline_;
	Ns zero_ = -(1 << 20);		 // sums are relative to this vruntime; the kernel's queues begin here as well
	std::int64_t sum_weighted_ = 0;	 // of (vruntime - zero) * load, without the current entity
	std::int64_t sum_load_ = 0;
	// Least and greatest slice of the timeline, and how many have them; 0: to be found again.
	mutable Ns min_slice_ = 0, max_slice_ = 0;
	mutable std::uint32_t nr_min_ = 0, nr_max_ = 0;
};

// One entity and one queue as they were read from a kernel, or as a test makes them up.
struct EntityState {
	Ns vruntime = 0, deadline = 0;
	Ns slice = 0;
	Ns vprot = 0;			       // of the current one
	std::uint32_t weight = NICE_0_WEIGHT;  // scaled down
	bool delayed = false;
	bool current = false;
};

struct QueueState {
	std::size_t next = SIZE_MAX;  // index of the buddy
	bool protect = true;	      // false: the test of a shorter slice that wakes up
};

// The index of the entity that pick_eevdf() returns; those that wait stand in order of insertion (equal deadlines are
// FIFO). SIZE_MAX: no entity.
std::size_t pick_from_state(std::span<const EntityState>, const QueueState &, const FairParams &);

}  // namespace schedtuna::sim
