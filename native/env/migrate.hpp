/* SPDX-License-Identifier: Apache-2.0 */
// Migrate: an episode is a load under `fair`, a step is one task that it would take from a CPU's queue to another's.
//
// A decision is foreseen (Simulation::run_to_migration()): one simulation runs ahead to see it, another one waits
// before it until it is decided. Whoever lets every task go does what `fair` does, to the last switch.
#pragma once

#include "encoder.hpp"
#include "loads.hpp"

namespace schedtuna::env
{

// X(name): what is observed; a row of the same name in the table of features says what it is.
#define SCHEDTUNA_ENV_MIGRATION_FEATURES(X) \
	X(cpu)                              \
	X(nr_idle_cpus)                     \
	X(nr_busy_cpus)                     \
	X(src_load_permille)                \
	X(dst_load_permille)

#define X(name) #name,
inline constexpr std::array<std::string_view, 5> MIGRATION_FEATURES{SCHEDTUNA_ENV_MIGRATION_FEATURES(X)};
#undef X

inline constexpr std::uint32_t STAY = 0, MIGRATE = 1;

// What environments of a kind share.
struct MigrateSetup {
	Ns episode_ns, decision_ns;
	Loads loads;
	std::vector<Encoder> features;

	std::uint32_t nr_actions() const
	{
		return MIGRATE + 1;
	}
	std::uint32_t nr_observed() const
	{
		return static_cast<std::uint32_t>(MIGRATION_FEATURES.size());
	}
};

class Migrate
{
      public:
	using Setup = MigrateSetup;
	static constexpr std::size_t PER_THREAD = 4;  // a step copies simulations: tens of microseconds

	Migrate(std::shared_ptr<const MigrateSetup> setup, std::uint64_t seed);

	void seed(std::uint64_t seed)  // of the episodes from the next reset() on
	{
		key_ = mix(seed);
		nth_episode_ = 0;
	}
	void reset();
	void reset(Draw draw);
	// STAY or MIGRATE. Raises BadInput: there is no such action, or the episode has ended.
	Outcome step(std::uint32_t action);

	void observe(float *values) const;

	const Draw &draw() const
	{
		return draw_;
	}
	const Simulation &simulation() const  // as it is when the decision is due, or at the end
	{
		return *ahead_;
	}
	void set_traced(bool is_traced)	 // from the next reset() on
	{
		is_traced_ = is_traced;
	}
	std::vector<sched_event> events() const;  // since the last reset(), until the decision
	const Migration &asked() const
	{
		return asked_;
	}
	const Amounts &baseline() const
	{
		return *baseline_;
	}
	Amounts amounts()
	{
		return static_cast<Metered &>(ahead_->scheduler()).amounts(*ahead_);
	}

      private:
	void look_ahead();
	void replace_base(std::unique_ptr<Simulation> next);
	double reward();

	std::shared_ptr<const MigrateSetup> setup_;
	std::uint64_t key_ = 0, nth_episode_ = 0;
	Draw draw_;
	std::unique_ptr<Simulation> base_, ahead_;  // at the end of an event before the decision, and of the decision's
	Migration asked_;
	std::uint64_t nth_ = 0;	 // decisions before the one that is due
	const Amounts *baseline_ = nullptr;
	Amounts before_{};
	Ns decided_at_ = 0, since_ = 0;
	bool terminated_ = true, truncated_ = false;
	bool is_traced_ = false;
	std::vector<sched_event> events_;  // before those that base_ has
	bool is_still_ = false;		   // nothing migrates in the episode: its only step has no effect
};

}  // namespace schedtuna::env
