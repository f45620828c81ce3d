/* SPDX-License-Identifier: Apache-2.0 */
#include "check.hpp"

#include "random.hpp"
#include "simulation.hpp"

namespace schedtuna::sim
{

namespace
{

void demand(bool holds, const std::string &where, const std::string &what)
{
	if (!holds)
		throw BadInput(where + ": " + what);
}

void check_group(const Workload &workload, std::size_t i)
{
	const GroupDef &group = workload.groups[i];
	std::string where = "group " + group.name;
	demand(i == 0 ? group.parent == NONE : group.parent < i, where, "a parent stands before its children");
	demand(group.shares >= MIN_SHARES && group.shares <= MAX_SHARES, where, "shares are 2 to 262144");
}

void check_resource(const Resource &resource)
{
	bool has_size = resource.kind == ResourceKind::Barrier || resource.kind == ResourceKind::Pipe;
	demand(!has_size || resource.size, "resource " + resource.name, "its size is at least 1");
}

void check_task(const Workload &workload, const TaskDef &task)
{
	std::string where = "task " + task.name;
	demand(task.program < workload.programs.size(), where, "there is no such program");
	demand(task.nice >= -20 && task.nice <= 19, where, "nice is -20 to 19");
	demand(task.policy <= Policy::Idle, where, "there is no such policy");
	demand(task.group < workload.groups.size(), where, "there is no such group");
	demand(task.cpu_set == NONE || task.cpu_set < workload.cpu_sets.size(), where, "there is no such set of CPUs");
	demand(task.slice_ns >= 0 && task.start_ns >= 0, where, "times can't be negative");
}

void check_object(const Workload &workload, const Step &step, const std::string &where)
{
	auto demand_resource = [&](ResourceKind kind, const char *name, std::uint32_t object) {
		demand(object < workload.resources.size() && workload.resources[object].kind == kind, where,
		       std::string("it needs a ") + name);
	};
	switch (step.op) {
	case Op::Lock:
	case Op::Unlock:
		demand_resource(ResourceKind::Mutex, "mutex", step.object);
		break;
	case Op::Wait:
		if (step.other != NONE)
			demand_resource(ResourceKind::Mutex, "mutex beside the condition", step.other);
		[[fallthrough]];
	case Op::Signal:
	case Op::Broadcast:
		demand_resource(ResourceKind::Condition, "condition", step.object);
		break;
	case Op::Barrier:
		demand_resource(ResourceKind::Barrier, "barrier", step.object);
		break;
	case Op::Suspend:
	case Op::Resume:
		demand_resource(ResourceKind::Suspended, "name to suspend on", step.object);
		break;
	case Op::Read:
	case Op::Write:
		demand_resource(ResourceKind::Pipe, "pipe", step.object);
		break;
	case Op::Fork:
		demand(step.object < workload.tasks.size(), where, "there is no such task to fork");
		break;
	case Op::Exec:
		demand(step.object < workload.programs.size(), where, "there is no such program to execute");
		break;
	case Op::SetAffinity:
		demand(step.object == NONE || step.object < workload.cpu_sets.size(), where,
		       "there is no such set of CPUs");
		break;
	default:
		break;
	}
}

void check_step(const Workload &workload, const Program &program, std::uint32_t at, const std::string &where)
{
	const Step &step = program.steps[at];
	check_object(workload, step, where);
	switch (step.op) {
	case Op::Run:
	case Op::Spin:
	case Op::Sleep:
	case Op::Io:
		check_amount(step.amount, where);
		break;
	case Op::SleepUntil:
		check_amount(step.amount, where);
		if (step.flags & FROM_BEGINNING)
			demand(step.amount.shape == Shape::Fixed, where, "a time since the beginning is fixed");
		else
			demand(step.object < program.nr_timers, where, "there is no such timer");
		demand(step.amount.shape != Shape::Fixed || step.amount.a > 0, where, "a timer's period is above 0");
		break;
	case Op::SetNice:
	case Op::SetPolicy:
	case Op::SetSlice:
		check_attribute(step.op, step.amount.a, where);
		break;
	case Op::Loop:
		demand(step.object <= at, where, "a loop goes back, not forward");
		demand(step.depth < LOOP_DEPTH, where, "loops are nested too deeply");
		demand(step.amount.a >= -1, where, "a loop is passed a number of times, or -1 for ever");
		break;
	default:
		break;
	}
}

}  // namespace

void check_attribute(Op op, Ns value, const std::string &where)
{
	if (op == Op::SetNice)
		demand(value >= -20 && value <= 19, where, "nice is -20 to 19");
	else if (op == Op::SetPolicy)
		demand(value >= 0 && value <= static_cast<Ns>(Policy::Idle), where, "there is no such policy");
	else
		demand(value >= 0, where, "a slice can't be negative");
}

void check_workload(const Workload &workload, std::uint32_t nr_cpus)
{
	demand(!workload.tasks.empty(), "workload", "it has no task");
	demand(workload.tasks.size() <= MAX_TASKS, "workload", "it has more than 1,000,000 tasks");
	demand(!workload.groups.empty() && workload.groups.size() <= UINT16_MAX, "workload",
	       "it has 1 to 65535 groups");
	demand(workload.duration_ns > 0, "workload", "its duration is above 0");
	bool starts = false;
	for (const TaskDef &task : workload.tasks) {
		check_task(workload, task);
		starts |= task.start_ns != NEVER;
	}
	demand(starts, "workload", "none of its tasks ever starts");
	for (std::size_t i = 0; i < workload.groups.size(); i++)
		check_group(workload, i);
	for (const Resource &resource : workload.resources)
		check_resource(resource);
	for (const std::vector<CpuId> &cpus : workload.cpu_sets) {
		demand(!cpus.empty(), "workload", "a set of CPUs is empty");
		for (CpuId cpu : cpus)
			demand(cpu < nr_cpus, "workload",
			       "a task is to run on CPU " + std::to_string(cpu) + ", but the machine has CPUs 0-"
				       + std::to_string(nr_cpus - 1));
	}
	Interruption before;
	for (const Interruption &each : workload.interruptions) {
		demand(each.start_ns >= (each.cpu == before.cpu ? before.start_ns : 0) && each.cpu >= before.cpu
			       && each.length_ns >= 0,
		       "workload", "interruptions stand in order of CPU and time, and none is negative");
		demand(each.cpu < nr_cpus, "workload", "an interruption is of a CPU that is not there");
		before = each;
	}
	for (const Program &program : workload.programs)
		for (std::uint32_t i = 0; i < program.steps.size(); i++)
			check_step(workload, program, i, "program " + program.name + ", step " + std::to_string(i));
}

}  // namespace schedtuna::sim
