/* SPDX-License-Identifier: Apache-2.0 */
#include "fair_load.hpp"

#include <algorithm>

namespace schedtuna::sim
{

namespace
{

constexpr std::int64_t LOAD_AVG_MAX = 47742;
constexpr std::int64_t MIN_DIVIDER = LOAD_AVG_MAX - 1024;

// y^n * 2^32 (runnable_avg_yN_inv).
constexpr std::uint32_t DECAY[32] = {
	0xffffffff, 0xfa83b2da, 0xf5257d14, 0xefe4b99a, 0xeac0c6e6, 0xe5b906e6, 0xe0ccdeeb, 0xdbfbb796,
	0xd744fcc9, 0xd2a81d91, 0xce248c14, 0xc9b9bd85, 0xc5672a10, 0xc12c4cc9, 0xbd08a39e, 0xb8fbaf46,
	0xb504f333, 0xb123f581, 0xad583ee9, 0xa9a15ab4, 0xa5fed6a9, 0xa2704302, 0x9ef5325f, 0x9b8d39b9,
	0x9837f050, 0x94f4efa8, 0x91c3d373, 0x8ea4398a, 0x8b95c1e3, 0x88980e80, 0x85aac367, 0x82cd8698,
};

std::int64_t decay(std::int64_t value, std::int64_t periods)
{
	if (periods > 32 * 63)
		return 0;
	value >>= periods / 32;
	return static_cast<std::int64_t>(static_cast<__int128>(value) * DECAY[periods % 32] >> 32);
}

void add_positive(std::int64_t &value, std::int64_t delta)
{
	value = std::max<std::int64_t>(value + delta, 0);
}

}  // namespace

bool LoadAvg::age_by_periods(Ns now, std::int64_t load, std::int64_t runnable, bool running)
{
	std::int64_t delta = now - last_update;
	if (delta < 0) {
		last_update = now;
		return false;
	}
	delta >>= 10;
	last_update += delta << 10;
	delta += period_contrib;
	std::int64_t periods = delta / PERIOD;
	delta %= PERIOD;
	load_sum = decay(load_sum, periods);
	runnable_sum = decay(runnable_sum, periods);
	util_sum = decay(util_sum, periods);
	// __accumulate_pelt_segments()
	std::int64_t contrib = decay(PERIOD - period_contrib, periods) + LOAD_AVG_MAX - decay(LOAD_AVG_MAX, periods)
			       - PERIOD + delta;
	period_contrib = static_cast<std::uint32_t>(delta);
	add(contrib, load, runnable, running);
	return true;
}

std::int64_t LoadAvg::divider() const
{
	return MIN_DIVIDER + period_contrib;
}

void LoadAvg::average(std::int64_t load)
{
	load_avg = load * load_sum / divider();
	runnable_avg = runnable_sum / divider();
	util_avg = util_sum / divider();
}

void QueueLoad::propagate(std::int64_t runnable_sum_of_entity)
{
	propagates = true;
	propagated += runnable_sum_of_entity;
}

void QueueLoad::enqueue_load(const LoadAvg &entity, std::int64_t weight)
{
	load_avg += entity.load_avg;
	load_sum += weight * entity.load_sum;
}

void QueueLoad::dequeue_load(const LoadAvg &entity, std::int64_t weight)
{
	add_positive(load_avg, -entity.load_avg);
	add_positive(load_sum, -weight * entity.load_sum);
	load_sum = std::max(load_sum, load_avg * MIN_DIVIDER);
}

// attach_entity_load_avg(): the sums are made anew, in step with the queue's period.
void QueueLoad::attach(LoadAvg &entity, std::int64_t weight)
{
	entity.last_update = last_update;
	entity.period_contrib = period_contrib;
	entity.util_sum = entity.util_avg * divider();
	entity.runnable_sum = entity.runnable_avg * divider();
	entity.load_sum = std::max<std::int64_t>(entity.load_avg * divider() / weight, 1);
	enqueue_load(entity, weight);
	util_avg += entity.util_avg;
	util_sum += entity.util_sum;
	runnable_avg += entity.runnable_avg;
	runnable_sum += entity.runnable_sum;
	propagate(entity.load_sum);
}

void QueueLoad::detach(const LoadAvg &entity, std::int64_t weight)
{
	dequeue_load(entity, weight);
	add_positive(util_avg, -entity.util_avg);
	add_positive(util_sum, -entity.util_sum);
	util_sum = std::max(util_sum, util_avg * MIN_DIVIDER);
	add_positive(runnable_avg, -entity.runnable_avg);
	add_positive(runnable_sum, -entity.runnable_sum);
	runnable_sum = std::max(runnable_sum, runnable_avg * MIN_DIVIDER);
	propagate(-entity.load_sum);
}

void QueueLoad::remove(const LoadAvg &entity)
{
	nr_removed++;
	removed_load += entity.load_avg;
	removed_util += entity.util_avg;
	removed_runnable += entity.runnable_avg;
}

bool QueueLoad::take_some_removed()
{
	auto take = [this](std::int64_t &avg, std::int64_t &sum, std::int64_t removed) {
		add_positive(avg, -removed);
		add_positive(sum, -removed * divider());
		sum = std::max(sum, avg * MIN_DIVIDER);
	};
	take(load_avg, load_sum, removed_load);
	take(util_avg, util_sum, removed_util);
	take(runnable_avg, runnable_sum, removed_runnable);
	propagate(-(removed_runnable * divider() >> 10));
	removed_load = removed_util = removed_runnable = 0;
	nr_removed = 0;
	return true;
}

bool propagate_load(QueueLoad &queue, LoadAvg &entity, std::int64_t entity_weight, QueueLoad &group,
		    std::int64_t group_weight)
{
	if (!group.propagates)
		return false;
	group.propagates = false;
	queue.propagates = true;
	queue.propagated += group.propagated;
	auto follow = [&](std::int64_t LoadAvg::*avg, std::int64_t LoadAvg::*sum) {
		std::int64_t delta = group.*avg - entity.*avg;
		if (!delta)
			return;
		entity.*avg = group.*avg;
		std::int64_t new_sum = entity.*avg * queue.divider(), delta_sum = new_sum - entity.*sum;
		entity.*sum = new_sum;
		add_positive(queue.*avg, delta);
		add_positive(queue.*sum, delta_sum);
		queue.*sum = std::max(queue.*sum, queue.*avg * MIN_DIVIDER);
	};
	follow(&LoadAvg::util_avg, &LoadAvg::util_sum);
	follow(&LoadAvg::runnable_avg, &LoadAvg::runnable_sum);
	// update_tg_cfs_load()
	std::int64_t runnable = group.propagated;
	group.propagated = 0;
	if (!runnable)
		return true;
	if (runnable > 0)
		runnable = std::min(runnable + entity.load_sum, queue.divider());
	else
		runnable = std::min(entity.load_sum, group_weight ? group.load_sum / group_weight : 0);
	runnable = std::max(runnable, entity.util_sum >> 10);
	std::int64_t load_sum = entity_weight * runnable, load_avg = load_sum / queue.divider();
	if (load_avg == entity.load_avg)
		return true;
	std::int64_t delta_avg = load_avg - entity.load_avg, delta_sum = load_sum - entity_weight * entity.load_sum;
	entity.load_sum = runnable;
	entity.load_avg = load_avg;
	add_positive(queue.load_avg, delta_avg);
	add_positive(queue.load_sum, delta_sum);
	queue.load_sum = std::max(queue.load_sum, queue.load_avg * MIN_DIVIDER);
	return true;
}

}  // namespace schedtuna::sim
