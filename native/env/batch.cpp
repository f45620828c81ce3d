/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.hpp"

#include <utility>

namespace schedtuna::env
{

static constexpr std::size_t ENVS_PER_THREAD = 256;  // with fewer, waking threads up takes longer than they save

Pool::Pool(unsigned nr_threads) : failures_(std::max(nr_threads, 1u))
{
	for (unsigned part = 1; part < nr_threads; part++)
		threads_.emplace_back([this, part] { serve(part); });
}

Pool::~Pool()
{
	{
		std::lock_guard guard(lock_);
		is_over_ = true;
	}
	begins_.notify_all();
	for (std::thread &thread : threads_)
		thread.join();
}

void Pool::do_part(unsigned part)
{
	std::size_t parts = failures_.size();
	try {
		(*work_)(n_ *part / parts, n_ * (part + 1) / parts);
	} catch (...) {
		failures_[part] = std::current_exception();
	}
}

void Pool::serve(unsigned part)
{
	std::unique_lock guard(lock_);
	for (std::uint64_t done = 0;;) {
		begins_.wait(guard, [&] { return is_over_ || round_ != done; });
		if (is_over_)
			return;
		done = round_;
		guard.unlock();
		do_part(part);
		guard.lock();
		if (--nr_left_ == 0)
			ends_.notify_one();
	}
}

void Pool::run(std::size_t n, const std::function<void(std::size_t, std::size_t)> &work)
{
	{
		std::lock_guard guard(lock_);
		work_ = &work;
		n_ = n;
		nr_left_ = static_cast<unsigned>(threads_.size());
		round_++;
	}
	begins_.notify_all();
	do_part(0);
	std::unique_lock guard(lock_);
	ends_.wait(guard, [&] { return nr_left_ == 0; });
	for (std::exception_ptr &failure : failures_)
		if (std::exception_ptr first = std::exchange(failure, nullptr)) {
			failures_.assign(failures_.size(), nullptr);
			std::rethrow_exception(first);
		}
}

static unsigned threads_for(std::size_t n, unsigned asked)
{
	unsigned most = asked ? asked : std::max(std::thread::hardware_concurrency(), 1u);
	return asked ? most : static_cast<unsigned>(std::clamp<std::size_t>(n / ENVS_PER_THREAD, 1, most));
}

Batch::Batch(std::shared_ptr<const PickNextSetup> setup, std::uint32_t n, std::uint64_t seed, Autoreset autoreset,
	     unsigned nr_threads)
    : setup_(std::move(setup)), has_ended_(n, 1), autoreset_(autoreset), pool_(threads_for(n, nr_threads))
{
	for (std::uint32_t i = 0; i < n; i++)
		envs_.emplace_back(setup_, seed + i);
}

void Batch::tell(std::size_t i)
{
	envs_[i].observe(buffers_.observations + i * setup_->nr_observed());
	if (buffers_.masks)
		envs_[i].mask(buffers_.masks + i * setup_->nr_actions());
}

void Batch::tell_end(std::size_t i)
{
	if (!buffers_.terms)
		return;
	Amounts amounts = envs_[i].amounts();
	const Amounts &baseline = setup_->loads.baseline(envs_[i].draw());
	for (std::size_t term = 0; term < TERMS.size(); term++)
		buffers_.terms[i * TERMS.size() + term] = static_cast<double>(amounts[term])
							  / static_cast<double>(baseline[term]);
}

void Batch::reset()
{
	pool_.run(envs_.size(), [this](std::size_t from, std::size_t to) {
		for (std::size_t i = from; i < to; i++)
			reset(static_cast<std::uint32_t>(i));
	});
}

void Batch::reset(std::uint32_t i)
{
	envs_[i].reset();
	has_ended_[i] = 0;
	buffers_.nr_masked[i] = 0;
	tell(i);
}

void Batch::reset(std::uint32_t i, Draw draw)
{
	envs_[i].reset(draw);
	has_ended_[i] = 0;
	buffers_.nr_masked[i] = 0;
	tell(i);
}

Outcome Batch::step(std::size_t i, std::int64_t action)
{
	if (has_ended_[i] && autoreset_ != Autoreset::Disabled) {
		if (autoreset_ == Autoreset::NextStep) {
			reset(static_cast<std::uint32_t>(i));
			buffers_.rewards[i] = 0;
			buffers_.terminated[i] = buffers_.truncated[i] = false;
			buffers_.elapsed_ns[i] = 0;
			return {};
		}
		buffers_.nr_masked[i] = 0;
		has_ended_[i] = 0;
	}
	bool is_known = action >= 0 && action < setup_->nr_actions();
	Outcome outcome = envs_[i].step(is_known ? static_cast<std::uint32_t>(action) : NONE);
	take_in(i, outcome);
	return outcome;
}

void Batch::take_in(std::size_t i, const Outcome &outcome)
{
	buffers_.rewards[i] = outcome.reward;
	buffers_.terminated[i] = outcome.terminated;
	buffers_.truncated[i] = outcome.truncated;
	buffers_.elapsed_ns[i] = outcome.elapsed_ns;
	buffers_.nr_masked[i] += outcome.was_masked;
	if (outcome.terminated || outcome.truncated) {
		has_ended_[i] = 1;
		tell_end(i);
		if (autoreset_ == Autoreset::SameStep) {
			envs_[i].observe(buffers_.final_observations + i * setup_->nr_observed());
			envs_[i].reset();
		}
	}
	tell(i);
}

void Batch::step()
{
	pool_.run(envs_.size(), [this](std::size_t from, std::size_t to) {
		for (std::size_t i = from; i < to; i++)
			step(i, buffers_.actions[i]);
	});
}

Outcome Batch::step_one(std::int64_t action)
{
	return step(0, action);
}

std::uint32_t Batch::watch_one()
{
	auto [outcome, action] = envs_[0].watch();
	take_in(0, outcome);
	return action;
}

}  // namespace schedtuna::env
