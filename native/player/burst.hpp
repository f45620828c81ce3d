/* SPDX-License-Identifier: Apache-2.0 */
// CPU time in given amounts, without asking for it meanwhile: clock_gettime(CLOCK_THREAD_CPUTIME_ID) brings the
// scheduler's account up to date, and so adds preemptions that nobody would see otherwise.
#pragma once

#include "sim/types.hpp"

#include <atomic>

namespace schedtuna::player
{

using sim::Ns;

Ns now_ns();	      // CLOCK_MONOTONIC
Ns thread_time_ns();  // this thread's CPU time

class Burner
{
      public:
	// Measures how fast this CPU runs the loop: the median of 31 tries of about 0.3 ms of CPU time each.
	static Burner calibrated();

	// Compute for about `amount` of CPU time.
	void burn(Ns amount);
	// Compute until a time of CLOCK_MONOTONIC.
	void spin(Ns until);
	// Call it after the thread has slept, when the account is up to date anyway: long bursts that took more or less
	// CPU time than they were meant to correct the speed of the later ones.
	void correct();

	Ns asked_ns() const  // CPU time meant to be used by burn(); any thread may ask
	{
		return asked_ns_.load(std::memory_order_relaxed);
	}
	Burner(const Burner &other) : loops_per_ms_(other.loops_per_ms_), calibrated_(other.calibrated_)
	{
	}

      private:
	explicit Burner(std::uint64_t loops_per_ms) : loops_per_ms_(loops_per_ms), calibrated_(loops_per_ms)
	{
	}
	std::uint64_t loops_per_ms_, calibrated_;
	std::atomic<Ns> asked_ns_ = 0;
	Ns asked_before_ = 0, used_before_ = 0;	 // at the last correction
};

}  // namespace schedtuna::player
