/* SPDX-License-Identifier: Apache-2.0 */
// Many environments at once, on threads that are kept.
#pragma once

#include "action.hpp"
#include "migrate.hpp"
#include "pick_next.hpp"

#include <condition_variable>
#include <exception>
#include <functional>
#include <thread>
#include <utility>

namespace schedtuna::env
{

// Runs a function over parts of a range; the caller takes one of them.
class Pool
{
      public:
	explicit Pool(unsigned nr_threads);
	~Pool();
	Pool(const Pool &) = delete;
	Pool &operator=(const Pool &) = delete;
	// Raises what the function raised first, of the lowest part.
	void run(std::size_t n, const std::function<void(std::size_t from, std::size_t to)> &work);

      private:
	void serve(unsigned part);
	void do_part(unsigned part);

	std::vector<std::thread> threads_;
	std::vector<std::exception_ptr> failures_;
	std::mutex lock_;
	std::condition_variable begins_, ends_;
	const std::function<void(std::size_t, std::size_t)> *work_ = nullptr;
	std::size_t n_ = 0;
	std::uint64_t round_ = 0;
	unsigned nr_left_ = 0;
	bool is_over_ = false;
};

enum class Autoreset : std::uint8_t {
	Disabled,  // a step after the end raises
	NextStep,  // the step after the end resets, whatever the action
	SameStep,  // the step that ends an episode returns the next one's first observation
};

// Where a batch reads and writes; n rows each.
struct Buffers {
	const std::int64_t *actions = nullptr;
	float *observations = nullptr;
	double *rewards = nullptr;
	bool *terminated = nullptr, *truncated = nullptr;
	std::int64_t *elapsed_ns = nullptr;
	float *final_observations = nullptr;  // SameStep: of those that ended
	bool *masks = nullptr;		      // of environments that know some
	double *terms = nullptr;	      // of those that ended: each term, of the default scheduler's
	std::int64_t *nr_masked = nullptr;    // in this episode, or in the one that ended
};

// As many as pay; with an explicit number, that many.
unsigned threads_for(std::size_t n, unsigned asked, std::size_t per_thread);

// Environments of one kind: PickNext, or Migrate, which knows no masks.
template <typename Env> class BatchOf
{
      public:
	using Setup = typename Env::Setup;

	// Environment i has the seed + i. 0 threads: as many as pay.
	BatchOf(std::shared_ptr<const Setup> setup, std::uint32_t n, std::uint64_t seed, Autoreset autoreset,
		unsigned nr_threads)
	    : setup_(std::move(setup)), has_ended_(n, 1), autoreset_(autoreset),
	      pool_(threads_for(n, nr_threads, Env::PER_THREAD))
	{
		for (std::uint32_t i = 0; i < n; i++)
			envs_.emplace_back(setup_, seed + i);
	}

	void bind(const Buffers &buffers)
	{
		buffers_ = buffers;
	}
	void seed(std::uint32_t i, std::uint64_t seed)
	{
		envs_[i].seed(seed);
	}
	void reset()  // all of them
	{
		pool_.run(envs_.size(), [this](std::size_t from, std::size_t to) {
			for (std::size_t i = from; i < to; i++)
				reset(static_cast<std::uint32_t>(i));
		});
	}
	void reset(std::uint32_t i)
	{
		envs_[i].reset();
		begin(i);
	}
	void reset(std::uint32_t i, Draw draw)
	{
		envs_[i].reset(draw);
		begin(i);
	}
	void step()
	{
		pool_.run(envs_.size(), [this](std::size_t from, std::size_t to) {
			for (std::size_t i = from; i < to; i++)
				step(i, buffers_.actions[i]);
		});
	}
	Outcome step_one(std::int64_t action)  // the first
	{
		return step(0, action);
	}
	std::uint32_t watch_one()  // see PickNext::watch()
	{
		auto [outcome, action] = envs_[0].watch();
		take_in(0, outcome);
		return action;
	}
	// Episodes from the next reset on keep what happens, until it is taken.
	void set_traced(bool is_traced)
	{
		for (Env &env : envs_)
			env.set_traced(is_traced);
	}
	std::size_t size() const
	{
		return envs_.size();
	}
	Env &at(std::uint32_t i)
	{
		return envs_[i];
	}
	const Setup &setup() const
	{
		return *setup_;
	}

      private:
	void begin(std::uint32_t i)
	{
		has_ended_[i] = 0;
		buffers_.nr_masked[i] = 0;
		tell(i);
	}

	Outcome step(std::size_t i, std::int64_t action)
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
		Outcome outcome = envs_[i].step(known_action(action, setup_->nr_actions()));
		take_in(i, outcome);
		return outcome;
	}

	void take_in(std::size_t i, const Outcome &outcome)
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

	void tell(std::size_t i)
	{
		envs_[i].observe(buffers_.observations + i * setup_->nr_observed());
		if constexpr (requires(const Env &env, bool *allowed) { env.mask(allowed); })
			if (buffers_.masks)
				envs_[i].mask(buffers_.masks + i * setup_->nr_actions());
	}

	void tell_end(std::size_t i)
	{
		if (!buffers_.terms)
			return;
		Amounts amounts = envs_[i].amounts();
		const Amounts &baseline = setup_->loads.baseline(envs_[i].draw());
		for (std::size_t term = 0; term < TERMS.size(); term++)
			buffers_.terms[i * TERMS.size() + term] = static_cast<double>(amounts[term])
								  / static_cast<double>(baseline[term]);
	}

	std::shared_ptr<const Setup> setup_;
	std::vector<Env> envs_;
	std::vector<std::uint8_t> has_ended_;
	Autoreset autoreset_;
	Buffers buffers_;
	Pool pool_;
};

using Batch = BatchOf<PickNext>;
using MigrateBatch = BatchOf<Migrate>;

}  // namespace schedtuna::env
