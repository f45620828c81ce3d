/* SPDX-License-Identifier: Apache-2.0 */
// What there is at the beginning of a simulation.
#include "simulation.hpp"

#include "check.hpp"

namespace schedtuna::sim
{

Simulation::Simulation(Topology topology, const Costs &costs, Workload workload, std::unique_ptr<Scheduler> scheduler,
		       Seeds seeds)
    : Machine(topology, costs), scheduler_(std::move(scheduler))
{
	set_seeds(seeds);
	require_fit(*scheduler_);
	check_workload(workload, nr_cpus());
	auto nr_tasks = static_cast<std::uint32_t>(workload.tasks.size());
	if (costs.kthread_per_s)
		add_background(workload);
	workload_ = std::make_shared<const Workload>(std::move(workload));
	resources_.resize(workload_->resources.size());
	add_cpu_sets();
	add_groups();
	lay_out_programs();
	events_.grow(task_slot(static_cast<TaskId>(workload_->tasks.size())));
	nr_interrupts_.resize(nr_cpus());
	noise_at_.assign(nr_cpus(), NEVER);
	next_interruption_.assign(nr_cpus(), workload_->interruptions.size());
	for (std::size_t i = workload_->interruptions.size(); i-- > 0;)
		next_interruption_[workload_->interruptions[i].cpu] = i;
	scheduler_->init(*this);
	decides_outside_ = scheduler_->decides_outside();
	if (decides_outside_)
		stop_at_ = 0;
	for (std::uint32_t i = 0; i < workload_->tasks.size(); i++) {
		if (workload_->tasks[i].start_ns == NEVER)
			continue;
		bool is_background = i >= nr_tasks;
		create(i, 0, NONE);
		threads_.back().is_background = is_background;
		threads_.back().key = key_of(threads_.back());
		nr_live_ += !is_background;
		nr_background_ += is_background;
		events_.set(task_slot(this->nr_tasks() - 1), workload_->tasks[i].start_ns);
	}
	start_noise();
}

Simulation::Simulation(const Simulation &unstarted, Seeds seeds) : Simulation(unstarted)
{
	set_seeds(seeds);
	for (Thread &thread : threads_)
		thread.key = key_of(thread);
	start_noise();
}

void Simulation::redraw(std::uint64_t seed)
{
	std::uint64_t other = mix(~seed);
	set_seeds({mix(seeds_.workload ^ other), mix(seeds_.noise ^ other)});
	for (Thread &thread : threads_)
		thread.key = mix(thread.key ^ other);
}

void Simulation::set_seeds(Seeds seeds)
{
	seeds_ = seeds;
	load_seed_ = seeds.workload;
}

Key Simulation::key_of(const Thread &thread) const
{
	return root_key(thread.is_background ? ~mix(seeds_.noise) : seeds_.workload, thread.definition);
}

void Simulation::add_cpu_sets()
{
	for (const std::vector<CpuId> &cpus : workload_->cpu_sets) {
		CpuSet &set = cpu_sets_.emplace_back(nr_cpus());
		for (CpuId cpu : cpus)
			set.set(cpu);
	}
}

void Simulation::add_groups()
{
	for (const GroupDef &group : workload_->groups)
		groups_.push_back({group.shares, group.parent});
}

// A kernel thread per CPU that has something to do now and then.
void Simulation::add_background(Workload &workload) const
{
	auto program = static_cast<std::uint32_t>(workload.programs.size());
	Amount gap{Shape::Exponential, 1'000'000'000 / costs_.kthread_per_s, 0, 0};
	Amount burst{Shape::Exponential, costs_.kthread_ns, 0, 0};
	workload.programs.push_back({"kworker",
				     {{Op::Sleep, 0, 0, NONE, NONE, gap},
				      {Op::Run, 0, 0, NONE, NONE, burst},
				      {Op::Loop, 0, 0, 0, NONE, {Shape::Fixed, -1, 0, 0}}},
				     0});
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++) {
		TaskDef &task = workload.tasks.emplace_back();
		task.name = "kworker/" + std::to_string(cpu);
		task.program = program;
		task.is_kthread = true;
		task.cpu_set = static_cast<std::uint32_t>(workload.cpu_sets.size());
		workload.cpu_sets.push_back({cpu});
	}
}

// A task's memory for its program: its timers, then how often each step that draws was reached.
void Simulation::lay_out_programs()
{
	auto programs = std::make_shared<Programs>();
	bool has_exec = false;
	for (const Program &program : workload_->programs) {
		programs->first.push_back(static_cast<std::uint32_t>(programs->steps.size()));
		std::uint32_t memory = program.nr_timers;
		for (const Step &step : program.steps) {
			has_exec |= step.op == Op::Exec;
			programs->steps.push_back(step);
			programs->counts.push_back(step.amount.shape == Shape::Fixed ? NONE : memory++);
		}
		programs->steps.push_back({});
		programs->counts.push_back(NONE);
		programs->memory.push_back(memory);
	}
	if (has_exec)  // a task may come to run any of them
		std::fill(programs->memory.begin(), programs->memory.end(),
			  *std::max_element(programs->memory.begin(), programs->memory.end()));
	programs_ = std::move(programs);
}

void Simulation::start_noise()
{
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++) {
		nr_interrupts_[cpu] = 0;
		if (costs_.irq_per_s)
			next_noise(cpu);
		await_interrupt(cpu);
	}
	is_pressed_ = false;
	nr_pressures_ = 0;
	if (costs_.pressure_per_s)
		await_pressure();
}

// When memory gets short, or no longer is.
void Simulation::await_pressure()
{
	Key key = root_key(mix(seeds_.noise) + 2, 0);
	Ns mean = is_pressed_ ? costs_.pressure_ns : 1'000'000'000 / costs_.pressure_per_s;
	Ns length = draw({Shape::Exponential, mean, 0, 0}, key, is_pressed_, nr_pressures_);
	events_.set(pressure_slot(), now_ + std::max<Ns>(length, 1));
}

void Simulation::change_pressure()
{
	nr_pressures_ += is_pressed_;
	is_pressed_ = !is_pressed_;
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++) {
		if (cpus_[cpu].current == NONE)
			continue;
		charge(cpu);
		set_rate(cpu);
		touch(cpu);
	}
	await_pressure();
}

// An interrupt of that CPU, but for the first time, and when the next one comes.
void Simulation::next_noise(CpuId cpu)
{
	Key key = root_key(mix(seeds_.noise) + 1, cpu);
	std::uint64_t nth = nr_interrupts_[cpu]++;
	if (nth)
		interrupt(cpu, draw({Shape::Exponential, costs_.irq_ns, 0, 0}, key, 0, nth));
	Ns gap = draw({Shape::Exponential, 1'000'000'000 / costs_.irq_per_s, 0, 0}, key, 1, nth);
	noise_at_[cpu] = now_ + std::max<Ns>(gap, 1);
}

// The workload's next interruption of that CPU; nullptr: there is none.
const Interruption *Simulation::next_interruption(CpuId cpu) const
{
	const std::vector<Interruption> &all = workload_->interruptions;
	std::size_t next = next_interruption_[cpu];
	return next < all.size() && all[next].cpu == cpu ? &all[next] : nullptr;
}

void Simulation::await_interrupt(CpuId cpu)
{
	const Interruption *next = next_interruption(cpu);
	events_.set(interrupt_slot(cpu), std::min(noise_at_[cpu], next ? next->start_ns : NEVER));
}

// An interrupt of that CPU is due: the machine's own, the workload's, or both.
void Simulation::interrupt_again(CpuId cpu)
{
	if (noise_at_[cpu] == now_)
		next_noise(cpu);
	for (const Interruption *next; (next = next_interruption(cpu)) && next->start_ns == now_;
	     next_interruption_[cpu]++)
		interrupt(cpu, next->length_ns);
	await_interrupt(cpu);
}

}  // namespace schedtuna::sim
