/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.hpp"

namespace schedtuna::sim
{

namespace
{

void check_topology(const Topology &topology)
{
	auto demand = [](bool holds, const char *what) {
		if (!holds)
			throw BadInput(std::string("topology: ") + what);
	};
	demand(topology.nr_cpus >= 1 && topology.nr_cpus <= MAX_CPUS, "a machine has 1 to 1024 CPUs");
	demand(topology.threads_per_core == 1 || topology.threads_per_core == 2, "a core has 1 or 2 threads");
	demand(topology.nr_cpus % topology.threads_per_core == 0,
	       "the number of CPUs is no multiple of a core's threads");
	demand(topology.cpus_per_llc <= topology.nr_cpus, "an LLC has more CPUs than the machine");
	demand(topology.cpus_per_llc % topology.threads_per_core == 0, "a core can't have two LLCs");
}

void check_costs(const Costs &costs)
{
	for (const CostRow &row : COST_TABLE)
		if (costs.*row.field < 0 || costs.*row.field > 1'000'000'000)
			throw BadInput("costs: " + std::string(row.name) + " is 0 to 1,000,000,000");
	if (costs.tick_ns && costs.tick_ns < 10'000)
		throw BadInput("costs: tick_ns is at least 10,000, or 0 for no ticks");
}

// Those of the constants that lay the machine out.
void check_layout(const Topology &topology, const Costs &costs)
{
	auto demand = [](bool holds, const std::string &what) {
		if (!holds)
			throw BadInput("costs: " + what);
	};
	Ns llcs = topology.cpus_per_llc ? topology.nr_cpus / topology.cpus_per_llc : 1;
	demand(costs.nodes <= 1 || llcs % costs.nodes == 0,
	       "nodes: " + std::to_string(llcs) + " caches can't be shared out among " + std::to_string(costs.nodes)
		       + " nodes; a topology says how many there are");
	demand(costs.nodes <= 1 || costs.remote_distance >= 10, "remote_distance is at least 10, a node's own");
	demand(costs.slow_cpus < topology.nr_cpus, "slow_cpus: one CPU at least is not slow");
	demand(costs.slow_cpus % topology.threads_per_core == 0, "slow_cpus: a core's threads are equally fast");
	demand(!costs.slow_cpus || (costs.slow_capacity >= 1 && costs.slow_capacity < FULL_RATE),
	       "slow_capacity is 1 to 1,023");
}

}  // namespace

Machine::Machine(Topology topology, const Costs &costs) : topology_(topology), costs_(costs)
{
	check_topology(topology);
	check_costs(costs);
	check_layout(topology, costs);
	is_uneven_ = nr_nodes() > 1 || costs.slow_cpus || costs.pressure_per_s;
	cpus_.resize(topology.nr_cpus);
	local_dsqs_.resize(topology.nr_cpus);
	dsqs_.resize(1);
	cpu_sets_.emplace_back(topology.nr_cpus, true);
	idle_ = cpu_sets_[0];
	cpu_events_ = CpuTournament(topology.nr_cpus);
	events_.grow(task_slot(0));
}

Ns Machine::cpu_time_ns(TaskId id) const
{
	const Task &t = tasks_[id];
	if (t.state != TaskState::Running)
		return t.cpu_time_ns;
	return t.cpu_time_ns + clock_task(t.cpu) - cpus_[t.cpu].charged_at;
}

Ns Machine::burst_left_ns(TaskId id) const
{
	Ns left = threads_[id].burst_left_ns;
	if (tasks_[id].state != TaskState::Running)
		return left;
	const Cpu &c = cpus_[tasks_[id].cpu];
	Ns ran = clock_task(tasks_[id].cpu) - c.charged_at - c.debt_ns;
	std::uint32_t part_done = threads_[id].part_done;
	return ran > 0 ? left - (c.rate == FULL_RATE ? ran : work_done(c.rate, ran, part_done)) : left;
}

CpuId Machine::pick_idle_cpu(const CpuSet &allowed, CpuId near)
{
	CpuId cpu = near;
	if (!idle_.has(near) || !allowed.has(near)) {
		cpu = NONE;
		if (topology_.cpus_per_llc) {
			CpuId first = near - near % topology_.cpus_per_llc;
			cpu = idle_.first_of_both(allowed, first);
			if (cpu != NONE && cpu >= first + topology_.cpus_per_llc)
				cpu = NONE;
		}
		if (cpu == NONE && nr_nodes() > 1) {
			cpu = idle_.first_of_both(allowed, node_of(near) * (nr_cpus() / nr_nodes()));
			if (cpu != NONE && node_of(cpu) != node_of(near))
				cpu = NONE;
		}
		if (cpu == NONE)
			cpu = idle_.first_of_both(allowed);
	}
	if (cpu != NONE)
		idle_.clear(cpu);
	return cpu;
}

// What slows the task that runs there: its CPU, how far its memory is, and whether memory is short.
void Machine::set_rate(CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	std::int64_t rate = capacity_of(cpu);
	std::uint32_t &home = threads_[c.current].home;
	if (home == NONE)
		home = node_of(cpu);
	if (home != node_of(cpu))
		rate = rate * 1000 / (1000 + costs_.remote_access_permille * (costs_.remote_distance - 10) / 10);
	if (is_pressed_)
		rate = rate * 1000 / (1000 + costs_.pressure_permille);
	c.rate = static_cast<std::uint32_t>(std::max<std::int64_t>(rate, 1));
}

std::string_view refuses_uneven(const Machine &m)
{
	if (m.has_slow_cpus())
		return "capacity: CPUs of several capacities are left out of its placement and balancing";
	if (m.nr_nodes() > 1)
		return "numa: memory nodes are left out of its placement and balancing";
	return {};
}

void Machine::interrupt(CpuId cpu, Ns length)
{
	if (length <= 0)
		return;
	Cpu &c = cpus_[cpu];
	c.interrupts_ns += length;
	c.interrupted_until = std::max(c.interrupted_until, now_) + length;
	if (c.current != NONE) {
		totals_.interrupts_ns += length;
		totals_.overhead_ns += length;
	}
	touch(cpu);
}

void Machine::spend(CpuId cpu, Ns cost)
{
	if (in_interrupt_ || cpus_[cpu].current == NONE) {
		interrupt(cpu, cost);
		return;
	}
	cpus_[cpu].debt_ns += cost;
	totals_.overhead_ns += cost;
	touch(cpu);
}

void Machine::resched(CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	if (c.need_resched)
		return;
	c.need_resched = true;
	if (cpu != this_cpu_)
		interrupt(cpu, costs_.ipi_ns);
	if (c.current == NONE)
		c.wakes_at = std::max(now_, c.interrupted_until) + costs_.idle_exit_ns;
	touch(cpu);
}

void Machine::kick(CpuId cpu, Kick how)
{
	Cpu &c = cpus_[cpu];
	if (how == Kick::Preempt && c.current != NONE) {
		charge(cpu);
		tasks_[c.current].slice_ns = 0;
		resched(cpu);
	} else if (c.current == NONE) {
		resched(cpu);
	}
}

// Tell of a move, and let the task pay for its cold caches with a longer burst.
void Machine::moved(TaskId id, CpuId from, CpuId to)
{
	totals_.nr_migrations++;
	if (sched_event *e = record(EVENT_MIGRATE, id, cpus_[this_cpu_].current)) {
		e->orig_cpu = static_cast<__u16>(from);
		e->target_cpu = static_cast<__u16>(to);
	}
	Thread &thread = threads_[id];
	Ns refill = costs_.migration_ns + (llc_of(from) != llc_of(to) ? costs_.migration_llc_ns : 0);
	if (node_of(from) != node_of(to))
		refill += costs_.migration_node_ns;
	(thread.burst_left_ns ? thread.burst_left_ns : thread.refill_ns) += refill;
}

void Machine::migrate(TaskId id, CpuId to)
{
	Task &t = tasks_[id];
	if (!cpus(id).has(to) || t.state == TaskState::Running)
		throw SchedulerError("a task that runs, or may not run on CPU " + std::to_string(to)
				     + ", was migrated there");
	if (t.cpu == to)
		return;
	moved(id, t.cpu, to);
	t.cpu = to;
}

sched_event *Machine::append_event(sched_event_type type, TaskId id, TaskId other)
{
	sched_event e{};
	e.timestamp_ns = static_cast<__u64>(now_);
	e.tid = id + 1;	 // NONE + 1 is 0
	e.other_tid = other + 1;
	e.type = type;
	e.cpu = e.target_cpu = e.orig_cpu = static_cast<__u16>(this_cpu_);
	e.prio = static_cast<__s16>(120 + (id == NONE ? 0 : tasks_[id].nice));
	trace_.push_back(e);
	return &trace_.back();
}

void Machine::record_attributes(TaskId id, attribute_reason reason)
{
	if (!is_traced_)
		return;
	static constexpr __u8 KERNELS[] = {0, 3, 5};  // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE
	const Task &t = tasks_[id];
	attributes_.push_back({static_cast<__u64>(now_), static_cast<__u64>(births_[id]),
			       static_cast<__u64>(t.custom_slice_ns), id + 1, t.weight, t.cpu_set + 1, t.nice,
			       KERNELS[static_cast<int>(t.policy)], static_cast<__u8>(reason), 0, t.group + 1ull});
}

}  // namespace schedtuna::sim
