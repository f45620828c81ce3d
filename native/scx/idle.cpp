/* SPDX-License-Identifier: Apache-2.0 */
// kernel/sched/ext_idle.c: which CPUs are idle, and how one is picked. One node; caches and cores as the machine has.
#include "core.hpp"

#include <cerrno>

namespace schedtuna::scx
{

namespace
{

bool has_cpu(const std::uint64_t *words, CpuId cpu)
{
	return words[cpu / 64] >> cpu % 64 & 1;
}

}  // namespace

bool Core::has_builtin_idle(const char *function)
{
	if (!has_builtin_idle_)
		error(std::string("built-in idle tracking is disabled: ") + function + "()");
	return has_builtin_idle_;
}

bool Core::is_core_idle(CpuId cpu) const
{
	CpuId sibling = machine_->sibling_of(cpu);
	return machine_->idle_cpus().has(cpu) && (sibling == NONE || machine_->idle_cpus().has(sibling));
}

bool Core::test_and_clear_idle(CpuId cpu)
{
	std::uint64_t bit = 1ull << cpu % 64;
	mask(idle_cpus_)[cpu / 64] &= ~bit;
	mask(idle_cores_)[cpu / 64] &= ~bit;
	if (CpuId sibling = machine_->sibling_of(cpu); sibling != NONE)
		mask(idle_cores_)[sibling / 64] &= ~(1ull << sibling % 64);
	return machine_->test_and_clear_idle(cpu);
}

std::uint64_t Core::idle_mask(bool whole_cores)
{
	std::uint64_t address = whole_cores ? idle_cores_ : idle_cpus_;
	std::uint64_t *words = mask(address);
	const std::vector<std::uint64_t> &idle = machine_->idle_cpus().words();
	for (std::size_t i = 0; i < idle.size(); i++)
		words[i] = idle[i];
	if (whole_cores && machine_->sibling_of(0) != NONE)
		for (CpuId cpu = 0; cpu < machine_->nr_cpus(); cpu++)
			if (!is_core_idle(cpu))
				words[cpu / 64] &= ~(1ull << cpu % 64);
	return address;
}

// pick_idle_cpu_in_node(): cpumask_any_and_distribute() goes on behind the CPU that this one picked last.
std::int64_t Core::pick_from(const std::uint64_t *allowed, bool whole_cores)
{
	CpuId n = machine_->nr_cpus(), &last = picked_[machine_->this_cpu()];
	const std::vector<std::uint64_t> &idle = machine_->idle_cpus().words();
	bool any = false;
	for (std::size_t i = 0; i < idle.size(); i++)
		any |= idle[i] & allowed[i];
	if (!any)
		return -EBUSY;
	CpuId cpu = last + 1;
	for (CpuId i = 0; i < n; i++, cpu++) {
		cpu = cpu >= n ? 0 : cpu;
		if (!has_cpu(allowed, cpu) || !machine_->idle_cpus().has(cpu) || (whole_cores && !is_core_idle(cpu)))
			continue;
		last = cpu;
		test_and_clear_idle(cpu);
		return cpu;
	}
	return -EBUSY;
}

std::int64_t Core::pick_idle_cpu(const std::uint64_t *allowed, std::uint64_t flags)
{
	if (machine_->sibling_of(0) != NONE) {
		if (std::int64_t cpu = pick_from(allowed, true); cpu >= 0)
			return cpu;
		if (flags & constants().SCX_PICK_IDLE_CORE)
			return -EBUSY;
	}
	return pick_from(allowed, false);
}

std::int64_t Core::pick_any_cpu(const std::uint64_t *allowed)
{
	CpuId n = machine_->nr_cpus(), &last = picked_[machine_->this_cpu()];
	CpuId cpu = last + 1;
	for (CpuId i = 0; i < n; i++, cpu++) {
		cpu = cpu >= n ? 0 : cpu;
		if (has_cpu(allowed, cpu)) {
			last = cpu;
			return cpu;
		}
	}
	return -EBUSY;
}

// scx_select_cpu_dfl()
std::int64_t Core::select_idle_cpu(CpuId prev, std::uint64_t wake_flags, const std::uint64_t *allowed,
				   std::uint64_t flags)
{
	const Simulation &m = *machine_;
	bool prev_allowed = prev < m.nr_cpus() && has_cpu(allowed, prev);
	bool has_llcs = m.llc_of(m.nr_cpus() - 1) > 0;
	if (wake_flags & constants().SCX_WAKE_SYNC) {
		CpuId cpu = m.this_cpu();
		if (prev_allowed && m.llc_of(cpu) == m.llc_of(prev) && test_and_clear_idle(prev))
			return prev;
		TaskId waker = m.current(cpu);
		bool exits = waker != NONE && is_task(waker) && task(waker).flags & mirror::PF_EXITING;
		bool is_any_idle = false;
		for (std::uint64_t word : m.idle_cpus().words())
			is_any_idle |= word != 0;
		if (!exits && dsqs_[cpu].nr() == 0 && is_any_idle && has_cpu(allowed, cpu))
			return cpu;
	}
	std::uint64_t near[SCX_MASK_WORDS] = {};
	if (has_llcs && prev < m.nr_cpus())
		for (CpuId cpu = 0; cpu < m.nr_cpus(); cpu++)
			if (m.llc_of(cpu) == m.llc_of(prev) && has_cpu(allowed, cpu))
				near[cpu / 64] |= 1ull << cpu % 64;
	if (m.sibling_of(0) != NONE) {
		if (prev_allowed && is_core_idle(prev) && test_and_clear_idle(prev))
			return prev;
		if (has_llcs)
			if (std::int64_t cpu = pick_from(near, true); cpu >= 0)
				return cpu;
		if (std::int64_t cpu = pick_from(allowed, true); cpu >= 0)
			return cpu;
		if (flags & constants().SCX_PICK_IDLE_CORE)
			return -EBUSY;
	}
	if (prev_allowed && test_and_clear_idle(prev))
		return prev;
	CpuId sibling = prev < m.nr_cpus() ? m.sibling_of(prev) : NONE;
	if (sibling != NONE && has_cpu(allowed, sibling) && test_and_clear_idle(sibling))
		return sibling;
	if (has_llcs)
		if (std::int64_t cpu = pick_from(near, false); cpu >= 0)
			return cpu;
	return pick_from(allowed, false);
}

}  // namespace schedtuna::scx
