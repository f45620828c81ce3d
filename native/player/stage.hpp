/* SPDX-License-Identifier: Apache-2.0 */
// What all threads of a run share: resources, the moment they start at, and its end.
#pragma once

#include "worker.hpp"

#include <condition_variable>
#include <deque>
#include <sched.h>

namespace schedtuna::player
{

union Resource {
	struct {
		pthread_mutex_t mutex;	   // Mutex; Suspended
		pthread_cond_t condition;  // Condition; Suspended
	};
	pthread_barrier_t barrier;
	int pipe[2];
};

class Stage
{
      public:
	Stage(const sim::Workload &workload, std::uint64_t seed);
	// Play the file to its end, and return what happened as JSON. Threads that haven't ended go on until the
	// process does.
	std::string play();

      private:
	friend class Worker;
	const sim::Workload &workload_;
	const std::uint64_t seed_;
	const Burner burner_;
	cpu_set_t all_cpus_;
	std::vector<Resource> resources_;
	pthread_barrier_t ready_;
	Ns start_ = 0;
	std::mutex lock_;	      // of the next three
	std::deque<Worker> workers_;  // they stay where they are
	std::uint32_t nr_live_ = 0;
	std::condition_variable all_ended_;

	void open_resource(const sim::Resource &resource, Resource &real);
	void fork(std::uint32_t definition, sim::Key key);
	void ended();
};

// The run can't go on: say what failed, and end the process with status 1.
[[noreturn]] void fail(const std::string &what, int error);

}  // namespace schedtuna::player
