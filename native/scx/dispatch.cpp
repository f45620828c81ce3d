/* SPDX-License-Identifier: Apache-2.0 */
// Dispatch queues, and how tasks come into them.
#include "core.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

namespace schedtuna::scx
{

namespace
{

template <typename... Values> std::string spelled(const char *format, Values... values)
{
	char text[512];
	std::snprintf(text, sizeof(text), format, values...);
	return text;
}

unsigned long long wide(std::uint64_t value)
{
	return value;
}

}  // namespace

std::int64_t Core::create_dsq(std::uint64_t id)
{
	if (id & constants().SCX_DSQ_FLAG_BUILTIN)
		return -22;  // EINVAL
	if (user_dsqs_.contains(id))
		return -17;  // EEXIST
	user_dsqs_[id] = static_cast<std::uint32_t>(dsqs_.size());
	dsqs_.emplace_back(id, NONE);
	return 0;
}

void Core::destroy_dsq(std::uint64_t id)
{
	auto found = user_dsqs_.find(id);
	if (found == user_dsqs_.end())
		return;
	if (dsqs_[found->second].nr()) {
		error(spelled("attempting to destroy in-use dsq 0x%016llx (nr=%u)", wide(id),
			      dsqs_[found->second].nr()));
		return;
	}
	user_dsqs_.erase(found);
}

std::optional<std::uint32_t> Core::user_dsq(std::uint64_t id) const
{
	auto found = user_dsqs_.find(id);
	return found == user_dsqs_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::uint32_t> Core::find_dsq(std::uint64_t id, CpuId cpu) const
{
	const Constants &k = constants();
	if (!(id & k.SCX_DSQ_FLAG_BUILTIN))
		return user_dsq(id);
	if (id == k.SCX_DSQ_LOCAL)
		return cpu;
	if (id == k.SCX_DSQ_GLOBAL)
		return machine_->nr_cpus();
	if ((id & k.SCX_DSQ_LOCAL_ON) == k.SCX_DSQ_LOCAL_ON) {
		std::uint64_t on = id & k.SCX_DSQ_LOCAL_CPU_MASK;
		if (on < machine_->nr_cpus())
			return static_cast<std::uint32_t>(on);
	}
	return {};
}

void Core::leave_custody(TaskId id, std::uint64_t flags)
{
	View &view = views_[id];
	if (!view.in_custody)
		return;
	view.in_custody = false;
	task(id).scx.flags &= ~static_cast<std::uint32_t>(constants().SCX_TASK_IN_CUSTODY);
	// Before custody had a flag (7.1), only a task that changes was taken out of the scheduler's hands.
	if (has(Operation::dequeue) && (constants().SCX_TASK_IN_CUSTODY || flags))
		call(Operation::dequeue, Context::Other, {views_[id].address, flags});
}

// dispatch_enqueue()
void Core::put(TaskId id, std::uint32_t index, std::uint64_t flags, bool by_vtime)
{
	const Constants &k = constants();
	bool is_builtin = index <= machine_->nr_cpus();
	if (by_vtime && is_builtin) {
		error("cannot use vtime ordering for built-in DSQs");
		by_vtime = false;
	}
	Dsq &queue = dsqs_[index];
	if (by_vtime) {
		if (queue.has_fifo())
			error(spelled("DSQ ID 0x%016llx already had FIFO-enqueued tasks", wide(queue.id())));
		queue.insert_by_vtime(places_, index, id, task(id).scx.dsq_vtime);
	} else {
		if (queue.has_vtime())
			error(spelled("DSQ ID 0x%016llx already had PRIQ-enqueued tasks", wide(queue.id())));
		queue.insert(places_, index, id, flags & (k.SCX_ENQ_HEAD | k.SCX_ENQ_PREEMPT));
	}
	views_[id].is_held = false;
	if (is_builtin) {
		leave_custody(id, 0);
	} else {
		views_[id].in_custody = true;
		task(id).scx.flags |= static_cast<std::uint32_t>(k.SCX_TASK_IN_CUSTODY);
	}
	CpuId cpu = dsqs_[index].cpu();
	if (cpu == NONE)
		return;
	TaskId current = machine_->current(cpu);
	if (current == NONE) {
		machine_->resched(cpu);
	} else if (flags & k.SCX_ENQ_PREEMPT && current != id) {
		charge(cpu);
		set_slice(current, 0);
		machine_->resched(cpu);
	}
}

// find_dsq_for_dispatch() and dispatch_to_local_dsq()
void Core::dispatch_to(TaskId id, CpuId cpu, std::uint64_t dsq_id, std::uint64_t flags, bool by_vtime)
{
	std::uint32_t global = machine_->nr_cpus();
	std::optional<std::uint32_t> index = find_dsq(dsq_id, cpu);
	if (!index) {
		const Constants &k = constants();
		if ((dsq_id & k.SCX_DSQ_LOCAL_ON) == k.SCX_DSQ_LOCAL_ON)
			valid_cpu(static_cast<std::int32_t>(dsq_id & k.SCX_DSQ_LOCAL_CPU_MASK),
				  "in SCX_DSQ_LOCAL_ON dispatch verdict");
		else
			error(spelled("non-existent DSQ 0x%llx for %s", wide(dsq_id), who(id).c_str()));
		index = global;
	}
	CpuId target = dsqs_[*index].cpu();
	if (target != NONE && !machine_->cpus(id).has(target)) {
		error(spelled("SCX_DSQ_LOCAL[_ON] target CPU %u not allowed for %s", target, who(id).c_str()));
		index = global;
	} else if (target != NONE && target != task_cpu(id)) {
		machine_->migrate(id, target);
	}
	put(id, *index, flags, by_vtime);
}

bool Core::insert(std::uint64_t address, std::uint64_t dsq_id, std::uint64_t slice, const std::uint64_t *vtime,
		  std::uint64_t flags)
{
	TaskId id = task_at(address);
	if (id == NONE)
		return false;
	if (context_ != Context::SelectCpu && context_ != Context::Enqueue && context_ != Context::Dispatch) {
		error("a task was inserted into a DSQ outside of ops.select_cpu(), ops.enqueue() and ops.dispatch()");
		return false;
	}
	mirror::task_struct &p = task(id);
	set_slice(id, slice ? slice : p.scx.slice ? p.scx.slice : 1);
	if (vtime)
		p.scx.dsq_vtime = *vtime;
	if (context_ == Context::Dispatch) {
		if (buffer_.size() >= max_batch_) {
			error("dispatch buffer overflow");
			return false;
		}
		buffer_.push_back({id, views_[id].held_seq, dsq_id, flags, vtime != nullptr});
		return true;
	}
	View &view = views_[id];
	if (being_enqueued_ != id) {
		error(spelled("scheduling for %s but trying to direct-dispatch %s", who(being_enqueued_).c_str(),
			      who(id).c_str()));
		return false;
	}
	if (view.is_direct) {
		error(spelled("%s already direct-dispatched", who(id).c_str()));
		return false;
	}
	mark_direct(id, dsq_id, flags, vtime != nullptr);
	return true;
}

// flush_dispatch_buf(): tasks that are no longer the scheduler's are left alone, as finish_dispatch() does.
void Core::flush(CpuId cpu)
{
	nr_dispatched_ += buffer_.size();
	std::vector<Dispatch> taken;
	taken.swap(buffer_);
	for (const Dispatch &each : taken) {
		if (!is_task(each.id) || !views_[each.id].is_held || views_[each.id].held_seq != each.held_seq)
			continue;
		dispatch_to(each.id, cpu, each.dsq_id, each.flags, each.by_vtime);
	}
	taken.clear();
	if (buffer_.empty())
		buffer_.swap(taken);  // its memory
}

void Core::cancel_dispatch()
{
	if (!buffer_.empty())
		buffer_.pop_back();
	else
		error("dispatch buffer underflow");
}

// consume_dispatch_q()
bool Core::consume(std::uint32_t index, CpuId cpu, std::uint64_t flags)
{
	TaskId id = dsqs_[index].first();
	while (id != NONE && !machine_->cpus(id).has(cpu))
		id = dsqs_[index].next(places_, id);
	if (id == NONE)
		return false;
	dsqs_[index].remove(places_, id);
	if (task_cpu(id) != cpu)
		machine_->migrate(id, cpu);
	put(id, cpu, flags, false);
	return true;
}

bool Core::move_to_local(std::uint64_t dsq_id, std::uint64_t flags)
{
	if (context_ != Context::Dispatch) {
		error("scx_bpf_dsq_move_to_local() was called outside of ops.dispatch()");
		return false;
	}
	flush(dispatching_);
	std::optional<std::uint32_t> index = user_dsq(dsq_id);
	if (!index) {
		error(spelled("invalid DSQ ID 0x%016llx", wide(dsq_id)));
		return false;
	}
	if (!consume(*index, dispatching_, flags))
		return false;
	nr_dispatched_++;
	return true;
}

// scx_dsq_move(): from the queue that it is in.
bool Core::move(TaskId id, std::uint64_t dsq_id, std::uint64_t flags, bool by_vtime)
{
	if (places_[id].dsq == NONE)
		return false;
	dsqs_[places_[id].dsq].remove(places_, id);
	dispatch_to(id, dispatching_ == NONE ? task_cpu(id) : dispatching_, dsq_id, flags, by_vtime);
	if (context_ == Context::Dispatch)
		nr_dispatched_++;
	return true;
}

std::uint32_t Core::reenqueue(std::uint32_t index)
{
	std::vector<TaskId> waiting = dsqs_[index].all(places_);
	TaskId before = being_enqueued_;
	for (TaskId id : waiting) {
		dsqs_[index].remove(places_, id);
		leave_custody(id, 0);
		enqueue(id, constants().SCX_ENQ_REENQ);
	}
	being_enqueued_ = before;
	return static_cast<std::uint32_t>(waiting.size());
}

void Core::kick(std::int32_t cpu, std::uint64_t flags)
{
	if (!valid_cpu(cpu, nullptr))
		return;
	if (flags & constants().SCX_KICK_IDLE && flags & (constants().SCX_KICK_PREEMPT | constants().SCX_KICK_WAIT))
		error(spelled("PREEMPT/WAIT cannot be used with SCX_KICK_IDLE"));
	kicks_.emplace_back(static_cast<CpuId>(cpu), flags);
	if (context_ == Context::None)
		apply_kicks();
}

// kick_cpus_irq_workfn(): when the operation is over. A CPU that chooses kicks itself once it has.
void Core::apply_kicks()
{
	const Constants &k = constants();
	std::vector<std::pair<CpuId, std::uint64_t>> all;
	all.swap(kicks_);
	for (auto [cpu, flags] : all) {
		TaskId current = machine_->current(cpu);
		if (flags & k.SCX_KICK_IDLE) {
			if (current == NONE)
				machine_->resched(cpu);
			continue;
		}
		if (flags & k.SCX_KICK_PREEMPT && current != NONE) {
			charge(cpu);
			set_slice(current, 0);
		}
		if (cpu == choosing_) {
			kicks_itself_[cpu] = true;
			machine_->set_timer(cpu, machine_->now());
		} else {
			machine_->resched(cpu);
		}
	}
	all.clear();
	kicks_.swap(all);
}

bool Core::valid_cpu(std::int64_t cpu, const char *where)
{
	if (cpu >= 0 && cpu < machine_->nr_cpus())
		return true;
	error(spelled("invalid CPU %d%s%s", static_cast<int>(cpu), where ? " " : "", where ? where : ""));
	return false;
}

}  // namespace schedtuna::scx
