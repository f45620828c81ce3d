/* SPDX-License-Identifier: Apache-2.0 */
// What scheduling amounts to, whoever schedules: a scheduler around another one, which adds up who waits.
//
// All of it is integrals over simulated time, so that what is unfinished counts as much as what is done. A task wants
// to get on while it runs, waits for a CPU, or waits for another task (a lock, a barrier, a pipe): else starving one
// worker would empty the queue of all that wait for it. Sleeping is what its load wants.
#pragma once

#include "sim/external.hpp"
#include "sim/scheduler.hpp"
#include "sim/simulation.hpp"

#include <array>

namespace schedtuna::env
{

using namespace schedtuna::sim;

inline constexpr Ns AGING_NS = 10'000'000;	   // a wait of this length costs half as much again
inline constexpr Ns IDLE_POWER_PERCENT = 20;	   // of a busy CPU's
inline constexpr Ns IDLE_EXIT_ENERGY_NS = 50'000;  // of a busy CPU

// X(name, sign, formula): what rewards are made of. Each is in nanoseconds, and adds up over an episode.
#define SCHEDTUNA_ENV_TERMS(X)                                                                                        \
	X(throughput, 1, "CPU time that tasks got, without switches, wakeups, interrupts and decisions")              \
	X(latency, -1,                                                                                                \
	  "integral of the number of tasks that wait for a CPU or for another task, and a wait for a CPU of x ns "    \
	  "costs x^2 / 20 ms more, so that starving one hardly pays")                                                 \
	X(turnaround, -1,                                                                                             \
	  "integral of the number N of tasks that run, wait for a CPU or for another task: by Little's law the sum "  \
	  "of their turnaround times, unfinished ones included; starving a task for ever can pay")                    \
	X(fairness, -1,                                                                                               \
	  "integral of how far a task that can run is from its share by weight, on average, in units of 10 ms of "    \
	  "CPU time since it could; where there are no more tasks than CPUs nobody is owed anything")                 \
	X(idle, -1, "idle time of all CPUs")                                                                          \
	X(energy, -1, "CPU time of busy CPUs + 20% of that of idle ones + 50 us for each that leaves its idle state") \
	X(switching, -1, "CPU time of switches, wakeups, interrupts and decisions")

enum class Term : std::uint8_t {
#define X(name, sign, help) name,
	SCHEDTUNA_ENV_TERMS(X)
#undef X
};

struct TermRow {
	std::string_view name;
	int sign;
	std::string_view help;
};

inline constexpr std::array TERMS{
#define X(name, sign, help) TermRow{#name, sign, help},
	SCHEDTUNA_ENV_TERMS(X)
#undef X
};

using Amounts = std::array<Ns, TERMS.size()>;

class Metered final : public Scheduler
{
      public:
	// Shares are only followed if they are asked for: they take time for each task that waits.
	// One that is watched comes back at each of its decisions, as `external` does.
	Metered(std::unique_ptr<Scheduler> inner, bool follows_shares, bool is_watched = false)
	    : inner_(std::move(inner)), follows_shares_(follows_shares), is_watched_(is_watched)
	{
	}
	Metered(const Metered &other);

	Amounts amounts(const Simulation &);  // until now
	std::uint32_t nr_waiting() const      // for a CPU
	{
		return nr_runnable_ - nr_running_;
	}
	std::uint32_t nr_running() const
	{
		return nr_running_;
	}
	std::uint32_t nr_live() const
	{
		return nr_live_;
	}
	Scheduler &inner()
	{
		return *inner_;
	}
	bool is_watched() const
	{
		return is_watched_;
	}
	// Of one that is watched: what `external` knows of a task, and who came to run first since watch_next().
	CandidateRow row(const Machine &, TaskId) const;
	void watch_next()
	{
		chosen_ = NONE;
	}
	TaskId chosen() const
	{
		return chosen_;
	}

	std::string_view name() const override
	{
		return inner_->name();
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Metered>(*this);
	}
	bool decides_outside() const override
	{
		return is_watched_ || inner_->decides_outside();
	}
	std::string_view refuses(const Machine &m) const override
	{
		return inner_->refuses(m);
	}
	void init(Machine &) override;
	bool set_parameters(Machine &m, Values values) override
	{
		return inner_->set_parameters(m, values);
	}
	void init_task(Machine &, TaskId) override;
	void exit_task(Machine &, TaskId) override;
	CpuId select_cpu(Machine &, TaskId, CpuId prev_cpu, EnqueueReason) override;
	void enqueue(Machine &, TaskId, EnqueueReason) override;
	void dequeue(Machine &, TaskId, DequeueReason) override;
	bool wake_in_place(Machine &, TaskId) override;
	TaskId dispatch(Machine &, CpuId, TaskId prev) override;
	void candidates(const Machine &, CpuId, std::vector<TaskId> &found) const override;
	bool dispatch_instead(Machine &, CpuId, TaskId prev, TaskId instead) override;
	void running(Machine &, TaskId) override;
	void stopping(Machine &, TaskId, bool runnable) override;
	void tick(Machine &, CpuId, TaskId) override;
	void update_idle(Machine &, CpuId, bool idle) override;
	void set_weight(Machine &, TaskId) override;
	void set_cpumask(Machine &, TaskId) override;
	void read_cpu_time(Machine &, TaskId) override;
	void timer_fired(Machine &, CpuId) override;

      private:
	// What a task that can run is owed: its weight times what a unit of weight got since it could, less what it
	// got.
	struct Share {
		Ns began_at = 0;    // in owed_
		Ns got_before = 0;  // its CPU time then
		std::uint32_t place = NONE;
	};

	void pass(const Machine &);
	void begin(Machine &, TaskId);
	void end(Machine &, TaskId);
	void begin_share(const Machine &, TaskId);
	void pass_shares(const Machine &, Ns passed);

	std::unique_ptr<Scheduler> inner_;
	// Of a task of one that is watched.
	struct Past {
		Ns woke_with = 0;  // CPU time that it had then
		Ns burst_ns = 0;
	};

	bool follows_shares_, is_watched_ = false;
	TaskId chosen_ = NONE;
	std::vector<Past> past_;
	Ns now_ = 0;
	std::uint32_t nr_runnable_ = 0, nr_running_ = 0, nr_stuck_ = 0, nr_live_ = 0;
	Ns queued_since_ = 0;  // summed over those that wait
	Ns waited_ns_ = 0, wanted_ns_ = 0;
	__int128 ages_ = 0, unfair_ = 0;  // integrals, twice and once: ns^2
	std::uint64_t nr_idle_exits_ = 0;
	std::vector<Ns> queued_at_;
	std::vector<Share> shares_;
	std::vector<TaskId> runnable_;
	std::uint64_t weights_ = 0;
	Ns owed_ = 0;  // ns per 2^20 of weight
};

}  // namespace schedtuna::env
