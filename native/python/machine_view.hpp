/* SPDX-License-Identifier: Apache-2.0 */
// What Python sees of a machine and its tasks: names alone, good for as long as a callback goes on, so that none of
// them can outlive the simulation, and a scheduler that keeps some can be copied.
#pragma once

#include "sim/scheduler.hpp"

namespace schedtuna::sim
{

struct MachineView {};

struct TaskView {
	TaskId id = NONE;
};

// The machine that they mean is the one whose callback goes on in this thread.
class InCallback
{
      public:
	explicit InCallback(Machine &machine) : outer_(machine_)
	{
		machine_ = &machine;
	}
	~InCallback()
	{
		machine_ = outer_;
	}
	InCallback(const InCallback &) = delete;
	InCallback &operator=(const InCallback &) = delete;

	static Machine &machine()
	{
		if (!machine_)
			throw std::runtime_error(
				"a machine and its tasks can be asked by a scheduler's callbacks alone, "
				"while they go on");
		return *machine_;
	}

      private:
	Machine *outer_;  // a callback may run a simulation
	static thread_local Machine *machine_;
};

}  // namespace schedtuna::sim
