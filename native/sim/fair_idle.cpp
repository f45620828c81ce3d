/* SPDX-License-Identifier: Apache-2.0 */
#include "fair_idle.hpp"

#include "fair.hpp"
#include "simulation.hpp"

#include <algorithm>

namespace schedtuna::sim
{

IdleReason Fair::idle_reason(const Machine &m, CpuId cpu, const std::vector<TaskId> &waiting) const
{
	if (m.need_resched(cpu))
		return IdleReason::LeavingIdle;
	bool may_run = false, is_stuck = false;
	const Domain *nearest = nullptr;
	for (TaskId id : waiting) {
		if (!m.cpus(id).has(cpu))
			continue;
		may_run = true;
		CpuId at = m.task(id).cpu;
		if (m.current(at) == NONE)
			continue;
		is_stuck = true;
		for (const Domain &domain : cpus_[cpu].domains)
			if (domain.span.has(at)) {
				if (!nearest || &domain < nearest)
					nearest = &domain;
				break;
			}
	}
	if (!may_run)
		return IdleReason::Affinity;
	return is_stuck && nearest ? nearest->last_look : IdleReason::OnTheirWay;
}

IdleTimes explain_idle(Simulation &s, Ns until)
{
	auto *fair = dynamic_cast<const Fair *>(&s.scheduler());
	if (!fair)
		throw BadInput("idle times are explained for fair alone, not for " + std::string(s.scheduler().name()));
	IdleTimes times{};
	std::vector<TaskId> waiting;
	std::vector<IdleReason> reasons;
	until = std::min(until, s.workload().duration_ns);
	for (Stop stop = Stop::Time; stop == Stop::Time && s.now() < until;) {
		waiting.clear();
		reasons.clear();
		for (TaskId id = 0; id < s.nr_tasks(); id++)
			if (s.task(id).state == TaskState::Queued)
				waiting.push_back(id);
		for (CpuId cpu = 0; !waiting.empty() && cpu < s.nr_cpus(); cpu++) {
			auto elsewhere = [&](TaskId id) { return s.task(id).cpu != cpu; };
			if (s.current(cpu) == NONE && std::any_of(waiting.begin(), waiting.end(), elsewhere))
				reasons.push_back(fair->idle_reason(s, cpu, waiting));
		}
		Ns since = s.now();
		stop = s.run(std::min(until, s.next_event()));
		for (IdleReason reason : reasons)
			times[static_cast<std::size_t>(reason)] += s.now() - since;
	}
	return times;
}

}  // namespace schedtuna::sim
