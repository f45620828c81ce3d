/* SPDX-License-Identifier: Apache-2.0 */
// Runs a mixed load under `fair` and prints how many events it took from when all tasks had begun; what is to be
// counted happens in counted(). test_sim_cost.py runs it under callgrind.
#include "sim_cases.hpp"

extern "C" [[gnu::noinline]] void counted(Simulation &s, Ns until)
{
	s.run(until);
}

int main()
{
	Simulation s({8, 0, 1}, Costs{}, mixed_load(64), make_scheduler("fair"), {});
	s.run(50 * MS);
	std::uint64_t before = s.totals().nr_events;
	counted(s, 250 * MS);
	std::printf("%llu\n", static_cast<unsigned long long>(s.totals().nr_events - before));
}
