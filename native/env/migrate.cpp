/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate.hpp"

#include "action.hpp"

#include <utility>

namespace schedtuna::env
{

Migrate::Migrate(std::shared_ptr<const MigrateSetup> setup, std::uint64_t seed) : setup_(std::move(setup))
{
	this->seed(seed);
}

void Migrate::reset()
{
	reset(setup_->loads.draw(key_, nth_episode_++));
}

void Migrate::reset(Draw draw)
{
	base_ = setup_->loads.begin(draw);
	base_->set_migration_cost(setup_->decision_ns);
	base_->set_traced(is_traced_);
	events_.clear();
	baseline_ = &setup_->loads.baseline(draw);
	draw_ = draw;
	nth_ = 0;
	before_ = {};
	decided_at_ = since_ = 0;
	terminated_ = truncated_ = false;
	look_ahead();
	is_still_ = terminated_ || truncated_;
}

// To the next decision, or to the end.
void Migrate::look_ahead()
{
	ahead_ = std::make_unique<Simulation>(*base_);
	if (ahead_->run_to_migration(nth_, setup_->episode_ns)) {
		asked_ = ahead_->asked();
	} else {
		asked_ = {};
		switch (ahead_->run(setup_->episode_ns)) {
		case Stop::AllExited:
			terminated_ = true;
			break;
		case Stop::Deadlock:
			throw BadInput("the load is stuck: " + ahead_->waiting());
		default:
			truncated_ = true;
		}
	}
	since_ = ahead_->now() - decided_at_;
	decided_at_ = ahead_->now();
}

Outcome Migrate::step(std::uint32_t action)
{
	known_action(action, MIGRATE + 1);
	if (std::exchange(is_still_, false))
		return {reward(), terminated_, truncated_, since_, false};
	if (terminated_ || truncated_)
		throw BadInput("the episode has ended: reset first");
	std::uint64_t decided = nth_++;
	base_->decide_migration(decided, action == MIGRATE);
	if (action == MIGRATE && ahead_->nr_migrations_asked() == nth_) {  // what runs ahead took that for granted
		replace_base(std::move(ahead_));
	} else {
		// Unless the same event holds the next decision, too.
		auto next = std::make_unique<Simulation>(*base_);
		next->run_to_migration(decided, setup_->episode_ns);
		if (next->nr_migrations_asked() == nth_)
			replace_base(std::move(next));
	}
	look_ahead();
	return {reward(), terminated_, truncated_, since_, false};
}

void Migrate::replace_base(std::unique_ptr<Simulation> next)
{
	events_.insert(events_.end(), base_->events().begin(), base_->events().end());
	base_ = std::move(next);
}

std::vector<sched_event> Migrate::events() const
{
	std::vector<sched_event> all = events_;
	for (const Simulation *each : {base_.get(), ahead_.get()})
		all.insert(all.end(), each->events().begin(), each->events().end());
	return all;
}

double Migrate::reward()
{
	Amounts now = amounts();
	double sum = setup_->loads.reward(now, before_, *baseline_);
	before_ = now;
	return sum;
}

void Migrate::observe(float *values) const
{
	auto permille = [](Ns load) { return (load * 1000 + 512) / 1024; };
	const Ns all[] = {asked_.to == NONE ? 0 : asked_.to, asked_.nr_idle, asked_.nr_busy, permille(asked_.from_load),
			  permille(asked_.to_load)};
	for (std::size_t i = 0; i < MIGRATION_FEATURES.size(); i++)
		values[i] = setup_->features[i](all[i]);
}

}  // namespace schedtuna::env
