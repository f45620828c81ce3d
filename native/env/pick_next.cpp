/* SPDX-License-Identifier: Apache-2.0 */
#include "pick_next.hpp"

#include "action.hpp"

#include <numeric>

namespace schedtuna::env
{

PickNext::PickNext(std::shared_ptr<const PickNextSetup> setup, std::uint64_t seed) : setup_(std::move(setup))
{
	slots_.fill(NONE);
	this->seed(seed);
}

void PickNext::seed(std::uint64_t seed)
{
	key_ = mix(seed);
	nth_ = 0;
}

void PickNext::reset()
{
	reset(setup_->loads.draw(key_, nth_++));
}

void PickNext::reset(Draw draw)
{
	std::uint64_t seed = setup_->loads.seed(draw);
	draw_ = draw;
	baseline_ = &setup_->loads.baseline(draw);
	simulation_ = std::make_unique<Simulation>(setup_->starts[draw.load], Seeds{seed, seed});
	simulation_->set_traced(is_traced_);
	std::iota(home_.begin(), home_.end(), 0);
	for (std::uint32_t i = setup_->nr_slots; i > 1; i--)
		std::swap(home_[i - 1], home_[mix(draw.shuffle + i) % i]);
	draw_sizes();
	before_ = {};
	decided_at_ = since_ = 0;
	terminated_ = truncated_ = false;
	go_on();
}

// To the next decision, or to the end.
void PickNext::go_on()
{
	for (;;) {
		switch (simulation_->run(setup_->lengths.episode_ns)) {
		case Stop::Time:
			truncated_ = true;
			break;
		case Stop::AllExited:
			terminated_ = true;
			break;
		case Stop::Deadlock:
			throw BadInput("the load is stuck: " + simulation_->waiting());
		case Stop::Decision:
			if (simulation_->candidates().size() < 2) {
				if (meter().is_watched())
					simulation_->choose_own();
				else
					simulation_->choose(simulation_->candidates()[0]);
				continue;
			}
			break;
		}
		break;
	}
	since_ = simulation_->now() - decided_at_;
	decided_at_ = simulation_->now();
	nr_preempts_ = 0;
	fill_slots();
}

void PickNext::fill_slots()
{
	std::fill_n(slots_.begin(), setup_->nr_slots, NONE);
	nr_candidates_ = nr_taken_ = 0;
	elsewhere_ = NONE;
	longest_ = 0;
	if (terminated_ || truncated_)
		return;
	const std::vector<TaskId> &found = simulation_->candidates();
	nr_candidates_ = static_cast<std::uint32_t>(found.size());
	TaskId prev = simulation_->deciding_prev();
	if (prev != NONE && std::find(found.begin(), found.end(), prev) == found.end())
		prev = NONE;
	std::uint32_t n = setup_->nr_slots, left = n;
	auto place = [&](TaskId id) {
		std::uint32_t slot = home_[id % n];
		while (slots_[slot] != NONE)
			slot = slot + 1 < n ? slot + 1 : 0;
		slots_[slot] = id;
		taken_[nr_taken_++] = static_cast<std::uint8_t>(slot);
		left--;
	};
	first_ = found[0];
	if (prev != NONE)
		place(prev);
	for (TaskId id : found) {
		if (!left)
			break;
		if (id != prev)
			place(id);
	}
	elsewhere_ = longest_elsewhere(longest_);
}

// The other CPU whose task has computed most since it woke up, unless it is about to choose anyway.
CpuId PickNext::longest_elsewhere(Ns &attained) const
{
	CpuId found = NONE, own = simulation_->deciding_cpu();
	attained = 0;
	for (CpuId cpu = 0; cpu < simulation_->nr_cpus(); cpu++) {
		TaskId id = simulation_->current(cpu);
		if (cpu == own || id == NONE || simulation_->need_resched(cpu))
			continue;
		Ns here = attained_ns(id);
		if (found == NONE || here > attained) {
			found = cpu;
			attained = here;
		}
	}
	return found;
}

bool PickNext::is_allowed(std::uint32_t action) const
{
	std::uint32_t n = setup_->nr_slots;
	if (action < 2 * n)
		return slots_[action < n ? action : action - n] != NONE;
	return action != 2 * n + static_cast<std::uint32_t>(Other::Preempt) || elsewhere_ != NONE;
}

void PickNext::mask(bool *allowed) const
{
	std::uint32_t n = setup_->nr_slots;
	for (std::uint32_t slot = 0; slot < n; slot++)
		allowed[slot] = slots_[slot] != NONE;
	std::copy_n(allowed, n, allowed + n);
	for (std::uint32_t action = 2 * n; action < setup_->nr_actions(); action++)
		allowed[action] = is_allowed(action);
}

Outcome PickNext::step(std::uint32_t action)
{
	known_action(action, setup_->nr_actions());
	if (terminated_ || truncated_)
		throw BadInput("the episode has ended: reset first");
	bool was_masked = !is_allowed(action);
	if (was_masked)
		choose(first_);
	else
		take(action);
	return {reward(), terminated_, truncated_, since_, was_masked};
}

std::pair<Outcome, std::uint32_t> PickNext::watch()
{
	if (terminated_ || truncated_)
		throw BadInput("the episode has ended: reset first");
	if (!meter().is_watched())
		throw BadInput("only a scheduler that decides by itself can be watched");
	std::array<TaskId, MAX_SLOTS> shown = slots_;
	meter().watch_next();
	simulation_->choose_own();
	auto found = std::find(shown.begin(), shown.begin() + setup_->nr_slots, meter().chosen());
	auto slot = static_cast<std::uint32_t>(found - shown.begin());
	bool is_shown = meter().chosen() != NONE && slot < setup_->nr_slots;
	go_on();
	return {{reward(), terminated_, truncated_, since_, false}, is_shown ? slot : NONE};
}

void PickNext::take(std::uint32_t action)
{
	std::uint32_t n = setup_->nr_slots;
	if (action < 2 * n) {
		TaskId next = slots_[action < n ? action : action - n];
		if (action >= n) {
			external().protect(next);
			if (setup_->slice_ns < NEVER / BOOST)
				simulation_->task(next).slice_ns = setup_->slice_ns * BOOST;
		}
		choose(next);
		return;
	}
	switch (static_cast<Other>(action - 2 * n)) {
	case Other::Idle:
		idle(setup_->lengths.idle_ns);
		break;
	case Other::Delay:
		idle(setup_->lengths.delay_ns);
		break;
	case Other::Preempt:
		simulation_->preempt(elsewhere_);
		nr_preempts_++;
		since_ = 0;
		elsewhere_ = longest_elsewhere(longest_);
		break;
	}
}

void PickNext::choose(TaskId next)
{
	simulation_->choose(next, setup_->lengths.decision_ns * (1 + nr_preempts_));
	go_on();
}

// No longer than that, even if no task comes.
void PickNext::idle(Ns length)
{
	simulation_->set_timer(simulation_->deciding_cpu(), simulation_->now() + length);
	choose(NONE);
}

Ns PickNext::attained_ns(TaskId id) const
{
	if (meter().is_watched())
		return meter().row(*simulation_, id).attained_ns;
	return external().attained_ns(*simulation_, id);
}

double PickNext::reward()
{
	Amounts now = meter().amounts(*simulation_);
	double sum = setup_->loads.reward(now, before_, *baseline_);
	before_ = now;
	return sum;
}

// Programs differ in size, and a task is as large as its program: drawn per episode, from 1 MiB to 1 GiB. Nothing in
// the simulated machine depends on it.
void PickNext::draw_sizes()
{
	const Encoder &encode = *setup_->task_features[static_cast<std::size_t>(TaskFeature::rss_kib)];
	rss_.resize(simulation_->workload().tasks.size());
	for (std::size_t i = 0; i < rss_.size(); i++) {
		std::uint64_t drawn = mix(setup_->loads.seed(draw_) ^ mix(i));
		rss_[i] = encode(Ns{1024 + static_cast<Ns>(drawn >> 32 & 1023)} << drawn % 10);
	}
}

void PickNext::observe_task(TaskId id, float *values) const
{
	const CandidateRow row = this->row(id);
	const CpuId cpu = simulation_->deciding_cpu();
	const Encoder *const *features = setup_->task_features.data();
	auto put = [&](TaskFeature feature, Ns value) {
		auto i = static_cast<std::size_t>(feature);
		values[i] = (*features[i])(value);
	};
	put(TaskFeature::is_candidate, 1);
	put(TaskFeature::nice, row.nice);
	put(TaskFeature::waited_ns, row.waited_ns);
	put(TaskFeature::attained_ns, row.attained_ns);
	put(TaskFeature::burst_ns, row.burst_ns);
	put(TaskFeature::cpu_time_ns, row.cpu_time_ns);
	values[static_cast<std::size_t>(TaskFeature::rss_kib)] = rss_[simulation_->definition_of(id)];
	put(TaskFeature::ran_here, row.cpu == cpu);
	put(TaskFeature::shares_llc, simulation_->llc_of(row.cpu) == simulation_->llc_of(cpu));
	put(TaskFeature::is_previous, id == simulation_->deciding_prev());
}

void PickNext::observe(float *values) const
{
	std::fill_n(values, setup_->nr_observed(), 0.f);
	for (std::uint32_t i = 0; i < nr_taken_; i++)
		observe_task(slots_[taken_[i]], values + taken_[i] * TASK_FEATURES.size());
	values += setup_->nr_slots * TASK_FEATURES.size();
	auto put = [&](MachineFeature feature, Ns value) {
		auto i = static_cast<std::size_t>(feature);
		values[i] = (*setup_->machine_features[i])(value);
	};
	put(MachineFeature::nr_waiting, meter().nr_waiting());
	put(MachineFeature::nr_candidates, nr_candidates_);
	put(MachineFeature::busy_percent, 100 * meter().nr_running() / simulation_->nr_cpus());
	put(MachineFeature::nr_cpus, simulation_->nr_cpus());
	put(MachineFeature::was_idle, simulation_->deciding_cpu() != NONE && simulation_->deciding_prev() == NONE);
	put(MachineFeature::longest_elsewhere_ns, longest_);
	put(MachineFeature::since_decision_ns, since_);
}

}  // namespace schedtuna::env
