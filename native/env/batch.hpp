/* SPDX-License-Identifier: Apache-2.0 */
// Many environments at once, on threads that are kept.
#pragma once

#include "pick_next.hpp"

#include <condition_variable>
#include <exception>
#include <functional>
#include <thread>

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
	bool *masks = nullptr;
	double *terms = nullptr;	    // of those that ended: each term, of the default scheduler's
	std::int64_t *nr_masked = nullptr;  // in this episode, or in the one that ended
};

class Batch
{
      public:
	// Environment i has the seed + i. 0 threads: as many as pay.
	Batch(std::shared_ptr<const PickNextSetup> setup, std::uint32_t n, std::uint64_t seed, Autoreset autoreset,
	      unsigned nr_threads);

	void bind(const Buffers &buffers)
	{
		buffers_ = buffers;
	}
	void seed(std::uint32_t i, std::uint64_t seed)
	{
		envs_[i].seed(seed);
	}
	void reset();		      // all of them
	void reset(std::uint32_t i);  // one
	void reset(std::uint32_t i, Draw draw);
	void step();
	Outcome step_one(std::int64_t action);	// the first
	std::uint32_t watch_one();		// see PickNext::watch()
	std::size_t size() const
	{
		return envs_.size();
	}
	PickNext &at(std::uint32_t i)
	{
		return envs_[i];
	}
	const PickNextSetup &setup() const
	{
		return *setup_;
	}

      private:
	Outcome step(std::size_t i, std::int64_t action);
	void take_in(std::size_t i, const Outcome &outcome);
	void tell(std::size_t i);
	void tell_end(std::size_t i);

	std::shared_ptr<const PickNextSetup> setup_;
	std::vector<PickNext> envs_;
	std::vector<std::uint8_t> has_ended_;
	Autoreset autoreset_;
	Buffers buffers_;
	Pool pool_;
};

}  // namespace schedtuna::env
