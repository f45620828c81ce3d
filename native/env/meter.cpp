/* SPDX-License-Identifier: Apache-2.0 */
#include "meter.hpp"

namespace schedtuna::env
{

static constexpr int OWED_SHIFT = 20;

Metered::Metered(const Metered &other)
    : Scheduler(other), inner_(other.inner_->clone()), follows_shares_(other.follows_shares_),
      is_watched_(other.is_watched_), chosen_(other.chosen_), past_(other.past_), now_(other.now_),
      nr_runnable_(other.nr_runnable_), nr_running_(other.nr_running_), nr_stuck_(other.nr_stuck_),
      nr_live_(other.nr_live_), queued_since_(other.queued_since_), waited_ns_(other.waited_ns_),
      wanted_ns_(other.wanted_ns_), ages_(other.ages_), unfair_(other.unfair_), nr_idle_exits_(other.nr_idle_exits_),
      queued_at_(other.queued_at_), shares_(other.shares_), runnable_(other.runnable_), weights_(other.weights_),
      owed_(other.owed_)
{
}

// Add what passed since the last callback, with the numbers of then: each change of them is in a callback, or has one
// behind it at the same time.
inline void Metered::pass(const Machine &m)
{
	Ns passed = m.now() - now_;
	if (passed > 0) {
		auto nr_waiting = static_cast<Ns>(this->nr_waiting());
		waited_ns_ += passed * (nr_waiting + nr_stuck_);
		wanted_ns_ += passed * (static_cast<Ns>(nr_runnable_) + nr_stuck_);
		// The integral of the waits' ages, each of which grows from t - queued_at.
		__int128 ages = static_cast<__int128>(now_ + m.now()) * nr_waiting - 2 * queued_since_;
		ages_ += ages * passed;
		if (follows_shares_)
			pass_shares(m, passed);
		now_ = m.now();
	}
	nr_stuck_ = static_cast<const Simulation &>(m).nr_stuck();
}

void Metered::pass_shares(const Machine &m, Ns passed)
{
	auto n = static_cast<std::uint32_t>(runnable_.size());
	if (n <= m.nr_cpus()) {
		for (TaskId id : runnable_)
			begin_share(m, id);
		return;
	}
	owed_ += static_cast<Ns>((static_cast<__int128>(passed) * m.nr_cpus() << OWED_SHIFT) / weights_);
	Ns distance = 0;
	for (TaskId id : runnable_) {
		const Share &share = shares_[id];
		auto owed = static_cast<Ns>(static_cast<__int128>(owed_ - share.began_at) * m.task(id).weight
					    >> OWED_SHIFT);
		distance += std::abs(owed - (m.cpu_time_ns(id) - share.got_before));
	}
	unfair_ += static_cast<__int128>(distance / n) * passed;
}

void Metered::begin_share(const Machine &m, TaskId id)
{
	shares_[id].began_at = owed_;
	shares_[id].got_before = m.cpu_time_ns(id);
}

// The task can run from now on, and waits for a CPU.
void Metered::begin(Machine &m, TaskId id)
{
	nr_runnable_++;
	queued_at_[id] = m.now();
	queued_since_ += m.now();
	if (!follows_shares_)
		return;
	begin_share(m, id);
	shares_[id].place = static_cast<std::uint32_t>(runnable_.size());
	runnable_.push_back(id);
	weights_ += m.task(id).weight;
}

void Metered::end(Machine &m, TaskId id)
{
	nr_runnable_--;
	if (!follows_shares_)
		return;
	TaskId last = runnable_.back();
	runnable_[shares_[last].place = shares_[id].place] = last;
	runnable_.pop_back();
	weights_ -= m.task(id).weight;
}

Amounts Metered::amounts(const Simulation &s)
{
	pass(s);
	Totals totals = s.totals();
	Ns all = s.now() * s.nr_cpus(), busy = all - totals.idle_ns;
	auto exits = static_cast<Ns>(nr_idle_exits_);
	Amounts amounts;
	amounts[static_cast<int>(Term::throughput)] = busy - totals.overhead_ns;
	amounts[static_cast<int>(Term::latency)] = waited_ns_ + static_cast<Ns>(ages_ / (2 * AGING_NS));
	amounts[static_cast<int>(Term::turnaround)] = wanted_ns_;
	amounts[static_cast<int>(Term::fairness)] = static_cast<Ns>(unfair_ / AGING_NS);
	amounts[static_cast<int>(Term::idle)] = totals.idle_ns;
	amounts[static_cast<int>(Term::energy)] = busy + totals.idle_ns * IDLE_POWER_PERCENT / 100
						  + exits * IDLE_EXIT_ENERGY_NS;
	amounts[static_cast<int>(Term::switching)] = totals.overhead_ns;
	return amounts;
}

void Metered::init(Machine &m)
{
	inner_->init(m);
}

void Metered::init_task(Machine &m, TaskId id)
{
	pass(m);
	nr_live_++;
	queued_at_.resize(m.nr_tasks());
	if (follows_shares_)
		shares_.resize(m.nr_tasks());
	if (is_watched_)
		past_.resize(m.nr_tasks());
	inner_->init_task(m, id);
}

void Metered::exit_task(Machine &m, TaskId id)
{
	pass(m);
	nr_live_--;
	inner_->exit_task(m, id);
}

CpuId Metered::select_cpu(Machine &m, TaskId id, CpuId prev, EnqueueReason why)
{
	pass(m);
	begin(m, id);
	if (is_watched_)
		past_[id].woke_with = m.task(id).cpu_time_ns;
	return inner_->select_cpu(m, id, prev, why);
}

void Metered::enqueue(Machine &m, TaskId id, EnqueueReason why)
{
	pass(m);
	inner_->enqueue(m, id, why);
}

void Metered::dequeue(Machine &m, TaskId id, DequeueReason why)
{
	pass(m);
	if (why != DequeueReason::Migrate) {
		queued_since_ -= queued_at_[id];
		end(m, id);
	}
	if (is_watched_ && why == DequeueReason::Sleep)
		past_[id].burst_ns = m.task(id).cpu_time_ns - past_[id].woke_with;
	inner_->dequeue(m, id, why);
}

bool Metered::wake_in_place(Machine &m, TaskId id)
{
	pass(m);
	if (!inner_->wake_in_place(m, id))
		return false;
	begin(m, id);
	if (is_watched_)
		past_[id].woke_with = m.task(id).cpu_time_ns;
	return true;
}

CandidateRow Metered::row(const Machine &m, TaskId id) const
{
	const Task &t = m.task(id);
	const Past &past = past_[id];
	return {id,
		t.weight,
		t.cpu,
		t.group,
		t.nice,
		t.policy,
		m.now() - queued_at_[id],
		m.cpu_time_ns(id) - past.woke_with,
		past.burst_ns,
		m.cpu_time_ns(id)};
}

TaskId Metered::dispatch(Machine &m, CpuId cpu, TaskId prev)
{
	pass(m);
	return inner_->dispatch(m, cpu, prev);
}

void Metered::candidates(const Machine &m, CpuId cpu, std::vector<TaskId> &found) const
{
	inner_->candidates(m, cpu, found);
}

bool Metered::dispatch_instead(Machine &m, CpuId cpu, TaskId prev, TaskId instead)
{
	return inner_->dispatch_instead(m, cpu, prev, instead);
}

void Metered::running(Machine &m, TaskId id)
{
	pass(m);
	nr_running_++;
	queued_since_ -= queued_at_[id];
	if (chosen_ == NONE)
		chosen_ = id;
	inner_->running(m, id);
}

// One that blocks has left the queue when dequeue() comes.
void Metered::stopping(Machine &m, TaskId id, bool runnable)
{
	pass(m);
	nr_running_--;
	queued_at_[id] = m.now();
	queued_since_ += m.now();
	inner_->stopping(m, id, runnable);
}

void Metered::tick(Machine &m, CpuId cpu, TaskId id)
{
	pass(m);
	inner_->tick(m, cpu, id);
}

void Metered::update_idle(Machine &m, CpuId cpu, bool idle)
{
	pass(m);
	nr_idle_exits_ += !idle;
	inner_->update_idle(m, cpu, idle);
}

void Metered::set_weight(Machine &m, TaskId id)
{
	pass(m);
	inner_->set_weight(m, id);
	weights_ = 0;
	for (TaskId each : runnable_)
		weights_ += m.task(each).weight;
}

void Metered::set_cpumask(Machine &m, TaskId id)
{
	pass(m);
	inner_->set_cpumask(m, id);
}

void Metered::read_cpu_time(Machine &m, TaskId id)
{
	pass(m);
	inner_->read_cpu_time(m, id);
}

void Metered::timer_fired(Machine &m, CpuId cpu)
{
	pass(m);
	inner_->timer_fired(m, cpu);
}

}  // namespace schedtuna::env
