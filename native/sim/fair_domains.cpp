/* SPDX-License-Identifier: Apache-2.0 */
// Domains of CPUs that balance among each other, and when they do: at ticks, for idle CPUs, and at the last moment.
#include "fair.hpp"

#include <algorithm>
#include <iterator>

namespace schedtuna::sim
{

namespace
{

constexpr std::uint32_t BUSY_FACTOR = 16;
constexpr std::int64_t CPU_CAPACITY = 1024;
constexpr std::int64_t RECLAIM_DISTANCE = 30;

}  // namespace

// The CPU's core, its LLC, its node and all CPUs; of equal ones the lowest stays, as sd_degenerate() has it.
void Fair::init_domains(const Machine &m)
{
	std::vector<CpuSet> cores, llcs;
	for (CpuId cpu = 0; cpu < nr_cpus_; cpu++) {
		CpuId sibling = m.sibling_of(cpu);
		if (sibling == NONE || cpu < sibling) {
			cores.emplace_back(nr_cpus_).set(cpu);
			if (sibling != NONE)
				cores.back().set(sibling);
		}
		if (m.llc_of(cpu) >= llcs.size()) {
			llcs.emplace_back(nr_cpus_);
			llcs_.push_back({CpuSet(nr_cpus_), cpu});
		}
		llcs[m.llc_of(cpu)].set(cpu);
		cpus_[cpu].llc = m.llc_of(cpu);
		cpus_[cpu].random = (cpu + 1) * 0x9e3779b97f4a7c15ull;
	}
	for (std::size_t i = 0; i < llcs.size(); i++)
		llcs_[i].span = llcs[i];
	std::vector<CpuSet> nodes(m.nr_nodes(), CpuSet(nr_cpus_));
	for (CpuId cpu = 0; cpu < nr_cpus_; cpu++)
		nodes[m.node_of(cpu)].set(cpu);
	bool has_smt = cores.size() < nr_cpus_;
	auto in = [](const std::vector<CpuSet> &all, const CpuSet &span) {
		std::vector<CpuSet> inside;
		std::copy_if(all.begin(), all.end(), std::back_inserter(inside),
			     [&](const CpuSet &set) { return set.first_of_both(span) != NONE; });
		return inside;
	};
	for (CpuId cpu = 0; cpu < nr_cpus_; cpu++) {
		auto add = [&](const CpuSet &span, std::vector<CpuSet> groups) -> Domain * {
			if (groups.size() < 2)
				return nullptr;
			Domain &domain = cpus_[cpu].domains.emplace_back();
			domain.span = span;
			domain.min_interval_ms = domain.interval_ms = span.count();
			// Its own group comes first, then the others in turn.
			auto own = std::find_if(groups.begin(), groups.end(),
						[&](const CpuSet &group) { return group.has(cpu); });
			std::rotate(groups.begin(), own, groups.end());
			domain.groups = std::move(groups);
			domain.prefer_sibling = cpus_[cpu].domains.size() > 1;
			return &domain;
		};
		const CpuSet &llc = llcs[m.llc_of(cpu)];
		if (has_smt) {
			const CpuSet &core = *std::find_if(cores.begin(), cores.end(),
							   [&](const CpuSet &set) { return set.has(cpu); });
			std::vector<CpuSet> threads;
			for (CpuId thread = 0; thread < nr_cpus_; thread++)
				if (core.has(thread))
					threads.emplace_back(nr_cpus_).set(thread);
			if (Domain *domain = add(core, std::move(threads))) {
				domain->is_smt = domain->is_llc = true;
				domain->imbalance_pct = 110;
				domain->cache_nice_tries = 0;
			}
		}
		if (Domain *domain = add(llc, in(cores, llc)))
			domain->is_llc = true;
		const CpuSet &node = nodes[m.node_of(cpu)];
		add(node, in(llcs, node));
		if (Domain *domain = add(CpuSet(nr_cpus_, true), nodes)) {
			domain->is_numa = true;
			domain->is_near = m.remote_distance() <= RECLAIM_DISTANCE;
			domain->cache_nice_tries = 2;
			std::int64_t nr_llcs = node.count() / llc.count();
			domain->imb_numa_nr = std::max<std::int64_t>(nr_llcs == 1 ? node.count() / 8 : nr_llcs, 1);
		}
	}
}

// update_sg_lb_stats(), without the type
Fair::Stats Fair::stats_of(const CpuSet &group, const Domain &domain, bool is_smt_source) const
{
	Stats stats;
	const CpuSet &span = domain.span;
	for (CpuId cpu = group.first_of_both(span); cpu != NONE; cpu = group.first_of_both(span, cpu + 1)) {
		const FairQueue &q = queues_[cpu];
		const QueueLoad &load = queue_loads_[cpu];
		stats.nr_cpus++;
		stats.load += load.load_avg;
		stats.util += std::min(load.util_avg, CPU_CAPACITY);
		stats.runnable += load.runnable_avg;
		stats.nr_runnable += q.h_nr_runnable;
		stats.nr_running += q.h_nr_queued;
		stats.idle_cpus += !q.h_nr_queued && is_idle(cpu);
	}
	stats.capacity = CPU_CAPACITY * stats.nr_cpus;
	std::int64_t pct = domain.imbalance_pct;
	bool is_crowded = stats.nr_running > stats.nr_cpus;
	if (is_crowded && (stats.capacity * 100 < stats.util * pct || stats.capacity * pct < stats.runnable * 100))
		stats.type = GroupType::Overloaded;
	else if (is_smt_source && stats.nr_cpus > 1 && stats.nr_runnable > 1)
		stats.type = GroupType::SmtBalance;
	else if (stats.nr_running >= stats.nr_cpus
		 && (stats.capacity * pct < stats.runnable * 100 || stats.capacity * 100 <= stats.util * pct))
		stats.type = GroupType::FullyBusy;
	if (stats.type == GroupType::Overloaded)
		stats.average();
	return stats;
}

Ns Fair::interval(const Domain &domain, const Machine &m, bool is_busy) const
{
	Ns tick = params_.tick_ns,
	   length = static_cast<Ns>(domain.interval_ms) * (is_busy ? BUSY_FACTOR : 1) * 1'000'000;
	Ns ticks = (length + tick - 1) / tick - is_busy;  // msecs_to_jiffies()
	Ns most = 1'000'000'000 / tick * m.nr_cpus() / 10;
	return std::clamp<Ns>(ticks, 1, std::max<Ns>(most, 1)) * tick;
}

Ns Fair::jiffy(const Machine &m) const
{
	return m.now() - m.now() % params_.tick_ns;
}

// sched_balance_domains()
void Fair::balance_domains(Machine &m, CpuId cpu, Idle idle)
{
	bool go_on = true;
	update_blocked(m, cpu);
	Ns next = jiffy(m) + 60'000'000'000;
	for (Domain &domain : cpus_[cpu].domains) {
		if (!go_on)
			break;
		bool is_busy = idle == Idle::Not && !is_available(cpu);
		Ns length = interval(domain, m, is_busy);
		if (jiffy(m) >= domain.last_balance + length) {
			for (CpuId other = domain.span.first_of_both(domain.span); other != NONE;
			     other = domain.span.first_of_both(domain.span, other + 1))
				if (is_idle(other))  // nohz idle: nobody else lets its averages decay
					update_blocked(m, other);
			if (load_balance(m, cpu, domain, idle, go_on))
				idle = is_idle(cpu) ? Idle::Idle : Idle::Not;
			domain.last_balance = jiffy(m);
			length = interval(domain, m, idle == Idle::Not && !is_available(cpu));
		}
		next = std::min(next, domain.last_balance + length);
	}
	cpus_[cpu].next_balance = next;
}

// nohz_balancer_kick() and _nohz_idle_balance(): a busy CPU's tick sends the first idle CPU to balance for all of them.
void Fair::balance_idle_cpus(Machine &m, CpuId cpu)
{
	if (jiffy(m) < next_idle_balance_)
		return;
	CpuId first = NONE;
	std::uint32_t nr_busy = 0;
	for (CpuId other = 0; other < nr_cpus_; other++) {
		if (is_idle(other))
			first = std::min(first, other);
		else
			nr_busy += cpus_[other].llc == cpus_[cpu].llc;
	}
	if (first == NONE || (queues_[cpu].h_nr_queued < 2 && nr_busy < 2))
		return;
	Ns next = jiffy(m) + 60'000'000'000;
	for (std::uint32_t i = 1; i <= nr_cpus_; i++) {
		CpuId idle = (first + i) % nr_cpus_;
		if (!is_idle(idle))
			continue;
		if (jiffy(m) >= cpus_[idle].next_balance)
			balance_domains(m, idle, Idle::Idle);
		next = std::min(next, cpus_[idle].next_balance);
	}
	next_idle_balance_ = next;
}

// sched_balance_newidle(), tried in proportion to its success so far (NI_RANDOM).
bool Fair::newidle_balance(Machine &m, CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	for (Domain &domain : c.domains)
		domain.last_look = IdleReason::Interval;
	bool is_overloaded = std::any_of(queues_.begin(), queues_.begin() + nr_cpus_,
					 [](const FairQueue &q) { return q.h_nr_queued > 1; });
	if (!is_overloaded)
		return false;
	update_blocked(m, cpu);
	bool go_on = true;
	for (Domain &domain : c.domains) {
		c.random ^= c.random << 13;
		c.random ^= c.random >> 7;
		c.random ^= c.random << 17;
		std::uint32_t weight = 1 + domain.newidle_ratio;
		auto count = [&domain](std::uint32_t success) {
			domain.newidle_success += success;
			if (++domain.newidle_calls < 1024)
				return;
			domain.newidle_ratio = domain.newidle_success;
			domain.newidle_calls /= 2;
			domain.newidle_success /= 2;
		};
		if (c.random % 1024 > weight) {
			count(0);
			domain.last_look = IdleReason::NewidleSkipped;
			continue;
		}
		bool has_pulled = load_balance(m, cpu, domain, Idle::Newly, go_on) != 0;
		count(has_pulled ? (1024 + weight / 2) / weight : 0);
		c.next_balance = std::min(c.next_balance, domain.last_balance + interval(domain, m, false));
		if (has_pulled || !go_on)
			break;
	}
	return queues_[cpu].h_nr_queued != 0;
}

}  // namespace schedtuna::sim
