/* SPDX-License-Identifier: Apache-2.0 */
// scx_bpf_*: what kernel/sched/ext.c and ext_idle.c give to schedulers, but for dispatch queues. Names are the
// kernel's, from 6.12 to 7.3.
#include "format.hpp"
#include "thunk.hpp"

#include <cerrno>

namespace schedtuna::scx
{

namespace
{

using u64 = std::uint64_t;
using u32 = std::uint32_t;
using s64 = std::int64_t;
using s32 = std::int32_t;

// CPUs

void kick_cpu(Core &c, s32 cpu, u64 flags)
{
	c.kick(cpu, flags);
}

s32 select_cpu_dfl(Core &c, u64 p, s32 prev, u64 wake_flags, u64 is_idle)
{
	auto &found = c.at<std::uint8_t>(is_idle);
	found = 0;
	TaskId id = c.task_at(p);
	if (id == NONE || !c.has_builtin_idle("scx_bpf_select_cpu_dfl") || !c.valid_cpu(prev, nullptr))
		return prev;
	s64 cpu = c.select_idle_cpu(static_cast<CpuId>(prev), wake_flags, c.allowed(id), 0);
	found = cpu >= 0;
	return cpu >= 0 ? static_cast<s32>(cpu) : prev;
}

s32 select_cpu_in(Core &c, u64 p, s32 prev, u64 wake_flags, u64 cpus, u64 flags)
{
	TaskId id = c.task_at(p);
	if (id == NONE || !c.has_builtin_idle("scx_bpf_select_cpu_and") || !c.valid_cpu(prev, nullptr))
		return -EINVAL;
	const u64 *own = c.allowed(id), *given = c.mask(cpus);
	u64 both[SCX_MASK_WORDS];
	for (u32 i = 0; i < SCX_MASK_WORDS; i++)
		both[i] = own[i] & given[i];
	return static_cast<s32>(c.select_idle_cpu(static_cast<CpuId>(prev), wake_flags, both, flags));
}

s32 select_cpu_args(Core &c, u64 p, u64 cpus, u64 address)
{
	auto args = c.at<mirror::scx_bpf_select_cpu_and_args>(address);
	return select_cpu_in(c, p, args.prev_cpu, args.wake_flags, cpus, args.flags);
}

bool test_and_clear_cpu_idle(Core &c, s32 cpu)
{
	return c.has_builtin_idle("scx_bpf_test_and_clear_cpu_idle") && c.valid_cpu(cpu, nullptr)
	       && c.test_and_clear_idle(static_cast<CpuId>(cpu));
}

s32 pick_idle_cpu(Core &c, u64 cpus, u64 flags)
{
	return c.has_builtin_idle("scx_bpf_pick_idle_cpu") ? static_cast<s32>(c.pick_idle_cpu(c.mask(cpus), flags))
							   : -EBUSY;
}

s32 pick_idle_cpu_node(Core &c, u64 cpus, s32, u64 flags)
{
	return pick_idle_cpu(c, cpus, flags);
}

s32 pick_any_cpu(Core &c, u64 cpus, u64 flags)
{
	s64 cpu = c.tracks_idle() ? c.pick_idle_cpu(c.mask(cpus), flags) : -EBUSY;
	return static_cast<s32>(cpu >= 0 ? cpu : c.pick_any_cpu(c.mask(cpus)));
}

s32 pick_any_cpu_node(Core &c, u64 cpus, s32, u64 flags)
{
	return pick_any_cpu(c, cpus, flags);
}

u64 get_idle_cpumask(Core &c)
{
	c.has_builtin_idle("scx_bpf_get_idle_cpumask");
	return c.idle_mask(false);
}

u64 get_idle_smtmask(Core &c)
{
	c.has_builtin_idle("scx_bpf_get_idle_smtmask");
	return c.idle_mask(true);
}

u64 get_idle_cpumask_node(Core &c, s32)
{
	return get_idle_cpumask(c);
}

u64 get_idle_smtmask_node(Core &c, s32)
{
	return get_idle_smtmask(c);
}

u64 get_all_cpus(Core &c)
{
	return c.all_cpus();
}

u32 nr_cpu_ids(Core &c)
{
	return c.machine().nr_cpus();
}

u32 nr_node_ids(Core &)
{
	return 1;
}

s32 cpu_node(Core &c, s32 cpu)
{
	return c.valid_cpu(cpu, nullptr) ? 0 : -1;
}

u64 cpu_curr(Core &c, s32 cpu)
{
	return c.valid_cpu(cpu, nullptr) ? c.current_address(static_cast<CpuId>(cpu)) : 0;
}

u64 cpu_rq(Core &c, s32 cpu)
{
	return c.valid_cpu(cpu, nullptr) ? c.rq_address(static_cast<CpuId>(cpu)) : 0;
}

u64 locked_rq(Core &c)
{
	return c.context() == Context::Other ? 0 : c.rq_address(c.machine().this_cpu());
}

u32 cpuperf_one(Core &c, s32 cpu)
{
	c.valid_cpu(cpu, nullptr);
	return static_cast<u32>(c.constants().SCX_CPUPERF_ONE);
}

void cpuperf_set(Core &c, s32 cpu, u32 target)
{
	if (target > c.constants().SCX_CPUPERF_ONE)
		c.error("invalid cpuperf target " + std::to_string(target) + " for CPU " + std::to_string(cpu));
	else if (c.valid_cpu(cpu, nullptr))
		c.set_cpuperf(static_cast<CpuId>(cpu), target);
}

// CPUs by topology (cids, since 7.3): the simulated machine numbers CPUs core by core, cache by cache, so that both are
// the same numbers.

s32 same_number(Core &c, s32 number)
{
	return c.valid_cpu(number, nullptr) ? number : -EINVAL;
}

s32 this_cid(Core &c)
{
	return static_cast<s32>(c.machine().this_cpu());
}

// Tasks

bool task_running(Core &c, u64 p)
{
	TaskId id = c.task_at(p);
	return id == NONE || c.is_running(id);
}

s32 task_cpu(Core &c, u64 p)
{
	TaskId id = c.task_at(p);
	return id == NONE ? c.at<mirror::task_struct>(p).wake_cpu : static_cast<s32>(c.task_cpu(id));
}

u64 task_cgroup(Core &c, u64 p)
{
	TaskId id = c.task_at(p);
	return c.group_address(id == NONE ? 0 : c.machine().task(id).group);
}

bool task_set_slice(Core &c, u64 p, u64 slice)
{
	TaskId id = c.task_at(p);
	if (id == NONE)
		return false;
	c.set_slice(id, slice);
	return true;
}

bool task_set_dsq_vtime(Core &c, u64 p, u64 vtime)
{
	TaskId id = c.task_at(p);
	if (id == NONE)
		return false;
	c.task(id).scx.dsq_vtime = vtime;
	return true;
}

u64 now(Core &c)
{
	return c.now_ns();
}

// Words

void error_bstr(Core &c, u64 format, u64 data, u32 size)
{
	c.end(c.constants().SCX_EXIT_ERROR_BPF, 0, formatted(c, format, data, size));
}

void exit_bstr(Core &c, s64 code, u64 format, u64 data, u32 size)
{
	c.end(c.constants().SCX_EXIT_UNREG_BPF, code, formatted(c, format, data, size));
}

constexpr FunctionRow ROWS[] = {
	{"scx_bpf_kick_cpu", THUNK<kick_cpu>},
	{"scx_bpf_select_cpu_dfl", THUNK<select_cpu_dfl>},
	{"scx_bpf_select_cpu_and", THUNK<select_cpu_in>},
	{"__scx_bpf_select_cpu_and", THUNK<select_cpu_args>},
	{"scx_bpf_test_and_clear_cpu_idle", THUNK<test_and_clear_cpu_idle>},
	{"scx_bpf_pick_idle_cpu", THUNK<pick_idle_cpu>},
	{"scx_bpf_pick_idle_cpu_node", THUNK<pick_idle_cpu_node>},
	{"scx_bpf_pick_any_cpu", THUNK<pick_any_cpu>},
	{"scx_bpf_pick_any_cpu_node", THUNK<pick_any_cpu_node>},
	{"scx_bpf_get_idle_cpumask", THUNK<get_idle_cpumask>},
	{"scx_bpf_get_idle_smtmask", THUNK<get_idle_smtmask>},
	{"scx_bpf_get_idle_cpumask_node", THUNK<get_idle_cpumask_node>},
	{"scx_bpf_get_idle_smtmask_node", THUNK<get_idle_smtmask_node>},
	{"scx_bpf_put_idle_cpumask", THUNK<does_nothing>},
	{"scx_bpf_get_possible_cpumask", THUNK<get_all_cpus>},
	{"scx_bpf_get_online_cpumask", THUNK<get_all_cpus>},
	{"scx_bpf_put_cpumask", THUNK<does_nothing>},
	{"scx_bpf_nr_cpu_ids", THUNK<nr_cpu_ids>},
	{"scx_bpf_nr_node_ids", THUNK<nr_node_ids>},
	{"scx_bpf_cpu_node", THUNK<cpu_node>},
	{"scx_bpf_cpu_curr", THUNK<cpu_curr>},
	{"scx_bpf_cpu_rq", THUNK<cpu_rq>},
	{"scx_bpf_locked_rq", THUNK<locked_rq>},
	{"scx_bpf_cpuperf_cap", THUNK<cpuperf_one>},
	{"scx_bpf_cpuperf_cur", THUNK<cpuperf_one>},
	{"scx_bpf_cpuperf_set", THUNK<cpuperf_set>},
	{"scx_bpf_nr_cids", THUNK<nr_cpu_ids>},
	{"scx_bpf_nr_online_cids", THUNK<nr_cpu_ids>},
	{"scx_bpf_cid_to_cpu", THUNK<same_number>},
	{"scx_bpf_cpu_to_cid", THUNK<same_number>},
	{"scx_bpf_this_cid", THUNK<this_cid>},
	{"scx_bpf_task_cid", THUNK<task_cpu>},
	{"scx_bpf_cid_curr", THUNK<cpu_curr>},
	{"scx_bpf_kick_cid", THUNK<kick_cpu>},
	{"scx_bpf_task_running", THUNK<task_running>},
	{"scx_bpf_task_cpu", THUNK<task_cpu>},
	{"scx_bpf_task_cgroup", THUNK<task_cgroup>},
	{"scx_bpf_task_set_slice", THUNK<task_set_slice>},
	{"scx_bpf_task_set_dsq_vtime", THUNK<task_set_dsq_vtime>},
	{"scx_bpf_now", THUNK<now>},
	{"scx_bpf_error_bstr", THUNK<error_bstr>},
	{"scx_bpf_exit_bstr", THUNK<exit_bstr>},
	{"scx_bpf_dump_bstr", THUNK<does_nothing>},  // there is no dump
};

}  // namespace

std::span<const FunctionRow> scx_functions()
{
	return ROWS;
}

}  // namespace schedtuna::scx
