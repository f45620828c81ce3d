/* SPDX-License-Identifier: Apache-2.0 */
// What tasks do, step by step. Steps other than Run take no time of their own.
#include "simulation.hpp"

namespace schedtuna::sim
{

// sched_prio_to_weight of kernel/sched/core.c, from nice -20 on.
static constexpr std::uint32_t NICE_TO_WEIGHT[40] = {
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
	3906,  3121,  2501,  1991,  1586,  1277,  1024,	 820,	655,   526,   423,  335,  272,	215,
	172,   137,   110,   87,    70,	   56,	  45,	 36,	29,    23,    18,   15,
};
static constexpr std::uint32_t WEIGHT_IDLEPRIO = 3;

std::uint32_t weight_of(std::int8_t nice, Policy policy)
{
	return policy == Policy::Idle ? WEIGHT_IDLEPRIO : NICE_TO_WEIGHT[nice + 20];
}

void Simulation::create(std::uint32_t definition, Key key, TaskId parent)
{
	if (nr_tasks() - nr_background_ >= MAX_TASKS)
		throw BadInput("more than 1,000,000 tasks were forked");
	const TaskDef &def = workload_->tasks[definition];
	Task &t = tasks_.emplace_back();
	t.nice = def.nice;
	t.policy = def.policy;
	t.weight = weight_of(def.nice, def.policy);
	t.is_kthread = def.is_kthread;
	t.group = static_cast<std::uint16_t>(def.group);
	t.custom_slice_ns = def.slice_ns;
	t.cpu_set = def.cpu_set == NONE ? 0 : def.cpu_set + 1;
	const CpuSet &allowed = cpu_sets_[t.cpu_set];
	t.cpu = allowed.has(def.first_cpu) ? def.first_cpu : allowed.first_of_both(cpu_sets_[0]);
	if (parent != NONE && allowed.has(tasks_[parent].cpu))
		t.cpu = tasks_[parent].cpu;
	Thread &thread = threads_.emplace_back();
	thread.key = key;
	thread.definition = definition;
	thread.program = def.program;
	thread.first = programs_->first[def.program];
	thread.parent = parent;
	thread.timer_cpu = t.cpu;
	thread.memory = static_cast<std::uint32_t>(step_memory_.size());
	step_memory_.resize(step_memory_.size() + programs_->memory[def.program]);
	births_.push_back(0);
	events_.grow(task_slot(nr_tasks()));
}

std::string Simulation::name_of(TaskId id) const
{
	const Thread &thread = threads_[id];
	const TaskDef &def = workload_->tasks[thread.definition];
	return thread.program == def.program ? def.name : workload_->programs[thread.program].name;
}

std::string Simulation::where(TaskId id) const
{
	return name_of(id) + " (step " + std::to_string(threads_[id].step) + " of program "
	       + workload_->programs[threads_[id].program].name + ")";
}

void Simulation::check_endless(TaskId id) const
{
	if (steps_now_ <= 1'000'000 + 64ull * nr_tasks())
		return;
	throw BadInput((id == NONE ? std::string("an idle CPU") : where(id))
		       + " goes on for ever without taking time: let it run or sleep in its loop");
}

Ns Simulation::draw_step(TaskId id, const Step &step)
{
	if (step.amount.shape == Shape::Fixed)
		return step.amount.a;
	const Thread &thread = threads_[id];
	Ns &nth = step_memory_[thread.memory + programs_->counts[step_index(id)]];
	return draw(step.amount, thread.key, thread.step, static_cast<std::uint64_t>(nth++));
}

// Go through loops to the next step; if that is a burst, it is known from now on how long it is.
void Simulation::arrive(TaskId id)
{
	Thread &thread = threads_[id];
	const Step *first = programs_->steps.data() + thread.first;
	for (;; thread.step++) {
		const Step &step = first[thread.step];
		if (step.op == Op::Run) {
			thread.burst_left_ns = draw_step(id, step);
			if (thread.burst_left_ns == 0)
				continue;
			thread.burst_left_ns += std::min(thread.refill_ns, NEVER - thread.burst_left_ns);
			thread.refill_ns = 0;
			return;
		}
		if (step.op != Op::Loop)
			return;
		count_step(id);
		std::uint32_t &passed = thread.loops[step.depth];
		if (step.amount.a < 0 || static_cast<Ns>(++passed) < step.amount.a) {
			thread.step = step.object - 1;
			continue;
		}
		passed = 0;
	}
}

// The step at which the task that runs there has come, which is no burst that lasts.
void Simulation::perform(CpuId cpu)
{
	TaskId id = cpus_[cpu].current;
	count_step(id);
	const Step &step = step_of(id);
	switch (step.op) {
	case Op::Run:
		if (step.flags & READ_CPU_TIME)
			scheduler_->read_cpu_time(*this, id);
		advance(id);
		break;
	case Op::Spin:
		spin(id, step);
		break;
	case Op::Sleep:
		sleep(cpu, id, draw_step(id, step), PREV_SLEEPING);
		break;
	case Op::Io:
		sleep(cpu, id, draw_step(id, step), PREV_IO);
		break;
	case Op::SleepUntil:
		sleep_until(cpu, id, step);
		break;
	case Op::Yield:
		advance(id);
		cpus_[cpu].yields = true;
		resched(cpu);
		break;
	case Op::Fork:
		fork(cpu, id, step);
		break;
	case Op::Exec:
		exec(id, step);
		break;
	case Op::Exit:
		exit(cpu, id);
		break;
	case Op::SetNice:
	case Op::SetPolicy:
	case Op::SetSlice:
		advance(id);
		apply_attribute(id, step.op, step.amount.a);
		break;
	case Op::SetAffinity:
		advance(id);
		set_affinity(cpu, id, step.object + 1);
		break;
	default:
		perform_resource(cpu, id, step);
	}
}

void Simulation::sleep(CpuId cpu, TaskId id, Ns length, std::uint8_t leaves_as)
{
	advance(id);
	if (length <= 0)
		return;
	threads_[id].timer_cpu = cpu;
	events_.set(task_slot(id), length < NEVER - now_ ? now_ + length : NEVER - 1);
	block(cpu, leaves_as);
}

void Simulation::sleep_until(CpuId cpu, TaskId id, const Step &step)
{
	if (step.flags & FROM_BEGINNING) {
		sleep(cpu, id, step.amount.a - now_, PREV_SLEEPING);
		return;
	}
	Thread &thread = threads_[id];
	Ns period = draw_step(id, step);
	// How long after the task's start the timer is.
	Ns &timer = step_memory_[thread.memory + step.object];
	timer = period < NEVER - 1 - thread.born_at - timer ? timer + period : NEVER - 1 - thread.born_at;
	Ns length = thread.born_at + timer - now_;
	if (length <= 0 && step.flags & TIMER_RELATIVE)
		timer = now_ - thread.born_at;
	sleep(cpu, id, length, PREV_SLEEPING);
}

// Compute until a time has come: on a CPU, or waiting for one.
void Simulation::spin(TaskId id, const Step &step)
{
	Thread &thread = threads_[id];
	if (thread.spin_until == 0) {
		thread.burst_left_ns = draw_step(id, step);
		thread.spin_until = now_ + std::min(thread.burst_left_ns, NEVER - 1 - now_);
		thread.burst_left_ns = NEVER / 2;
		return;
	}
	thread.spin_until = 0;
	thread.burst_left_ns = 0;
	advance(id);
}

void Simulation::fork(CpuId cpu, TaskId id, const Step &step)
{
	Key key = child_key(threads_[id].key, step.object, threads_[id].nr_forks++);
	advance(id);
	TaskId child = nr_tasks();
	create(step.object, key, id);
	nr_live_++;
	threads_[child].born_at = births_[child] = now_;
	record_attributes(child, ATTRIBUTE_FORK);
	if (sched_event *e = record(EVENT_FORK, child, id))
		e->aux = e->tid;
	scheduler_->init_task(*this, child);
	arrive(child);
	this_cpu_ = cpu;
	wake(child, EnqueueReason::Fork);
}

void Simulation::exec(TaskId id, const Step &step)
{
	Thread &thread = threads_[id];
	thread.key = exec_key(thread.key);
	thread.program = step.object;
	thread.first = programs_->first[step.object];
	thread.born_at = now_;
	thread.step = 0;
	std::fill(std::begin(thread.loops), std::end(thread.loops), 0);
	auto first = step_memory_.begin() + thread.memory;
	std::fill(first, first + programs_->memory[thread.program], 0);
	if (sched_event *e = record(EVENT_EXEC, id, id))
		e->aux = e->tid;
	arrive(id);
}

void Simulation::exit(CpuId cpu, TaskId id)
{
	nr_live_ -= !threads_[id].is_background;
	if (sched_event *e = record(EVENT_EXIT, id, NONE)) {
		e->aux = e->tid;
		ended(id).at = now_;
	}
	scheduler_->stopping(*this, id, false);
	tasks_[id].state = TaskState::Dead;
	scheduler_->dequeue(*this, id, DequeueReason::Exit);
	cpus_[cpu].leaves_as = PREV_DEAD;
	if (schedule(cpu))
		scheduler_->exit_task(*this, id);
	else
		decision_.exits = true;
}

void Simulation::apply_attribute(TaskId id, Op op, Ns value)
{
	Task &t = tasks_[id];
	Task before = t;
	if (op == Op::SetNice)
		t.nice = static_cast<std::int8_t>(value);
	else if (op == Op::SetPolicy)
		t.policy = static_cast<Policy>(value);
	else
		t.custom_slice_ns = value;
	t.weight = weight_of(t.nice, t.policy);
	bool is_same = t.nice == before.nice && t.policy == before.policy
		       && t.custom_slice_ns == before.custom_slice_ns;
	if (is_same || t.state == TaskState::Unborn)
		return;
	record_attributes(id, ATTRIBUTE_CHANGED);
	scheduler_->set_weight(*this, id);
}

// A task that may no longer run where it runs is moved by the stopper, after it was switched out.
void Simulation::set_affinity(CpuId cpu, TaskId id, std::uint32_t cpu_set)
{
	Task &t = tasks_[id];
	if (t.cpu_set == cpu_set)
		return;
	t.cpu_set = cpu_set;
	record_attributes(id, ATTRIBUTE_CHANGED);
	scheduler_->set_cpumask(*this, id);
	if (cpus(id).has(cpu))
		return;
	scheduler_->stopping(*this, id, true);
	t.state = TaskState::Queued;
	scheduler_->dequeue(*this, id, DequeueReason::Migrate);
	cpus_[cpu].leaves_as = PREV_RUNNABLE;
	if (schedule(cpu))
		move_away(cpu, id);
	else
		decision_.moves = true;
}

// To an idle CPU, else to one after the other: cpumask_any_and_distribute().
void Simulation::move_away(CpuId cpu, TaskId id)
{
	CpuId to = pick_idle_cpu(cpus(id), cpu);
	if (to == NONE)
		to = cpus(id).first_of_both(cpu_sets_[0], nr_distributed_++ % nr_cpus());
	if (to == NONE)
		to = cpus(id).first_of_both(cpu_sets_[0]);
	moved(id, cpu, to);
	tasks_[id].cpu = to;
	scheduler_->enqueue(*this, id, EnqueueReason::Migrate);
	if (cpus_[to].current == NONE)
		resched(to);
}

}  // namespace schedtuna::sim
