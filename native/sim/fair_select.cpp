/* SPDX-License-Identifier: Apache-2.0 */
// Which CPU a task is to run on when it wakes up or is born.
#include "fair.hpp"

#include <algorithm>
#include <cstdlib>

namespace schedtuna::sim
{

bool Fair::is_idle_core(const Machine &m, CpuId cpu) const
{
	CpuId sibling = m.sibling_of(cpu);
	return is_idle(cpu) && (sibling == NONE || is_idle(sibling));
}

Fair::TaskInfo &Fair::info_of(CpuId cpu, TaskId waker)
{
	return waker == NONE ? cpus_[cpu].idle_task : infos_[waker];
}

// A waker that wakes many tasks in turn should not have them all around itself.
void Fair::record_wakee(const Machine &m, TaskInfo &waker, TaskId wakee) const
{
	if (m.now() > waker.flips_decay_at + 1'000'000'000) {
		waker.wakee_flips >>= 1;
		waker.flips_decay_at = m.now();
	}
	if (waker.last_wakee != wakee) {
		waker.last_wakee = wakee;
		waker.wakee_flips++;
	}
}

bool Fair::wake_wide(const TaskInfo &waker, TaskId wakee, CpuId cpu) const
{
	std::uint32_t master = waker.wakee_flips, slave = infos_[wakee].wakee_flips;
	if (master < slave)
		std::swap(master, slave);
	std::uint32_t factor = llcs_[cpus_[cpu].llc].span.count();
	return slave >= factor && master >= slave * factor;
}

CpuId Fair::wake_affine(const Machine &m, TaskId id, CpuId this_cpu, CpuId prev_cpu, bool sync) const
{
	const FairQueue &here = queues_[this_cpu];
	if (m.nr_nodes() > 1 && m.node_of(this_cpu) != m.node_of(prev_cpu) && !cpus_[this_cpu].domains.back().is_near)
		return prev_cpu;
	// wake_affine_idle()
	if (is_idle(this_cpu) && cpus_[this_cpu].llc == cpus_[prev_cpu].llc)
		return is_idle(prev_cpu) ? prev_cpu : this_cpu;
	if (sync && here.h_nr_runnable == 1)
		return this_cpu;
	if (is_idle(prev_cpu))
		return prev_cpu;
	// wake_affine_weight()
	std::int64_t this_load = queue_loads_[this_cpu].load_avg, task_load = h_load(id);
	if (sync && m.current(this_cpu) != NONE) {
		std::int64_t current_load = h_load(m.current(this_cpu));
		if (current_load > this_load)
			return this_cpu;
		this_load -= current_load;
	}
	this_load = (this_load + task_load) * 100;
	std::uint32_t imbalance_pct = 100;
	for (const Domain &domain : cpus_[this_cpu].domains)
		if (domain.span.has(prev_cpu)) {
			imbalance_pct = domain.imbalance_pct;
			break;
		}
	std::int64_t prev_load = (queue_loads_[prev_cpu].load_avg - task_load) * (100 + (imbalance_pct - 100) / 2)
				 + sync;
	return this_load < prev_load ? this_cpu : prev_cpu;
}

// select_idle_cpu(): a scan of the LLC, as long as it is loaded little enough that an idle CPU may be found.
CpuId Fair::scan_llc(const Machine &m, const CpuSet &allowed, CpuId target)
{
	Llc &llc = llcs_[cpus_[target].llc];
	std::uint32_t left = llc.nr_idle_scan + 1;
	CpuId first = llc.first, size = llc.span.count(), found = NONE;
	for (std::uint32_t i = 1; i <= size; i++) {
		CpuId cpu = first + (target - first + i) % size;
		if (!allowed.has(cpu))
			continue;
		if (llc.has_idle_core) {
			if (is_idle_core(m, cpu))
				return cpu;
			if (found == NONE && is_available(cpu))
				found = cpu;
		} else if (--left == 0) {
			return NONE;
		} else if (is_available(cpu)) {
			return cpu;
		}
	}
	if (llc.has_idle_core)
		llc.has_idle_core = false;
	return found;
}

CpuId Fair::select_idle_sibling(Machine &m, TaskId id, CpuId prev, CpuId target)
{
	const CpuSet &allowed = m.cpus(id);
	auto shares_cache = [this](CpuId a, CpuId b) { return cpus_[a].llc == cpus_[b].llc; };
	if (is_available(target))
		return target;
	if (prev != target && shares_cache(prev, target) && is_available(prev))
		return prev;
	// A kernel thread of this CPU alone woke it up, and is about to sleep: work that it was given here.
	TaskId waker = m.current(m.this_cpu());
	if (waker != NONE && !m.in_interrupt() && m.task(waker).is_kthread && m.cpus(waker).has_one()
	    && prev == m.this_cpu() && queues_[prev].h_nr_queued <= 1)
		return prev;
	CpuId recent = infos_[id].recent_cpu;
	infos_[id].recent_cpu = prev;
	if (recent != prev && recent != target && shares_cache(recent, target) && is_available(recent)
	    && allowed.has(recent))
		return recent;
	CpuId sibling = m.sibling_of(prev);
	if (sibling != NONE && !llcs_[cpus_[target].llc].has_idle_core && shares_cache(prev, target)
	    && allowed.has(sibling) && is_available(sibling))
		return sibling;
	CpuId idle = llcs_[cpus_[target].llc].nr_idle_scan ? scan_llc(m, allowed, target) : NONE;
	return idle == NONE ? target : idle;
}

CpuId Fair::select_cpu(Machine &m, TaskId id, CpuId prev, EnqueueReason why)
{
	const CpuSet &allowed = m.cpus(id);
	CpuId cpu = m.this_cpu(), chosen = prev;
	if (nr_cpus_ == 1)
		return 0;
	if (allowed.has_one()) {
		chosen = allowed.first_of_both(allowed);
	} else if (why == EnqueueReason::Fork) {
		chosen = find_idlest_cpu(m, id, cpu, prev);
	} else {
		TaskInfo &waker = info_of(cpu, m.current(cpu));
		record_wakee(m, waker, id);
		if (cpu != prev && allowed.has(cpu) && !wake_wide(waker, id, cpu))
			chosen = wake_affine(m, id, cpu, prev, m.wake_sync());
		chosen = select_idle_sibling(m, id, prev, chosen);
	}
	if (!allowed.has(chosen))  // select_fallback_rq()
		chosen = allowed.first_of_both(allowed);
	if (chosen != prev && why == EnqueueReason::Wakeup && allowed.has(prev)
	    && !m.shall_migrate([&] { return describe(m, id, prev, chosen, true); }))
		chosen = prev;
	if (is_idle(chosen))
		m.test_and_clear_idle(chosen);
	return chosen;
}

// sched_balance_find_dst_group_cpu(): the CPU that went idle last, else the one of the least load.
CpuId Fair::find_idlest_of(const Machine &m, TaskId id, const CpuSet &group, CpuId near) const
{
	const CpuSet &allowed = m.cpus(id);
	CpuId idle = NONE, least = near;
	std::int64_t least_load = NEVER;
	for (CpuId cpu = group.first_of_both(allowed); cpu != NONE; cpu = group.first_of_both(allowed, cpu + 1)) {
		if (is_idle(cpu)) {
			if (idle == NONE || cpus_[cpu].idle_since > cpus_[idle].idle_since)
				idle = cpu;
		} else if (is_available(cpu)) {
			return cpu;
		} else if (queue_loads_[cpu].load_avg < least_load) {
			least_load = queue_loads_[cpu].load_avg;
			least = cpu;
		}
	}
	return idle != NONE ? idle : least;
}

// sched_balance_find_dst_cpu(): from the widest domain down, into the group that has most room.
CpuId Fair::find_idlest_cpu(const Machine &m, TaskId id, CpuId near, CpuId prev) const
{
	const CpuSet &allowed = m.cpus(id);
	CpuId cpu = near, chosen = prev;
	for (std::size_t level = cpus_[near].domains.size(); level-- > 0;) {
		const Domain &domain = cpus_[cpu].domains[level];
		if (!domain.is_near)
			continue;
		Stats idlest, local;
		std::int64_t imb_numa_nr = 0;
		const CpuSet *idlest_group = nullptr;
		bool has_local = false;
		for (const CpuSet &group : domain.groups) {
			if (group.first_of_both(allowed) == NONE)
				continue;
			Stats stats = stats_of(group, domain, false);
			if (stats.type >= GroupType::FullyBusy)
				stats.average();
			if (group.has(cpu)) {
				local = stats;
				has_local = true;
				if (domain.is_numa)
					imb_numa_nr = std::min<std::int64_t>(group.count_of_both(allowed),
									     domain.imb_numa_nr);
			} else if (!idlest_group || is_idler(stats, idlest)) {
				idlest = stats;
				idlest_group = &group;
			}
		}
		if (!idlest_group || (has_local && !is_worth_leaving(local, idlest, domain, imb_numa_nr)))
			continue;
		chosen = find_idlest_of(m, id, *idlest_group, cpu);
		cpu = chosen;
	}
	return chosen;
}

// update_pick_idlest()
bool Fair::is_idler(const Stats &stats, const Stats &idlest)
{
	if (stats.type != idlest.type)
		return stats.type < idlest.type;
	if (stats.type != GroupType::HasSpare)
		return stats.avg_load < idlest.avg_load;
	if (stats.idle_cpus != idlest.idle_cpus)
		return stats.idle_cpus > idlest.idle_cpus;
	return stats.util < idlest.util;
}

bool Fair::is_worth_leaving(const Stats &local, const Stats &idlest, const Domain &domain, std::int64_t imb_numa_nr)
{
	if (local.type != idlest.type)
		return local.type > idlest.type;
	if (local.type == GroupType::HasSpare) {
		std::int64_t more = static_cast<std::int64_t>(idlest.idle_cpus) - local.idle_cpus;
		if (domain.is_numa && !beyond_numa(std::abs(more), local.nr_running + 1, imb_numa_nr))
			return false;
		return more > 0;
	}
	std::int64_t margin = NICE_0_WEIGHT * (domain.imbalance_pct - 100) / 100;
	if (domain.is_numa && idlest.avg_load + margin >= local.avg_load)
		return false;
	return idlest.avg_load < local.avg_load + margin
	       && 100 * local.avg_load > domain.imbalance_pct * idlest.avg_load;
}

}  // namespace schedtuna::sim
