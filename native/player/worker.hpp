/* SPDX-License-Identifier: Apache-2.0 */
// A thread that does, step by step and for real, what a simulated task does.
#pragma once

#include "burst.hpp"
#include "sim/random.hpp"
#include "sim/workload.hpp"

#include <mutex>
#include <pthread.h>

namespace schedtuna::player
{

// What the kernel has counted for a thread, /proc/PID/task/TID.
struct Counters {
	Ns cpu_time_ns = 0, run_delay_ns = 0;
	std::uint64_t nr_voluntary = 0, nr_involuntary = 0;
};

class Stage;

class Worker
{
      public:
	Worker(Stage &stage, std::uint32_t definition, sim::Key key, Ns start);
	void start();  // the thread, which begins once the stage has its time
	Counters counters() const;
	void print(std::string &json) const;

      private:
	Stage &stage_;
	const sim::TaskDef &definition_;
	const sim::Program *program_;
	const Ns start_;  // after the stage's; NEVER: at once
	sim::Key key_;
	Ns born_ = 0;  // timers count from here
	sim::Policy policy_ = sim::Policy::Other;
	int nice_ = 0;
	Ns slice_ns_ = 0;
	std::uint32_t step_ = 0, nr_forks_ = 0;
	std::uint64_t loops_[sim::LOOP_DEPTH] = {};
	std::vector<std::uint64_t> nth_;  // draws of each step
	std::vector<Ns> timers_;
	Burner burner_;
	pthread_t thread_{};
	std::atomic<int> tid_ = 0;
	std::atomic<bool> ended_ = false;
	std::atomic<std::uint64_t> nr_phases_ = 0;
	Counters before_, at_end_;
	std::vector<Ns> latencies_;  // of timers, from when they were set to to now
	mutable std::mutex latencies_lock_;

	void run();
	bool perform(const sim::Step &step);  // false: the task has ended
	void perform_resource(const sim::Step &step);
	void begin_program(std::uint32_t program);
	Ns draw(const sim::Amount &amount);
	void wait_until(Ns when);   // and note how late it became
	bool sleep_until(Ns when);  // false: it has passed
	void loop(const sim::Step &step);
	void set_attributes(sim::Policy policy, int nice, Ns slice_ns);
	void set_affinity(std::uint32_t cpu_set);
};

}  // namespace schedtuna::player
