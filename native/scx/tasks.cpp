/* SPDX-License-Identifier: Apache-2.0 */
// Tasks through a scheduler's life with them: the operations, in the kernel's order.
#include "core.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace schedtuna::scx
{

namespace
{

constexpr std::uint32_t POLICY_BATCH = 3, POLICY_IDLE = 5;  // include/uapi/linux/sched.h

// sched_weight_to_cgroup()
std::uint32_t cgroup_weight(std::uint32_t weight)
{
	return std::clamp((weight * 100 + 512) / 1024, 1u, 10'000u);
}

}  // namespace

void Core::set_cpus(TaskId id)
{
	mirror::task_struct &p = task(id);
	p.cpus_ptr = views_[id].address + offsetof(mirror::task_struct, cpus_mask);
	fill_mask(p.cpus_ptr, machine_->cpus(id));
	p.nr_cpus_allowed = static_cast<std::int32_t>(machine_->cpus(id).count());
}

// What may have changed of a task without the scheduler being told.
void Core::describe(TaskId id)
{
	View &view = views_[id];
	if (std::uint32_t program = machine_->program_of(id); program != view.program) {
		view.program = program;
		std::string name = machine_->name_of(id);
		mirror::task_struct &p = task(id);
		std::memset(p.comm, 0, sizeof(p.comm));
		std::memcpy(p.comm, name.data(), std::min(name.size(), sizeof(p.comm) - 1));
	}
}

void Core::add_task(TaskId id, bool is_fork)
{
	if (id >= views_.size()) {
		views_.resize(id + 1);
		places_.resize(id + 1);
	}
	View &view = views_[id];
	view = {};
	view.address = allocate(sizeof(mirror::task));
	auto &whole = at<mirror::task>(view.address);
	mirror::task_struct &p = whole.seen;
	const sim::Task &t = machine_->task(id);
	whole.id = id;
	whole.mm.total_vm = 1;
	TaskId parent = machine_->parent_of(id);
	p.flags = t.is_kthread ? mirror::PF_KTHREAD : 0;
	p.static_prio = p.prio = p.normal_prio = 120 + t.nice;
	p.policy = t.policy == sim::Policy::Batch ? POLICY_BATCH : t.policy == sim::Policy::Idle ? POLICY_IDLE : 0;
	p.wake_cpu = p.recent_used_cpu = static_cast<std::int32_t>(t.cpu);
	set_cpus(id);
	p.pid = p.tgid = static_cast<std::int32_t>(id + 1);
	p.mm = t.is_kthread ? 0 : view.address + offsetof(mirror::task, mm);
	p.real_parent = parent != NONE && is_task(parent) ? views_[parent].address : idle_tasks_[0];
	p.group_leader = view.address;
	std::uint64_t group = groups_[t.group < groups_.size() ? t.group : 0];
	p.cgroups = group + offsetof(mirror::group, set);
	p.start_time = now_ns();
	p.scx.slice = constants().SCX_SLICE_DFL;
	p.scx.sticky_cpu = -1;
	p.scx.ddsp_dsq_id = constants().SCX_DSQ_INVALID;
	view.charged_ns = t.cpu_time_ns;
	p.se.sum_exec_runtime = p.utime = static_cast<std::uint64_t>(t.cpu_time_ns);
	if (parent != NONE && is_task(parent))
		views_[parent].nr_children++;
	describe(id);
	if (has(Operation::init_task)) {
		auto &arguments = at<mirror::scx_init_task_args>(arguments_);
		arguments = {};
		arguments.fork = is_fork;
		arguments.cgroup = group;
		if (auto code = static_cast<std::int32_t>(
			    call(Operation::init_task, Context::Other, {view.address, arguments_})))
			error("ops.init_task() failed (" + std::to_string(code) + ") for " + who(id));
	}
	p.scx.weight = cgroup_weight(t.weight);
	if (has(Operation::enable))
		call(Operation::enable, Context::Other, {view.address});
	p.scx.flags |= static_cast<std::uint32_t>(constants().SCX_TASK_ENABLED);
	if (has(Operation::set_weight))
		call(Operation::set_weight, Context::Other, {view.address, p.scx.weight});
	if (!is_fork && has(Operation::set_cpumask))
		call(Operation::set_cpumask, Context::Other, {view.address, p.cpus_ptr});
}

void Core::remove_task(TaskId id)
{
	View &view = views_[id];
	take(id);
	leave_custody(id, 0);
	task(id).flags |= mirror::PF_EXITING;
	if (has(Operation::disable))
		call(Operation::disable, Context::Other, {view.address});
	if (has(Operation::exit_task)) {
		at<mirror::scx_exit_task_args>(arguments_).cancelled = 0;
		call(Operation::exit_task, Context::Other, {view.address, arguments_});
	}
	for (Map &map : maps_)
		if (map.type() == MapType::TaskStorage)
			map.erase_storage(block_, id);
	if (view.nr_children)
		for (TaskId other = 0; other < views_.size(); other++)
			if (is_task(other) && task(other).real_parent == view.address)
				task(other).real_parent = idle_tasks_[0];
	block_.release(view.address, sizeof(mirror::task));
	view = {};
}

// select_task_rq_scx()
CpuId Core::select_cpu(TaskId id, CpuId prev, std::uint64_t wake_flags)
{
	const CpuSet &cpus = machine_->cpus(id);
	mirror::task_struct &p = task(id);
	p.__state = mirror::STATE_WAKING;
	CpuId first = cpus.first_of_both(CpuSet(machine_->nr_cpus(), true));
	if (p.nr_cpus_allowed == 1)
		return first;
	CpuId cpu = prev;
	if (has(Operation::select_cpu)) {
		being_enqueued_ = id;
		auto selected = static_cast<std::int32_t>(
			call(Operation::select_cpu, Context::SelectCpu, {views_[id].address, prev, wake_flags}));
		being_enqueued_ = NONE;
		if (valid_cpu(selected, "from ops.select_cpu()"))
			cpu = static_cast<CpuId>(selected);
	} else if (has_builtin_idle_) {
		std::int64_t found = select_idle_cpu(prev, wake_flags, allowed(id), 0);
		if (found >= 0) {
			cpu = static_cast<CpuId>(found);
			refill(id);
			mark_direct(id, constants().SCX_DSQ_LOCAL, 0, false);
		}
	}
	if (!cpus.has(cpu))
		cpu = first;  // select_fallback_rq()
	p.recent_used_cpu = static_cast<std::int32_t>(prev);
	p.wake_cpu = static_cast<std::int32_t>(cpu);
	return cpu;
}

// enqueue_task_scx()
void Core::enqueue_woken(TaskId id, std::uint64_t flags)
{
	mirror::task_struct &p = task(id);
	bool migrates = p.scx.flags & constants().SCX_TASK_QUEUED;
	p.__state = mirror::STATE_RUNNING;
	p.on_rq = 1;
	p.scx.flags |= static_cast<std::uint32_t>(constants().SCX_TASK_QUEUED);
	views_[id].runnable_at = machine_->now();
	if (!migrates && has(Operation::runnable))
		call(Operation::runnable, Context::Other, {views_[id].address, flags});
	enqueue(id, flags);
}

// mark_direct_dispatch()
void Core::mark_direct(TaskId id, std::uint64_t dsq, std::uint64_t flags, bool by_vtime)
{
	mirror::sched_ext_entity &scx = task(id).scx;
	scx.ddsp_dsq_id = dsq;
	scx.ddsp_enq_flags = flags;
	views_[id].is_direct = true;
	views_[id].direct_by_vtime = by_vtime;
}

// do_enqueue_task()
void Core::enqueue(TaskId id, std::uint64_t flags)
{
	View &view = views_[id];
	if (!view.is_direct) {
		bool exits = task(id).flags & mirror::PF_EXITING && !(flags_ & constants().SCX_OPS_ENQ_EXITING);
		if (exits || !has(Operation::enqueue)) {
			refill(id);
			auto global = static_cast<std::uint32_t>(machine_->nr_cpus());
			put(id, exits ? task_cpu(id) : global, flags, false);
			return;
		}
		view.held_seq = ++held_seq_;
		being_enqueued_ = id;
		call(Operation::enqueue, Context::Enqueue, {view.address, flags});
		being_enqueued_ = NONE;
	}
	if (view.is_direct) {
		mirror::sched_ext_entity &scx = task(id).scx;
		std::uint64_t dsq = std::exchange(scx.ddsp_dsq_id, constants().SCX_DSQ_INVALID);
		std::uint64_t direct_flags = std::exchange(scx.ddsp_enq_flags, 0);
		view.is_direct = false;
		dispatch_to(id, task_cpu(id), dsq, direct_flags | flags, view.direct_by_vtime);
		return;
	}
	view.is_held = true;
	view.in_custody = true;
	task(id).scx.flags |= static_cast<std::uint32_t>(constants().SCX_TASK_IN_CUSTODY);
}

// update_curr_scx()
void Core::charge(CpuId cpu)
{
	TaskId id = machine_->current(cpu);
	if (id == NONE || !is_task(id))
		return;
	machine_->charge(cpu);
	View &view = views_[id];
	mirror::task_struct &p = task(id);
	Ns used = machine_->task(id).cpu_time_ns, ran = used - view.charged_ns;
	view.charged_ns = used;
	p.se.sum_exec_runtime = p.utime = static_cast<std::uint64_t>(used);
	if (p.scx.slice != constants().SCX_SLICE_INF)
		p.scx.slice -= std::min(p.scx.slice, static_cast<std::uint64_t>(ran));
	sync_slice(id);
}

// The machine counts a slice down, too: it ends it on time where it has a timer for that.
void Core::sync_slice(TaskId id)
{
	std::uint64_t slice = task(id).scx.slice;
	machine_->task(id).slice_ns = slice > static_cast<std::uint64_t>(sim::LONGEST) ? sim::NEVER
										       : static_cast<Ns>(slice);
}

void Core::refill(TaskId id)
{
	task(id).scx.slice = constants().SCX_SLICE_DFL;
}

void Core::set_slice(TaskId id, std::uint64_t slice)
{
	task(id).scx.slice = slice;
	if (is_running(id))
		sync_slice(id);
}

void Core::running(TaskId id)
{
	mirror::task_struct &p = task(id);
	View &view = views_[id];
	describe(id);
	view.charged_ns = machine_->task(id).cpu_time_ns;
	view.runnable_at = sim::NEVER;
	p.on_cpu = 1;
	if (!p.scx.slice)
		refill(id);
	if (has(Operation::running))
		call(Operation::running, Context::Other, {view.address});
	sync_slice(id);
}

// What dequeue_task_scx() does of a task that runs.
void Core::stopping(TaskId id, bool runnable)
{
	charge(task_cpu(id));
	if (has(Operation::stopping))
		call(Operation::stopping, Context::Other, {views_[id].address, runnable});
	mirror::task_struct &p = task(id);
	p.on_cpu = 0;
	if (!runnable) {
		p.__state = mirror::STATE_INTERRUPTIBLE;
		p.nvcsw++;
	}
}

void Core::quiescent(TaskId id, std::uint64_t flags, bool exits)
{
	mirror::task_struct &p = task(id);
	if (exits) {
		p.__state = mirror::STATE_DEAD;
		p.flags |= mirror::PF_EXITING;
	}
	if (has(Operation::quiescent))
		call(Operation::quiescent, Context::Other, {views_[id].address, flags});
	p.on_rq = 0;
	p.scx.flags &= ~static_cast<std::uint32_t>(constants().SCX_TASK_QUEUED);
	views_[id].runnable_at = sim::NEVER;
}

// yield_task_scx()
void Core::yield(TaskId id)
{
	if (has(Operation::yield))
		call(Operation::yield, Context::Other, {views_[id].address, 0});
	else
		set_slice(id, 0);
}

// task_tick_scx()
void Core::tick(CpuId cpu, TaskId id)
{
	charge(cpu);
	if (has(Operation::tick))
		call(Operation::tick, Context::Other, {views_[id].address});
	sync_slice(id);
	if (!task(id).scx.slice)
		machine_->resched(cpu);
}

void Core::update_idle(CpuId cpu, bool idle)
{
	if (idle)
		idle_since_[cpu] = machine_->now();
	else
		idle_ns_[cpu] += machine_->now() - idle_since_[cpu];
	if (has(Operation::update_idle))
		call(Operation::update_idle, Context::Other, {cpu, idle});
}

// sched_change: a task that can run leaves its queue, is changed, and comes back.
void Core::change(TaskId id, Operation operation)
{
	mirror::task_struct &p = task(id);
	const sim::Task &t = machine_->task(id);
	bool runs = is_running(id) && t.state == sim::TaskState::Running;
	bool queued = !runs && t.state == sim::TaskState::Queued;
	std::uint64_t flags = constants().SCX_DEQ_SCHED_CHANGE, address = views_[id].address;
	if (runs) {
		charge(t.cpu);
		if (has(Operation::stopping))
			call(Operation::stopping, Context::Other, {address, 0});
	} else if (queued) {
		take(id);
		leave_custody(id, flags);
	}
	if ((runs || queued) && has(Operation::quiescent))
		call(Operation::quiescent, Context::Other, {address, flags});
	p.static_prio = p.prio = p.normal_prio = 120 + t.nice;
	p.policy = t.policy == sim::Policy::Batch ? POLICY_BATCH : t.policy == sim::Policy::Idle ? POLICY_IDLE : 0;
	p.scx.weight = cgroup_weight(t.weight);
	set_cpus(id);
	std::uint64_t value = operation == Operation::set_weight ? p.scx.weight : p.cpus_ptr;
	if (has(operation))
		call(operation, Context::Other, {address, value});
	if ((runs || queued) && has(Operation::runnable))
		call(Operation::runnable, Context::Other, {address, 0});
	if (runs && has(Operation::running))
		call(Operation::running, Context::Other, {address});
	if (runs)
		sync_slice(id);
	if (queued)
		enqueue(id, 0);
}

std::vector<TaskId> Core::candidates(CpuId cpu) const
{
	std::vector<TaskId> found;
	for (const Dsq &dsq : dsqs_)
		if (dsq.cpu() == NONE || dsq.cpu() == cpu)
			for (TaskId id : dsq.all(places_))
				if (machine_->cpus(id).has(cpu))
					found.push_back(id);
	return found;
}

bool Core::take(TaskId id)
{
	views_[id].is_held = false;
	std::uint32_t dsq = places_[id].dsq;
	if (dsq == NONE)
		return false;
	dsqs_[dsq].remove(places_, id);
	return true;
}

}  // namespace schedtuna::scx
