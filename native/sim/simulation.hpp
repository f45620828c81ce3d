/* SPDX-License-Identifier: Apache-2.0 */
// The simulated machine itself: what a simulation is made of, and how it goes on.
#pragma once

#include "scheduler.hpp"
#include "workload.hpp"

#include <memory>
#include <span>

struct sched_event;  // include/sched_event.h: simulated and recorded traces have the same records

namespace schedtuna::sim
{

struct Topology {
	std::uint32_t nr_cpus = 1;
	std::uint32_t cpus_per_llc = 0;	 // 0: one LLC
	std::uint32_t threads_per_core = 1;
};

// Two seeds: what the load draws, and what the machine's own noise draws. Runs of a block share the first.
struct Seeds {
	std::uint64_t workload = 1;
	std::uint64_t noise = 1;
};

struct Totals {
	std::uint64_t nr_events = 0;  // steps of the loop: a phase's or slice's end, a tick, a timer, a wakeup
	std::uint64_t nr_switches = 0, nr_wakeups = 0, nr_migrations = 0, nr_ticks = 0;
	Ns idle_ns = 0;		 // summed over CPUs
	Ns overhead_ns = 0;	 // switches, wakeups, interrupts: what tasks did not get
	std::uint64_t hash = 0;	 // of every switch: (when, CPU, who)
};

// A deadlock, or the end: why run() came back before its time.
enum class Stop : std::uint8_t { Time, AllExited, Deadlock };

class Simulation;  // Simulation(Topology, Costs, Workload, std::unique_ptr<Scheduler>, Seeds); copyable: a fork
		   // Stop run(Ns until); Stop step(); Totals totals(); the events since the last call

}  // namespace schedtuna::sim
