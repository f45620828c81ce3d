/* SPDX-License-Identifier: Apache-2.0 */
#include "burst.hpp"

#include <algorithm>
#include <array>
#include <ctime>

namespace schedtuna::player
{
namespace
{

constexpr Ns NS_PER_MS = 1'000'000;
constexpr Ns SPIN_CHUNK_NS = 2'000;

Ns read_clock(clockid_t clock)
{
	timespec time;
	clock_gettime(clock, &time);
	return time.tv_sec * Ns{1'000'000'000} + time.tv_nsec;
}

// A chain of dependent operations: nothing but registers, and no two of them at once.
void run_loops(std::uint64_t nr_loops)
{
	std::uint64_t x = nr_loops | 1;
	for (std::uint64_t i = 0; i < nr_loops; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		asm volatile("" : "+r"(x));
	}
}

}  // namespace

Ns now_ns()
{
	return read_clock(CLOCK_MONOTONIC);
}

Ns thread_time_ns()
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

Burner Burner::calibrated()
{
	constexpr std::uint64_t LOOPS = 200'000;
	run_loops(100 * LOOPS);	 // a CPU that idled becomes fast
	std::array<Ns, 31> times;
	for (Ns &time : times) {
		Ns before = thread_time_ns();
		run_loops(LOOPS);
		time = thread_time_ns() - before;
	}
	std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
	return Burner(LOOPS * NS_PER_MS / static_cast<std::uint64_t>(std::max<Ns>(times[times.size() / 2], 1)));
}

void Burner::burn(Ns amount)
{
	Ns asked = asked_ns();
	while (amount > 0) {
		Ns chunk = std::min(amount, NS_PER_MS);
		run_loops(static_cast<std::uint64_t>(chunk) * loops_per_ms_ / NS_PER_MS);
		amount -= chunk;
		asked += chunk;
		asked_ns_.store(asked, std::memory_order_relaxed);
	}
}

void Burner::spin(Ns until)
{
	while (now_ns() < until)
		run_loops(SPIN_CHUNK_NS * loops_per_ms_ / NS_PER_MS);
}

void Burner::correct()
{
	Ns asked = asked_ns(), used = thread_time_ns();
	Ns meant = asked - asked_before_, took = used - used_before_;
	asked_before_ = asked;
	used_before_ = used;
	// Shorter ones would count system calls and switches as the loop's time; longer ratios are no change of speed.
	if (meant < NS_PER_MS || took < meant / 2 || took > meant * 2)
		return;
	auto exact = static_cast<std::uint64_t>(static_cast<unsigned __int128>(loops_per_ms_)
						* static_cast<std::uint64_t>(meant) / static_cast<std::uint64_t>(took));
	loops_per_ms_ = std::clamp((loops_per_ms_ * 7 + exact) / 8, calibrated_ / 2, calibrated_ * 2);
}

}  // namespace schedtuna::player
