/* SPDX-License-Identifier: Apache-2.0 */
// PickNext: an episode is a load on a simulated machine, a step is the choice of what a CPU runs next.
//
// A CPU is asked where it has the choice among two tasks or more; one that is alone runs. Candidates stand in slots:
// who ran there until now, if it can go on, then those that wait longest; if there are more than slots, the others are
// only counted. A task's slot depends on its id and on a permutation drawn per episode: it says nothing of the order.
#pragma once

#include "encoder.hpp"
#include "loads.hpp"
#include "sim/external.hpp"

#include <deque>
#include <memory>

namespace schedtuna::env
{

inline constexpr std::uint32_t MAX_SLOTS = 64;
inline constexpr Ns BOOST = 4;	// slices

// X(name): what is observed of each candidate; a row of the same name in the table of features says what it is.
#define SCHEDTUNA_ENV_TASK_FEATURES(X) \
	X(is_candidate)                \
	X(nice)                        \
	X(waited_ns)                   \
	X(attained_ns)                 \
	X(burst_ns)                    \
	X(cpu_time_ns)                 \
	X(rss_kib)                     \
	X(ran_here)                    \
	X(shares_llc)                  \
	X(is_previous)
// And of the machine.
#define SCHEDTUNA_ENV_MACHINE_FEATURES(X) \
	X(nr_waiting)                     \
	X(nr_candidates)                  \
	X(busy_percent)                   \
	X(nr_cpus)                        \
	X(was_idle)                       \
	X(longest_elsewhere_ns)           \
	X(since_decision_ns)

#define X(name) name,
enum class TaskFeature : std::uint8_t { SCHEDTUNA_ENV_TASK_FEATURES(X) };
enum class MachineFeature : std::uint8_t { SCHEDTUNA_ENV_MACHINE_FEATURES(X) };
#undef X
#define X(name) #name,
inline constexpr std::array<std::string_view, 10> TASK_FEATURES{SCHEDTUNA_ENV_TASK_FEATURES(X)};
inline constexpr std::array<std::string_view, 7> MACHINE_FEATURES{SCHEDTUNA_ENV_MACHINE_FEATURES(X)};
#undef X

// Actions: run the task in a slot; run it with a longer slice; then these.
enum class Other : std::uint8_t { Idle, Delay, Preempt };
inline constexpr std::uint32_t NR_OTHERS = 3;

struct Lengths {
	Ns episode_ns = 500'000'000;
	Ns decision_ns = 500;	 // what a choice costs
	Ns idle_ns = 4'000'000;	 // how long Idle lasts if no task comes
	Ns delay_ns = 100'000;	 // and Delay
};

// What environments of a kind share: loads, their draws, what the default scheduler makes of them.
class PickNextSetup
{
      public:
	PickNextSetup(std::vector<Workload> workloads, std::vector<std::uint64_t> arrivals, Topology topology,
		      const Costs &costs, Lengths lengths, std::unique_ptr<Scheduler> chooser,
		      std::unique_ptr<Scheduler> baseline, std::array<double, TERMS.size()> weights,
		      std::uint32_t nr_slots, std::vector<std::vector<Ns>> edges);

	std::uint32_t nr_actions() const
	{
		return 2 * nr_slots + NR_OTHERS;
	}
	std::uint32_t nr_observed() const
	{
		return nr_slots * static_cast<std::uint32_t>(TASK_FEATURES.size())
		       + static_cast<std::uint32_t>(MACHINE_FEATURES.size());
	}

	Loads loads;			 // under the default scheduler
	std::vector<Simulation> starts;	 // of each load, under the policy
	Lengths lengths;
	Ns slice_ns;
	std::uint32_t nr_slots;
	std::vector<const Encoder *> task_features, machine_features;

      private:
	std::deque<Encoder> encoders_;	// features of the same bins share one
};

class PickNext
{
      public:
	using Setup = PickNextSetup;
	static constexpr std::size_t PER_THREAD = 256;	// with fewer, waking threads up takes longer than they save

	explicit PickNext(std::shared_ptr<const PickNextSetup> setup, std::uint64_t seed);

	void seed(std::uint64_t seed);	// of the episodes from the next reset() on
	void reset();
	void reset(Draw draw);
	// Raises BadInput: there is no such action, or the episode has ended. A masked one: who came first runs.
	Outcome step(std::uint32_t action);

	void observe(float *values) const;
	void mask(bool *allowed) const;

	const Draw &draw() const
	{
		return draw_;
	}
	const Simulation &simulation() const
	{
		return *simulation_;
	}
	void set_traced(bool is_traced)	 // from the next reset() on
	{
		is_traced_ = is_traced;
	}
	std::vector<sched_event> events() const	 // since the last reset()
	{
		return simulation_->events();
	}
	// The same where the scheduler decides by itself: it does, and which action was that? NONE: who runs has no
	// slot.
	std::pair<Outcome, std::uint32_t> watch();

	CandidateRow row(TaskId id) const
	{
		return meter().is_watched() ? meter().row(*simulation_, id) : external().row(*simulation_, id);
	}
	TaskId in_slot(std::uint32_t slot) const  // NONE: nobody
	{
		return slots_[slot];
	}
	Amounts amounts()
	{
		return meter().amounts(*simulation_);
	}

      private:
	Metered &meter() const
	{
		return static_cast<Metered &>(simulation_->scheduler());
	}
	External &external() const
	{
		return static_cast<External &>(meter().inner());
	}
	void go_on();
	void fill_slots();
	void choose(TaskId next);
	void idle(Ns length);
	void observe_task(TaskId id, float *values) const;
	CpuId longest_elsewhere(Ns &attained) const;
	bool is_allowed(std::uint32_t action) const;
	void take(std::uint32_t action);
	double reward();
	void draw_sizes();
	Ns attained_ns(TaskId id) const;

	std::shared_ptr<const PickNextSetup> setup_;
	std::unique_ptr<Simulation> simulation_;
	std::uint64_t key_ = 0, nth_ = 0;
	Draw draw_;
	std::array<std::uint8_t, MAX_SLOTS> home_{};
	std::array<TaskId, MAX_SLOTS> slots_{};
	std::array<std::uint8_t, MAX_SLOTS> taken_{};  // slots that have a task
	std::uint32_t nr_taken_ = 0;
	TaskId first_ = NONE;  // who has waited longest
	std::uint32_t nr_candidates_ = 0;
	std::uint32_t nr_preempts_ = 0;	 // as part of this decision
	CpuId elsewhere_ = NONE;	 // who may be preempted
	Ns longest_ = 0;
	Ns decided_at_ = 0, since_ = 0;
	std::vector<float> rss_;  // encoded, of each task definition
	const Amounts *baseline_ = nullptr;
	Amounts before_{};
	bool terminated_ = true, truncated_ = false;
	bool is_traced_ = false;
};

}  // namespace schedtuna::env
