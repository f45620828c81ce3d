/* SPDX-License-Identifier: Apache-2.0 */
#include "futures.hpp"

#include <algorithm>
#include <future>
#include <thread>
#include <utility>

namespace schedtuna::env
{

Futures::Futures(Topology topology, const Costs &costs, Workload workload, const Scheduler &fair, Seeds seeds)
{
	if (fair.name() != "fair")
		throw BadInput(std::string(fair.name())
			       + " has no queue per CPU, so that nothing migrates between them");
	base_ = std::make_unique<Simulation>(topology, costs, std::move(workload),
					     std::make_unique<Metered>(fair.clone(), false), seeds);
}

bool Futures::next(Ns until)
{
	if (std::exchange(is_due_, false)) {
		base_->decide_migration(nth_, true);
		Simulation after(*base_);
		// Unless the same event holds the next decision, too.
		after.run_to_migration(nth_++, until);
		if (after.nr_migrations_asked() == nth_)
			*base_ = std::move(after);
	}
	Simulation ahead(*base_);
	is_due_ = ahead.run_to_migration(nth_, until);
	asked_ = is_due_ ? ahead.asked() : Migration{};
	return is_due_;
}

Simulation Futures::behind(bool moves) const
{
	Simulation future(*base_);
	future.decide_migration(nth_, moves);
	future.run_to_migration(nth_, asked_.at_ns);
	return future;
}

std::vector<Ns> Futures::gains(std::uint32_t nr_pairs, const std::vector<Ns> &horizons) const
{
	if (!is_due_)
		throw BadInput("no migration is due");
	const Simulation begins[] = {behind(false), behind(true)};
	auto wanted = [](Simulation &s) {
		return static_cast<Metered &>(s.scheduler()).amounts(s)[static_cast<int>(Term::turnaround)];
	};
	std::vector<Ns> gains(nr_pairs * horizons.size());
	auto follow = [&](std::uint32_t pair) {
		Simulation stays(begins[0]), moves(begins[1]);
		for (Simulation *future : {&stays, &moves})
			future->redraw(pair + 1);
		for (std::size_t h = 0; h < horizons.size(); h++) {
			for (Simulation *future : {&stays, &moves})
				if (future->run(asked_.at_ns + horizons[h]) == Stop::Deadlock)
					throw BadInput("the load is stuck: " + future->waiting());
			gains[pair * horizons.size() + h] = wanted(stays) - wanted(moves);
		}
	};
	// Pairs have nothing to do with each other: whichever thread follows one, it comes to the same.
	std::uint32_t nr_threads = std::clamp(std::thread::hardware_concurrency(), 1u, std::max(nr_pairs, 1u));
	std::vector<std::future<void>> threads;
	for (std::uint32_t first = 0; first < nr_threads; first++)
		threads.push_back(std::async(std::launch::async, [&, first] {
			for (std::uint32_t pair = first; pair < nr_pairs; pair += nr_threads)
				follow(pair);
		}));
	for (std::future<void> &thread : threads)
		thread.wait();
	for (std::future<void> &thread : threads)
		thread.get();
	return gains;
}

}  // namespace schedtuna::env
