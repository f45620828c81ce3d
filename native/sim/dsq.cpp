/* SPDX-License-Identifier: Apache-2.0 */
// Dispatch queues: FIFO ones are lists through the tasks, those in vtime order are sets of (vtime, insertion, task).
#include "machine.hpp"

namespace schedtuna::sim
{

std::uint32_t Machine::create_dsq()
{
	dsqs_.emplace_back();
	return static_cast<std::uint32_t>(dsqs_.size() - 1);
}

const Machine::Dsq &Machine::dsq_of(std::uint32_t dsq) const
{
	bool is_local = dsq & LOCAL_DSQ;
	std::uint32_t index = dsq & ~LOCAL_DSQ;
	if (index >= (is_local ? local_dsqs_ : dsqs_).size())
		throw SchedulerError("there is no dispatch queue " + std::to_string(index));
	return (is_local ? local_dsqs_ : dsqs_)[index];
}

Machine::Dsq &Machine::dsq_of(std::uint32_t dsq)
{
	return const_cast<Dsq &>(static_cast<const Machine *>(this)->dsq_of(dsq));
}

// What the kernel ends a scheduler for.
void Machine::dsq_check(TaskId id, std::uint32_t dsq, bool is_vtime)
{
	const Dsq &queue = dsq_of(dsq);
	if (tasks_[id].state != TaskState::Queued || threads_[id].dsq != NONE)
		throw SchedulerError("task " + std::to_string(id) + " is dispatched, but does not wait to be");
	if (dsq & LOCAL_DSQ && !may_run(id, dsq & ~LOCAL_DSQ))
		throw SchedulerError("task " + std::to_string(id) + " is dispatched to CPU "
				     + std::to_string(dsq & ~LOCAL_DSQ) + ", where it may not run");
	if (is_vtime && (dsq & LOCAL_DSQ || dsq == GLOBAL_DSQ))
		throw SchedulerError("built-in dispatch queues have no vtime order");
	if (queue.nr_queued && is_vtime != !queue.by_vtime.empty())
		throw SchedulerError("a dispatch queue is in FIFO order or in vtime order, not in both");
}

void Machine::dsq_insert(TaskId id, std::uint32_t dsq, Ns slice_ns)
{
	dsq_check(id, dsq, false);
	Dsq &queue = dsq_of(dsq);
	Thread &thread = threads_[id];
	thread.dsq = dsq;
	thread.dsq_before = queue.last;
	thread.dsq_behind = NONE;
	(queue.last == NONE ? queue.first : threads_[queue.last].dsq_behind) = id;
	queue.last = id;
	queue.nr_queued++;
	tasks_[id].slice_ns = std::max<Ns>(slice_ns, 1);  // as in the kernel
	if (dsq & LOCAL_DSQ && cpus_[dsq & ~LOCAL_DSQ].current == NONE)
		resched(dsq & ~LOCAL_DSQ);
}

void Machine::dsq_insert_vtime(TaskId id, std::uint32_t dsq, Ns slice_ns, Ns vtime)
{
	dsq_check(id, dsq, true);
	Dsq &queue = dsq_of(dsq);
	threads_[id].dsq = dsq;
	threads_[id].dsq_vtime = vtime;
	threads_[id].dsq_seq = nr_inserted_++;
	queue.by_vtime.emplace(vtime, threads_[id].dsq_seq, id);
	queue.nr_queued++;
	tasks_[id].slice_ns = std::max<Ns>(slice_ns, 1);  // as in the kernel
	tasks_[id].vtime = vtime;
}

bool Machine::dsq_remove(TaskId id)
{
	Thread &thread = threads_[id];
	if (thread.dsq == NONE)
		return false;
	Dsq &queue = dsq_of(thread.dsq);
	if (queue.by_vtime.empty()) {
		(thread.dsq_before == NONE ? queue.first : threads_[thread.dsq_before].dsq_behind) = thread.dsq_behind;
		(thread.dsq_behind == NONE ? queue.last : threads_[thread.dsq_behind].dsq_before) = thread.dsq_before;
	} else {
		queue.by_vtime.erase({thread.dsq_vtime, thread.dsq_seq, id});
	}
	queue.nr_queued--;
	thread.dsq = NONE;
	return true;
}

TaskId Machine::dsq_first(std::uint32_t dsq, CpuId cpu) const
{
	const Dsq &queue = dsq_of(dsq);
	if (queue.by_vtime.empty()) {
		TaskId id = queue.first;
		while (id != NONE && !may_run(id, cpu))
			id = threads_[id].dsq_behind;
		return id;
	}
	for (const auto &[vtime, seq, id] : queue.by_vtime)
		if (may_run(id, cpu))
			return id;
	return NONE;
}

bool Machine::dsq_move_to_local(std::uint32_t dsq, CpuId cpu)
{
	TaskId id = dsq_first(dsq, cpu);
	if (id == NONE)
		return false;
	dsq_remove(id);
	dsq_insert(id, LOCAL_DSQ | cpu, tasks_[id].slice_ns);
	return true;
}

void Machine::dsq_candidates(CpuId cpu, std::vector<TaskId> &found) const
{
	auto add = [&](TaskId id) {
		if (may_run(id, cpu))
			found.push_back(id);
	};
	auto add_all = [&](const Dsq &queue) {
		for (TaskId id = queue.first; id != NONE; id = threads_[id].dsq_behind)
			add(id);
		for (const auto &[vtime, seq, waiting] : queue.by_vtime)
			add(waiting);
	};
	add_all(local_dsqs_[cpu]);
	for (const Dsq &queue : dsqs_)
		add_all(queue);
}

std::uint32_t Machine::dsq_nr_queued(std::uint32_t dsq) const
{
	return dsq_of(dsq).nr_queued;
}

TaskId Machine::dsq_peek(std::uint32_t dsq) const
{
	const Dsq &queue = dsq_of(dsq);
	return queue.by_vtime.empty() ? queue.first : std::get<TaskId>(*queue.by_vtime.begin());
}

}  // namespace schedtuna::sim
