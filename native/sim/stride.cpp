/* SPDX-License-Identifier: Apache-2.0 */
// Stride scheduling (C. Waldspurger and W. Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource
// Management", MIT/LCS/TM-528, 1995): whoever's pass is the least runs for a quantum, which moves its pass on by CPU
// time over weight. Between any two tasks that both want to run, neither is ever a quantum ahead of its share.
//
// Who leaves takes along how far it is from the pass of all together, and comes back with that: the global pass, the
// remainders and the changed weights are the paper's. On several CPUs the global pass follows the CPU time of all.
#include "ranked.hpp"
#include "registry.hpp"

namespace schedtuna::sim
{

namespace
{

class Stride final : public RankedScheduler
{
      public:
	explicit Stride(Ns quantum_ns) : quantum_ns_(quantum_ns)
	{
	}
	std::string_view name() const override
	{
		return "stride";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Stride>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		quantum_ns_ = values[0] * 1000;
		return true;
	}
	void init_task(Machine &m, TaskId id) override
	{
		clients_.resize(m.nr_tasks());
		std::uint32_t weight = m.task(id).weight;
		clients_[id] = {.pass = 0, .remain = over(quantum_ns_, weight), .ran_from = 0, .weight = weight};
	}
	void running(Machine &m, TaskId id) override
	{
		clients_[id].ran_from = m.cpu_time_ns(id);
	}
	void stopping(Machine &m, TaskId id, bool) override
	{
		Client &client = clients_[id];
		Ns used = m.cpu_time_ns(id) - client.ran_from;
		client.pass += over(used, client.weight);
		global_pass_ += over(used, weights_);
	}
	void set_weight(Machine &m, TaskId id) override
	{
		Client &client = clients_[id];
		std::uint32_t before = client.weight;
		bool takes_part = client.takes_part;
		if (takes_part)
			leave(client);
		client.weight = m.task(id).weight;
		client.remain = client.remain * before / client.weight;
		if (takes_part)
			join(client);
	}

      protected:
	Ns rank(const Machine &, TaskId id) const override
	{
		return clients_[id].pass;
	}
	Ns slice_ns(const Machine &, TaskId) const override
	{
		return quantum_ns_;
	}
	bool preempts(EnqueueReason) const override
	{
		return false;
	}
	void update(Machine &, TaskId id) override
	{
		if (!clients_[id].takes_part)
			join(clients_[id]);
	}
	void burst_ends(Machine &, TaskId id) override
	{
		leave(clients_[id]);
	}

      private:
	struct Client {
		Ns pass = 0;	  // CPU time over weight, in units of a task of nice 0
		Ns remain = 0;	  // how far it was from the global one when it left
		Ns ran_from = 0;  // in its CPU time
		std::uint32_t weight = NICE_0_WEIGHT;
		bool takes_part = false;
	};

	static Ns over(Ns time, std::uint64_t weight)
	{
		return time * NICE_0_WEIGHT / static_cast<Ns>(weight);
	}
	void join(Client &client)
	{
		client.takes_part = true;
		client.pass = global_pass_ + client.remain;
		weights_ += client.weight;
	}
	void leave(Client &client)
	{
		client.takes_part = false;
		client.remain = client.pass - global_pass_;
		weights_ -= client.weight;
	}

	Ns quantum_ns_;
	Ns global_pass_ = 0;
	std::uint64_t weights_ = 0;  // of those that take part
	std::vector<Client> clients_;
};

constexpr Parameter PARAMETERS[] = {
	{"quantum_us", ParameterKind::Integer, 10'000, 1, 10'000'000,
	 "how long a task runs before the next one does, us"},
};

}  // namespace

extern const SchedulerRow STRIDE;
const SchedulerRow STRIDE{
	"stride", "whoever got least CPU time for its weight runs for a quantum", PARAMETERS,
	[](Values values) -> std::unique_ptr<Scheduler> { return std::make_unique<Stride>(values[0] * 1000); }};

}  // namespace schedtuna::sim
