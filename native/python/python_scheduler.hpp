/* SPDX-License-Identifier: Apache-2.0 */
// A scheduler that is a Python object: those of sched_ext's callbacks that it defines are called.
#pragma once

#include "sim/scheduler.hpp"

#include <nanobind/nanobind.h>

#include <array>
#include <string>
#include <vector>

namespace schedtuna::sim
{

enum class Callback : std::uint8_t {
	Init,
	InitTask,
	ExitTask,
	SelectCpu,
	Enqueue,
	Dequeue,
	WakeInPlace,
	Dispatch,
	Running,
	Stopping,
	Tick,
	UpdateIdle,
	SetWeight,
	SetCpumask,
	ReadCpuTime,
	TimerFired,
};
// Their names in Python, in this order.
inline constexpr std::array CALLBACKS{"init",	    "init_task",   "exit_task",	    "select_cpu",
				      "enqueue",    "dequeue",	   "wake_in_place", "dispatch",
				      "running",    "stopping",	   "tick",	    "update_idle",
				      "set_weight", "set_cpumask", "read_cpu_time", "timer_fired"};

class PythonScheduler final : public Scheduler
{
      public:
	// `callbacks` are the names of those that it defines.
	PythonScheduler(std::string name, nanobind::object scheduler, const std::vector<std::string> &callbacks);

	std::string_view name() const override
	{
		return name_;
	}
	std::unique_ptr<Scheduler> clone() const override;  // by copy.deepcopy()
	nanobind::object object() const
	{
		return scheduler_;
	}

	void init(Machine &machine) override;
	void init_task(Machine &machine, TaskId task) override;
	void exit_task(Machine &machine, TaskId task) override;
	CpuId select_cpu(Machine &machine, TaskId task, CpuId prev_cpu, EnqueueReason why) override;
	void enqueue(Machine &machine, TaskId task, EnqueueReason why) override;
	void dequeue(Machine &machine, TaskId task, DequeueReason why) override;
	bool wake_in_place(Machine &machine, TaskId task) override;
	TaskId dispatch(Machine &machine, CpuId cpu, TaskId prev) override;
	void running(Machine &machine, TaskId task) override;
	void stopping(Machine &machine, TaskId task, bool runnable) override;
	void tick(Machine &machine, CpuId cpu, TaskId task) override;
	void update_idle(Machine &machine, CpuId cpu, bool idle) override;
	void set_weight(Machine &machine, TaskId task) override;
	void set_cpumask(Machine &machine, TaskId task) override;
	void read_cpu_time(Machine &machine, TaskId task) override;
	void timer_fired(Machine &machine, CpuId cpu) override;

      private:
	template <typename... Args> nanobind::object call(Callback which, Machine &machine, Args &&...args);

	std::string name_;
	nanobind::object scheduler_;
	std::vector<std::string> callbacks_;
	std::array<nanobind::object, CALLBACKS.size()> methods_;  // null: it does not define it
};

void bind_machine(nanobind::module_ &m);  // what its callbacks are handed

}  // namespace schedtuna::sim
