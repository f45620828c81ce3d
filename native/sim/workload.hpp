/* SPDX-License-Identifier: Apache-2.0 */
// What runs in a simulation: programs of steps, the tasks that run them, their groups, and what they wait for.
//
// rt-app's JSON becomes this (rt_app.hpp), as do recorded traces and random families; the simulator reads nothing else.
#pragma once

#include "types.hpp"

namespace schedtuna::sim
{

// How an amount is drawn. Every draw is keyed by (workload seed, the task's path, the step, how often it was reached),
// never by the order of events: two schedulers meet the same arrivals and bursts.
enum class Shape : std::uint8_t {
	Fixed,	      // a
	Uniform,      // a .. b
	Exponential,  // mean a
	Erlang,	      // mean a, b stages
	Lognormal,    // median a, sigma b / 1000
	Pareto,	      // smallest a, tail index b / 1000, at most c
	Hyper,	      // exponential: with probability c / 1000 of mean b, else of mean a
};

struct Amount {
	Shape shape = Shape::Fixed;
	Ns a = 0, b = 0, c = 0;
};

enum class Op : std::uint8_t {
	Run,	     // compute for `amount` of CPU time
	Spin,	     // compute until `amount` of time has passed since the step began, on a CPU or waiting for one
	Sleep,	     // for `amount`; 0 doesn't block
	SleepUntil,  // advance the task's own timer `object` by `amount` (at first from the task's start), sleep until
		     // then; a time that has passed doesn't block, and (flag TIMER_RELATIVE) restarts the timer from
		     // now
	Io,	     // blocked in io_schedule() for `amount`
	Yield,
	Lock,	 // resource `object`, a mutex; those that wait do so in FIFO order
	Unlock,	 // releases it and wakes the first that waits, which has to take it then: another may come between
	Wait,	 // condition variable `object`, releasing the mutex `other` (NONE: none) and taking it again afterwards
	Signal,	 // wakes one that waits for the condition `object`
	Broadcast,    // wakes all of them
	Barrier,      // `object`
	Suspend,      // until resumed
	Resume,	      // those that are suspended on `object`
	Read,	      // a message of pipe `object`; blocks while it is empty
	Write,	      // a message to pipe `object`; blocks while it is full
	Fork,	      // start task definition `object`; the child begins at its first step
	Exec,	      // go on with the first step of program `object`, whose timers count from now
	Exit,	      //
	SetNice,      // to `amount.a`; this and the next three do nothing where it is so already
	SetPolicy,    // to Policy(amount.a)
	SetSlice,     // to `amount.a` ns; 0: the scheduler's own
	SetAffinity,  // to Workload::cpu_sets[object]; NONE: all CPUs
	Loop,  // back to step `object`, until it was passed `amount.a` times (-1: for ever); `depth` names its counter
};
inline constexpr std::uint8_t TIMER_RELATIVE = 1;  // SleepUntil
inline constexpr std::uint8_t READ_CPU_TIME = 2;   // Run: at its end the task asks for its CPU time
inline constexpr std::uint8_t FROM_BEGINNING = 4;  // SleepUntil: `amount` is fixed, and since the simulation began
inline constexpr std::uint8_t PLAIN_WAKEUP = 8;	   // Write: who waits to read is woken as if the writer ran on
inline constexpr std::uint8_t LOOP_DEPTH = 2;	   // loops of phases inside a loop of the task

struct Step {
	Op op = Op::Exit;
	std::uint8_t flags = 0;
	std::uint8_t depth = 0;	 // Loop: 0 is the inner one
	std::uint32_t object = NONE;
	std::uint32_t other = NONE;
	Amount amount{};
};

struct Program {
	std::string name;  // a task's name from here on
	std::vector<Step> steps;
	std::uint32_t nr_timers = 0;  // of SleepUntil; each task has its own
};

struct TaskDef {
	std::string name;
	std::uint32_t program = 0;
	std::int8_t nice = 0;
	Policy policy = Policy::Other;
	GroupId group = ROOT_GROUP;
	std::uint32_t cpu_set = NONE;  // index into Workload::cpu_sets; NONE: all CPUs
	Ns slice_ns = 0;	       // 0: the scheduler's own
	Ns start_ns = 0;	       // when it is forked; NEVER: only by a Fork step
	bool is_kthread = false;
	CpuId first_cpu = NONE;	 // where it is forked, unless by a Fork step; NONE: on the first that it may run on
};

struct GroupDef {
	std::string name;
	GroupId parent = ROOT_GROUP;
	std::uint32_t shares = NICE_0_WEIGHT;  // of what is above it, beside tasks of that weight
};

// sched_weight_from_cgroup(): cpu.weight is 1 .. 10,000
constexpr std::uint32_t shares_of(std::uint32_t cpu_weight)
{
	return (cpu_weight * NICE_0_WEIGHT + 50) / 100;
}

enum class ResourceKind : std::uint8_t { Mutex, Condition, Barrier, Suspended, Pipe };

struct Resource {
	std::string name;
	ResourceKind kind = ResourceKind::Mutex;
	std::uint32_t size = 0;	 // Barrier: how many tasks it waits for; Pipe: how many messages it holds
};

// Something that the workload doesn't say takes a CPU away for a time; it can't be preempted.
struct Interruption {
	Ns start_ns = 0, length_ns = 0;
	CpuId cpu = 0;
};

struct Workload {
	std::vector<Program> programs;
	std::vector<TaskDef> tasks;
	std::vector<GroupDef> groups{{"", NONE, NICE_0_WEIGHT}};  // the root first; a parent stands before its children
	std::vector<Resource> resources;
	std::vector<std::vector<CpuId>> cpu_sets;
	std::vector<Interruption> interruptions;  // in order of CPU, then of time
	Ns duration_ns = NEVER;			  // NEVER: until the last task exits
};

}  // namespace schedtuna::sim
