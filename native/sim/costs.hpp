/* SPDX-License-Identifier: Apache-2.0 */
// What the machine itself takes: one row per constant, which the documentation and Python read.
//
// Switches and wakeups made by a task are CPU time of a task, as in the kernel (exec_start is taken at the pick): the
// task that comes pays for the switch, the waker for the wakeup. Interrupts stop the clock that tasks are charged by.
#pragma once

#include "types.hpp"

#include <array>
#include <string_view>

namespace schedtuna::sim
{

enum class Fitted : std::uint8_t { No, Yes };  // No: a default that no recording of this machine has moved

// X(name, default, unit, source, fitted)
#define SCHEDTUNA_SIM_COSTS(X)                                                                                         \
	X(context_switch_ns, 1500, "ns",                                                                               \
	  "pipe ping-pong on one CPU, 5.14 us per two switches and wakeups; the split is a guess", No)                 \
	X(wakeup_ns, 1000, "ns", "the same; in an interrupt it prolongs the interrupt", No)                            \
	X(ipi_ns, 1000, "ns", "a remote CPU is interrupted to choose again; bare metal takes about a fifth", No)       \
	X(tick_ns, 4000000, "ns", "CONFIG_HZ=250; 0: no ticks", No)                                                    \
	X(tick_skew_ns, 0, "ns", "how much later each CPU's ticks are than those of the CPU before it (skew_tick)",    \
	  No)                                                                                                          \
	X(tick_cost_ns, 1000, "ns", "length of the tick's interrupt; a guess", No)                                     \
	X(slice_timer, 0, "flag", "1: slices of DSQs end on time (hrtick); 0: at the next tick, as sched_ext's do",    \
	  No)                                                                                                          \
	X(migration_ns, 10000, "ns", "longer next burst on another CPU: caches are refilled; rrnewton/sched-test", No) \
	X(migration_llc_ns, 25000, "ns", "more of that where the LLC is another one; rrnewton/sched-test", No)         \
	X(idle_exit_ns, 2000, "ns", "from the wakeup of an idle CPU until it chooses; a guest takes 10 times that",    \
	  No)                                                                                                          \
	X(timer_irq_ns, 1000, "ns", "length of the interrupt in which a task's timer fires; a guess", No)              \
	X(irq_per_s, 0, "1/s", "other interrupts of a CPU, exponential gaps; 0: no noise until some is fitted", No)    \
	X(irq_ns, 5000, "ns", "mean length of those, exponential", No)                                                 \
	X(kthread_per_s, 0, "1/s", "a background kernel thread per CPU wakes up so often; 0: none", No)                \
	X(kthread_ns, 15000, "ns", "mean CPU time that it then takes, exponential; seen on an idle guest", No)         \
	X(swap_ns, 750000000, "ns",                                                                                    \
	  "from one scheduler to another `fair` runs for so long; scx_rusty and others to enabled, in an emulated "    \
	  "guest",                                                                                                     \
	  No)                                                                                                          \
	X(nodes, 1, "", "memory nodes of equally many caches; a task's memory lies where it first ran", No)            \
	X(remote_distance, 20, "", "of another node, as firmware tells it (SLIT): 10 is a node's own", No)             \
	X(remote_access_permille, 300, "1/1000",                                                                       \
	  "how much longer bursts take at distance 20 from their memory, in proportion to distance - 10; a guess", No) \
	X(migration_node_ns, 50000, "ns", "more of a longer next burst where the node is another one; a guess", No)    \
	X(slow_cpus, 0, "", "so many CPUs, the last ones, are slow", No)                                               \
	X(slow_capacity, 512, "1/1024", "what those compute in the time in which others compute 1,024; a guess", No)   \
	X(pressure_per_s, 0, "1/s", "how often memory gets short, exponential gaps; 0: it never does", No)             \
	X(pressure_ns, 50000000, "ns", "mean time for which it is, exponential; a guess", No)                          \
	X(pressure_permille, 500, "1/1000", "how much longer all bursts take meanwhile; a guess", No)

struct Costs {
#define X(name, initial, unit, source, fitted) Ns name = initial;
	SCHEDTUNA_SIM_COSTS(X)
#undef X
};

struct CostRow {
	std::string_view name;
	Ns Costs::*field;
	Ns initial;
	std::string_view unit, source;
	Fitted fitted;
};

inline constexpr std::array COST_TABLE{
#define X(name, initial, unit, source, fitted) CostRow{#name, &Costs::name, initial, unit, source, Fitted::fitted},
	SCHEDTUNA_SIM_COSTS(X)
#undef X
};

// Every constant zero but for the tick: the machine of theory.
inline Costs free_of_cost()
{
	Costs costs;
	for (const CostRow &row : COST_TABLE)
		costs.*row.field = 0;
	costs.tick_ns = Costs{}.tick_ns;
	return costs;
}

}  // namespace schedtuna::sim
