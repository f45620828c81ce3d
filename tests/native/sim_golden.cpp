/* SPDX-License-Identifier: Apache-2.0 */
// Runs fixed loads, shared out among so many threads, and prints for each scheduler what its switches come to:
// test_sim_golden.py compares that with what is committed. sim_golden THREADS SCHEDULER...
#include "sim_cases.hpp"

#include <cinttypes>
#include <cstdlib>
#include <thread>

static constexpr int NR_LOADS = 24;

// Every other one is a random load with all of the machine's costs and noise, the rest are mixed ones without noise.
// "uneven:" before a scheduler's name: some CPUs are slow, those of two caches have a memory node each, and memory gets
// short.
static std::uint64_t hash_of(std::string_view scheduler, std::uint32_t i)
{
	constexpr std::string_view UNEVEN = "uneven:";
	bool is_uneven = scheduler.starts_with(UNEVEN);
	if (is_uneven)
		scheduler.remove_prefix(UNEVEN.size());
	Costs costs;
	costs.irq_per_s = i % 2 * 1000;
	costs.kthread_per_s = i % 2 * 100;
	std::uint32_t cpus = 1 + i % 12;
	if (is_uneven) {
		costs.slow_cpus = cpus / 3;
		costs.slow_capacity = 333;
		costs.nodes = cpus == 8 ? 2 : 1;
		costs.pressure_per_s = 50;
		costs.pressure_ns = 7 * MS;
	}
	Simulation s({cpus, cpus % 4 ? 0u : 4u, 1}, costs, i % 2 ? random_load(i) : mixed_load(4 * i + 3),
		     make_scheduler(scheduler), {i, i});
	s.run(300 * MS);
	Totals totals = s.totals();
	std::uint64_t hash = totals.hash;
	for (std::uint64_t value : {totals.nr_events, totals.nr_wakeups, totals.nr_migrations})
		hash = mix(hash) ^ value;
	for (Ns value : {totals.idle_ns, totals.overhead_ns})
		hash = mix(hash) ^ static_cast<std::uint64_t>(value);
	for (TaskId id = 0; id < s.nr_tasks(); id++)
		hash = mix(hash) ^ static_cast<std::uint64_t>(s.cpu_time_ns(id));
	return hash;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	auto nr_threads = static_cast<std::uint32_t>(std::atoi(argv[1]));
	for (int scheduler = 2; scheduler < argc; scheduler++) {
		std::vector<std::uint64_t> hashes(NR_LOADS);
		std::vector<std::thread> threads;
		for (std::uint32_t thread = 0; thread < nr_threads; thread++)
			threads.emplace_back([&, thread] {
				for (std::uint32_t i = thread; i < NR_LOADS; i += nr_threads)
					hashes[i] = hash_of(argv[scheduler], i);
			});
		for (std::thread &thread : threads)
			thread.join();
		std::uint64_t all = 0;
		for (std::uint64_t hash : hashes)
			all = mix(all) ^ hash;
		std::printf("%s %016" PRIx64 "\n", argv[scheduler], all);
	}
}
