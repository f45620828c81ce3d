/* SPDX-License-Identifier: Apache-2.0 */
// Per-entity load tracking: geometric averages of load, runnability and utilisation (kernel/sched/pelt.c), in integers.
//
// A period is 1024 us, and y^32 = 1/2. CPUs are of one capacity and frequency, so nothing is scaled.
#pragma once

#include "types.hpp"

namespace schedtuna::sim
{

struct LoadAvg {
	Ns last_update = 0;  // 0: not attached to a queue
	std::int64_t load_sum = 0, runnable_sum = 0, util_sum = 0;
	std::int64_t load_avg = 0, runnable_avg = 0, util_avg = 0;
	std::uint32_t period_contrib = 0;

	// ___update_load_sum(): true if a period has ended, so that the averages are due. Time passes in steps of 1024
	// ns.
	bool age(Ns now, std::int64_t load, std::int64_t runnable, bool running)
	{
		std::uint64_t steps = steps_to(now);
		if (!steps)
			return false;
		if (ends_period(steps))	 // or time went back
			return age_by_periods(now, load, runnable, running);
		age_within(steps, load, runnable, running);
		return false;
	}
	// The same where it is known that no period ends: of so many steps, which may be none.
	std::uint64_t steps_to(Ns now) const
	{
		return static_cast<std::uint64_t>(now - last_update) >> 10;
	}
	bool ends_period(std::uint64_t steps) const
	{
		return steps >= PERIOD - period_contrib;
	}
	void age_within(std::uint64_t steps, std::int64_t load, std::int64_t runnable, bool running)
	{
		last_update += static_cast<Ns>(steps << 10);
		period_contrib += static_cast<std::uint32_t>(steps);
		add(static_cast<std::int64_t>(steps), load, runnable, running);
	}
	void average(std::int64_t load);  // ___update_load_avg()
	std::int64_t divider() const;	  // get_pelt_divider()

      private:
	static constexpr std::uint32_t PERIOD = 1024;  // steps

	bool age_by_periods(Ns now, std::int64_t load, std::int64_t runnable, bool running);
	void add(std::int64_t contrib, std::int64_t load, std::int64_t runnable, bool running)
	{
		if (!load)
			return;
		load_sum += load * contrib;
		runnable_sum += runnable * contrib << 10;
		util_sum += running ? contrib << 10 : 0;
	}
};

// The averages of a queue, and what has yet to be taken out or passed on to its group's entity.
struct QueueLoad : LoadAvg {
	std::int64_t removed_load = 0, removed_util = 0, removed_runnable = 0;
	std::int64_t propagated = 0;	// prop_runnable_sum
	std::int64_t contribution = 0;	// tg_load_avg_contrib
	Ns contributed_at = -1'000'000;
	std::uint32_t nr_removed = 0;
	std::uint32_t nr_runnable = 0;	// h_nr_runnable when its group's entity was last updated (runnable_weight)
	bool propagates = false;

	void attach(LoadAvg &entity, std::int64_t weight);
	void detach(const LoadAvg &entity, std::int64_t weight);
	void remove(const LoadAvg &entity);  // of a task that sleeps: at the next update
	bool take_removed()
	{
		return nr_removed && take_some_removed();
	}
	void enqueue_load(const LoadAvg &entity, std::int64_t weight);
	void dequeue_load(const LoadAvg &entity, std::int64_t weight);

      private:
	bool take_some_removed();
	void propagate(std::int64_t runnable_sum);
};

// propagate_entity_load_avg(): a group's entity takes over what tasks brought to or took from the group's queue.
bool propagate_load(QueueLoad &queue, LoadAvg &entity, std::int64_t entity_weight, QueueLoad &group,
		    std::int64_t group_weight);

}  // namespace schedtuna::sim
