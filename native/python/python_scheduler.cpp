/* SPDX-License-Identifier: Apache-2.0 */
#include "python_scheduler.hpp"
#include "machine_view.hpp"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <utility>

namespace nb = nanobind;

namespace schedtuna::sim
{
namespace
{

constexpr Ns DEFAULT_SLICE_NS = 20'000'000;  // SCX_SLICE_DFL

// A task, or None.
nb::object handed(TaskId id)
{
	return id == NONE ? nb::none() : nb::cast(TaskView{id});
}

// What a callback returned, if it is what it may return.
template <typename T> T checked(std::string_view scheduler, const nb::object &value, const std::string &expected)
{
	T result;
	if (!nb::try_cast(value, result))
		throw SchedulerError(std::string(scheduler) + ": " + expected + ", not " + nb::repr(value).c_str());
	return result;
}

}  // namespace

PythonScheduler::PythonScheduler(std::string name, nb::object scheduler, const std::vector<std::string> &callbacks)
    : name_(std::move(name)), scheduler_(std::move(scheduler)), callbacks_(callbacks)
{
	for (const std::string &callback : callbacks_) {
		auto at = std::find(CALLBACKS.begin(), CALLBACKS.end(), callback);
		if (at == CALLBACKS.end())
			throw BadInput("schedulers have no callback " + callback);
		methods_[static_cast<std::size_t>(at - CALLBACKS.begin())] = scheduler_.attr(callback.c_str());
	}
}

std::unique_ptr<Scheduler> PythonScheduler::clone() const
{
	nb::object copy = nb::module_::import_("copy").attr("deepcopy")(scheduler_);
	return std::make_unique<PythonScheduler>(name_, std::move(copy), callbacks_);
}

// Null where it does not define the callback.
template <typename... Args> nb::object PythonScheduler::call(Callback which, Machine &machine, Args &&...args)
{
	const nb::object &method = methods_[static_cast<std::size_t>(which)];
	if (!method.is_valid())
		return {};
	InCallback during(machine);
	return method(MachineView{}, std::forward<Args>(args)...);
}

void PythonScheduler::init(Machine &machine)
{
	call(Callback::Init, machine);
}

void PythonScheduler::init_task(Machine &machine, TaskId task)
{
	call(Callback::InitTask, machine, TaskView{task});
}

void PythonScheduler::exit_task(Machine &machine, TaskId task)
{
	call(Callback::ExitTask, machine, TaskView{task});
}

// Without one of its own, as sched_ext's default: an idle CPU, the nearest one, else where it ran.
CpuId PythonScheduler::select_cpu(Machine &machine, TaskId task, CpuId prev_cpu, EnqueueReason why)
{
	nb::object chosen = call(Callback::SelectCpu, machine, TaskView{task}, prev_cpu, why);
	if (chosen.is_valid() && !chosen.is_none())
		return checked<CpuId>(name_, chosen, "select_cpu() returns a CPU or None");
	const CpuSet &allowed = machine.cpus(task);
	CpuId cpu = machine.pick_idle_cpu(allowed, prev_cpu);
	if (cpu == NONE)
		cpu = allowed.has(prev_cpu) ? prev_cpu : allowed.first_of_both(allowed);
	return cpu;
}

// Without one of its own, as sched_ext's default: behind all others.
void PythonScheduler::enqueue(Machine &machine, TaskId task, EnqueueReason why)
{
	if (!call(Callback::Enqueue, machine, TaskView{task}, why).is_valid())
		machine.dsq_insert(task, GLOBAL_DSQ, DEFAULT_SLICE_NS);
}

void PythonScheduler::dequeue(Machine &machine, TaskId task, DequeueReason why)
{
	call(Callback::Dequeue, machine, TaskView{task}, why);
}

bool PythonScheduler::wake_in_place(Machine &machine, TaskId task)
{
	nb::object is_queued = call(Callback::WakeInPlace, machine, TaskView{task});
	return is_queued.is_valid() && checked<bool>(name_, is_queued, "wake_in_place() returns True or False");
}

TaskId PythonScheduler::dispatch(Machine &machine, CpuId cpu, TaskId prev)
{
	nb::object next = call(Callback::Dispatch, machine, cpu, handed(prev));
	if (!next.is_valid() || next.is_none())
		return NONE;
	return checked<TaskView>(name_, next, "dispatch() returns a Task or None").id;
}

void PythonScheduler::running(Machine &machine, TaskId task)
{
	call(Callback::Running, machine, TaskView{task});
}

void PythonScheduler::stopping(Machine &machine, TaskId task, bool runnable)
{
	call(Callback::Stopping, machine, TaskView{task}, runnable);
}

void PythonScheduler::tick(Machine &machine, CpuId cpu, TaskId task)
{
	call(Callback::Tick, machine, cpu, TaskView{task});
}

void PythonScheduler::update_idle(Machine &machine, CpuId cpu, bool idle)
{
	call(Callback::UpdateIdle, machine, cpu, idle);
}

void PythonScheduler::set_weight(Machine &machine, TaskId task)
{
	call(Callback::SetWeight, machine, TaskView{task});
}

void PythonScheduler::set_cpumask(Machine &machine, TaskId task)
{
	call(Callback::SetCpumask, machine, TaskView{task});
}

void PythonScheduler::read_cpu_time(Machine &machine, TaskId task)
{
	call(Callback::ReadCpuTime, machine, TaskView{task});
}

void PythonScheduler::timer_fired(Machine &machine, CpuId cpu)
{
	call(Callback::TimerFired, machine, cpu);
}

}  // namespace schedtuna::sim
