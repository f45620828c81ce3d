/* SPDX-License-Identifier: Apache-2.0 */
// Runs a mixed load for so long in simulated time, some times over, and prints a line for each: thread CPU time in ns,
// events, switches. sim_speed.py builds it: sim_speed SCHEDULER CPUS TASKS SIMULATED-US REPEATS TRACED
#include "sim_cases.hpp"

#include <cstdlib>
#include <ctime>

static Ns cpu_time()
{
	timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return 2;
	auto number = [argv](int i) { return static_cast<std::uint32_t>(std::strtoul(argv[i], nullptr, 10)); };
	Workload load = mixed_load(number(3));
	Ns length = static_cast<Ns>(number(4)) * 1000;
	for (std::uint32_t repeat = 0; repeat < number(5); repeat++) {
		Simulation s({number(2), 0, 1}, Costs{}, load, make_scheduler(argv[1]), {});
		s.set_traced(number(6));
		s.run(length / 4);  // until all tasks have begun
		s.take_events();
		Totals before = s.totals();
		Ns begun = cpu_time();
		for (int part = 1; part <= 64; part++) {
			s.run(length / 4 + length / 64 * part);
			s.take_events();
		}
		Ns took = cpu_time() - begun;
		Totals after = s.totals();
		std::printf("%lld %llu %llu\n", static_cast<long long>(took),
			    static_cast<unsigned long long>(after.nr_events - before.nr_events),
			    static_cast<unsigned long long>(after.nr_switches - before.nr_switches));
	}
}
