/* SPDX-License-Identifier: Apache-2.0 */
// Deadlines by habit: who usually computes little between two sleeps comes soon, and preempts who doesn't.
//
// A task's deadline is its virtual time, of which a sleeper keeps `lag` at most, plus the average of its bursts, both
// by its weight; a slice is shared with those that wait. The idea is that of scx_bpfland and scx_flash.
#include "ranked.hpp"
#include "registry.hpp"

#include <algorithm>

namespace schedtuna::sim
{

namespace
{

class Interactive final : public RankedScheduler
{
      public:
	Interactive(Ns slice_ns, Ns least_slice_ns, Ns lag_ns)
	    : slice_ns_(slice_ns), least_slice_ns_(least_slice_ns), lag_ns_(lag_ns)
	{
	}
	std::string_view name() const override
	{
		return "interactive";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Interactive>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		slice_ns_ = values[0] * 1000;
		least_slice_ns_ = values[1] * 1000;
		lag_ns_ = values[2] * 1000;
		return true;
	}
	void init_task(Machine &m, TaskId id) override
	{
		RankedScheduler::init_task(m, id);
		habits_.resize(m.nr_tasks());
		m.task(id).vtime = now_;
		habits_[id].burst_ns = slice_ns_;
	}
	void running(Machine &m, TaskId id) override
	{
		now_ = std::max(now_, m.task(id).vtime);
		habits_[id].ran_from = m.cpu_time_ns(id);
	}
	void stopping(Machine &m, TaskId id, bool) override
	{
		m.task(id).vtime += by_weight(m, id, m.cpu_time_ns(id) - habits_[id].ran_from);
	}

      protected:
	void burst_begins(Machine &m, TaskId id) override
	{
		clock_.begin(m, id);
	}
	void burst_ends(Machine &m, TaskId id) override
	{
		Habit &habit = habits_[id];
		habit.burst_ns += (clock_.attained_ns(m, id) - habit.burst_ns) / 4;
	}
	void update(Machine &m, TaskId id) override
	{
		Task &task = m.task(id);
		task.vtime = std::max(task.vtime, now_ - by_weight(m, id, lag_ns_));
		habits_[id].deadline = task.vtime + by_weight(m, id, habits_[id].burst_ns);
	}
	Ns rank(const Machine &, TaskId id) const override
	{
		return habits_[id].deadline;
	}
	Ns slice_ns(const Machine &m, TaskId) const override
	{
		Ns waiting = m.dsq_nr_queued(queue()) / m.nr_cpus();
		return std::max(slice_ns_ / (waiting + 1), least_slice_ns_);
	}
	bool preempts(EnqueueReason reason) const override
	{
		return reason == EnqueueReason::Wakeup;
	}

      private:
	struct Habit {
		Ns burst_ns = 0;  // moving average of what it computes between two sleeps
		Ns ran_from = 0;  // in its CPU time
		Ns deadline = 0;  // in virtual time
	};

	static Ns by_weight(const Machine &m, TaskId id, Ns time)
	{
		return time * NICE_0_WEIGHT / m.task(id).weight;
	}

	Ns slice_ns_, least_slice_ns_, lag_ns_;
	Ns now_ = 0;  // the virtual time of what began to run last
	BurstClock clock_;
	std::vector<Habit> habits_;
};

constexpr Parameter PARAMETERS[] = {
	{"slice_us", ParameterKind::Integer, 5000, 1, 10'000'000, "how long a task runs while nobody waits, us"},
	{"least_slice_us", ParameterKind::Integer, 500, 1, 10'000'000, "and however many wait, us"},
	{"lag_us", ParameterKind::Integer, 20'000, 0, 10'000'000, "how much virtual time a sleeper may save up, us"},
};

}  // namespace

extern const SchedulerRow INTERACTIVE;
const SchedulerRow INTERACTIVE{"interactive", "who usually computes little between two sleeps comes soon", PARAMETERS,
			       [](Values values) -> std::unique_ptr<Scheduler> {
				       return std::make_unique<Interactive>(values[0] * 1000, values[1] * 1000,
									    values[2] * 1000);
			       }};

}  // namespace schedtuna::sim
