/* SPDX-License-Identifier: Apache-2.0 */
// The events of a task of rt-app's as a program, and what is wrong with them that can be seen without running it.
#pragma once

#include "rt_app_field.hpp"

#include <map>
#include <set>

namespace schedtuna::sim::rt_app
{

// What is known of the whole file while its tasks are read.
class File
{
      public:
	explicit File(Workload &workload) : workload(workload)
	{
	}
	struct Target {	 // of "fork" and "exec"
		std::uint32_t program, definition;
	};

	Workload &workload;
	std::map<std::string, Target, std::less<>> targets;  // by the task's name
	std::set<std::string> started;			     // tasks that are forked or that others go on with
	std::map<std::string, std::uint32_t> pipe_sizes;

	std::uint32_t resource(ResourceKind kind, const Field &name);
	std::uint32_t cpu_set(const Field &cpus);
	// One task, or several instances, at barrier `object`.
	void add_to_barrier(std::uint32_t object, std::uint32_t nr_tasks, const std::string &task, const Field &event);
	// A timer that isn't one per task: no two tasks may share it.
	void own_timer(const std::string &ref, const std::string &task, const Field &event);
	// Barriers of tasks whose number isn't known, and waiting for what nothing in the file does.
	void check() const;
	void note(Op op, std::uint32_t object, std::uint32_t mutex, const Field &event);

      private:
	struct Use {
		std::optional<Field> waits, wakes;  // the first of each
		std::uint32_t mutex = NONE;
	};
	std::map<std::pair<ResourceKind, std::string>, std::uint32_t> resources_;
	std::map<std::vector<CpuId>, std::uint32_t> cpu_sets_;
	std::map<std::uint32_t, Use> uses_;	     // by resource
	std::map<std::string, Field> barriers_;	     // one of each task that has any
	std::map<std::string, std::string> timers_;  // whose they are
};

struct Scheduling {
	std::optional<Policy> policy;
	std::optional<std::int8_t> nice;
	std::optional<Ns> slice_ns;
};
Scheduling read_scheduling(const Field &task_or_phase);
Policy read_policy(const Field &policy);

Program read_program(File &file, const Field &task, std::uint32_t nr_instances);

}  // namespace schedtuna::sim::rt_app
