/* SPDX-License-Identifier: Apache-2.0 */
// Lottery scheduling (C. Waldspurger and W. Weihl, "Lottery Scheduling: Flexible Proportional-Share Resource
// Management", OSDI 1994): a task's weight is the number of its tickets, and each quantum goes to whoever holds the one
// that is drawn. Who gives its CPU up after a share f of a quantum holds 1/f times as many until it wins again
// (compensation tickets).
//
// What is drawn depends on the load's seed and on how many were drawn before.
#include "one_queue.hpp"
#include "random.hpp"
#include "registry.hpp"

#include <algorithm>

namespace schedtuna::sim
{

namespace
{

constexpr std::uint64_t WHOLE = 1024;	      // of a ticket
constexpr std::uint64_t MOST = 1024 * WHOLE;  // tickets for one: a quantum of which next to nothing was used

class Lottery final : public OneQueue
{
      public:
	explicit Lottery(Ns quantum_ns) : OneQueue(quantum_ns)
	{
	}
	std::string_view name() const override
	{
		return "lottery";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Lottery>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		set_slice_ns(values[0] * 1000);
		return true;
	}
	void init_task(Machine &m, TaskId) override
	{
		tasks_.resize(m.nr_tasks());
	}
	void running(Machine &m, TaskId id) override
	{
		tasks_[id] = {WHOLE, m.cpu_time_ns(id)};
	}
	void stopping(Machine &m, TaskId id, bool) override
	{
		Ns used = std::max<Ns>(m.cpu_time_ns(id) - tasks_[id].ran_from, 1);
		if (used < slice_ns())
			tasks_[id].value = std::min(static_cast<std::uint64_t>(slice_ns()) * WHOLE
							    / static_cast<std::uint64_t>(used),
						    MOST);
	}

      protected:
	TaskId choose(Machine &m, const std::vector<TaskId> &among) override
	{
		std::uint64_t all = 0;
		for (TaskId id : among)
			all += tickets(m, id);
		std::uint64_t number = mix(mix(m.load_seed()) + nr_drawn_++);
		auto drawn = static_cast<std::uint64_t>(static_cast<unsigned __int128>(number) * all >> 64);
		for (TaskId id : among) {
			if (drawn < tickets(m, id))
				return id;
			drawn -= tickets(m, id);
		}
		return among.back();
	}

      private:
	struct Holder {
		std::uint64_t value = WHOLE;  // of each of its tickets
		Ns ran_from = 0;	      // in its CPU time
	};

	std::uint64_t tickets(const Machine &m, TaskId id) const
	{
		return m.task(id).weight * tasks_[id].value;
	}

	std::uint64_t nr_drawn_ = 0;
	std::vector<Holder> tasks_;
};

constexpr Parameter PARAMETERS[] = {
	{"quantum_us", ParameterKind::Integer, 10'000, 1, 10'000'000,
	 "what is drawn for: how long the winner runs, us"},
};

}  // namespace

extern const SchedulerRow LOTTERY;
const SchedulerRow LOTTERY{
	"lottery", "each quantum goes to a ticket that is drawn; weights are numbers of tickets", PARAMETERS,
	[](Values values) -> std::unique_ptr<Scheduler> { return std::make_unique<Lottery>(values[0] * 1000); }};

}  // namespace schedtuna::sim
