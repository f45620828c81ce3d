/* SPDX-License-Identifier: Apache-2.0 */
// Who runs next on a CPU.
#include "core.hpp"

namespace schedtuna::scx
{

namespace
{

constexpr std::uint64_t MAX_LOOPS = 32;	 // SCX_DSP_MAX_LOOPS

}  // namespace

TaskId Core::first_local(CpuId cpu)
{
	TaskId id = dsqs_[cpu].first();
	if (id == NONE)
		return NONE;
	dsqs_[cpu].remove(places_, id);
	if (!task(id).scx.slice)
		refill(id);
	return id;
}

// balance_one() and pick_task_scx(): who runs next; prev itself keeps running, NONE idles.
TaskId Core::balance(CpuId cpu, TaskId prev, bool prev_runnable)
{
	std::uint32_t global = machine_->nr_cpus();
	choosing_ = cpu;
	auto keeps = [&] { return prev_runnable && task(prev).scx.slice; };
	if (prev_runnable)
		charge(cpu);
	if (keeps())
		return prev;
	dispatching_ = cpu;
	bool found = dsqs_[cpu].nr() || consume(global, cpu, 0);
	for (std::uint64_t loops = MAX_LOOPS; !found && has(Operation::dispatch) && !is_ended_;) {
		std::uint64_t before = nr_dispatched_;
		call(Operation::dispatch, Context::Dispatch, {cpu, address_of(prev)});
		flush(cpu);
		if (keeps())
			break;
		found = dsqs_[cpu].nr() || consume(global, cpu, 0);
		if (found || nr_dispatched_ == before)
			break;
		if (--loops == 0) {
			kick(static_cast<std::int32_t>(cpu), 0);
			break;
		}
	}
	dispatching_ = NONE;
	if (keeps())
		return prev;
	if (found)
		return first_local(cpu);
	if (!prev_runnable || flags_ & constants().SCX_OPS_ENQ_LAST)
		return NONE;
	refill(prev);
	sync_slice(prev);
	return prev;
}

// put_prev_task_scx()
void Core::put_prev(CpuId cpu, TaskId prev, TaskId next)
{
	mirror::task_struct &p = task(prev);
	if (has(Operation::stopping))
		call(Operation::stopping, Context::Other, {views_[prev].address, 1});
	p.on_cpu = 0;
	p.nivcsw++;
	views_[prev].runnable_at = machine_->now();
	if (p.scx.slice) {
		put(prev, cpu, constants().SCX_ENQ_HEAD, false);
		return;
	}
	enqueue(prev, next == NONE ? constants().SCX_ENQ_LAST : 0);
	if (next == NONE && dsqs_[cpu].nr())
		kick(static_cast<std::int32_t>(cpu), 0);
}

}  // namespace schedtuna::scx
