/* SPDX-License-Identifier: Apache-2.0 */
// Steps of PickNext from C++: env_speed LOAD CPUS ENVS THREADS STEPS REPEATS, with the edges of the features' bins on
// standard input, a line for each. Prints per repeat: wall ns, CPU ns of all threads, events.
#include "env/batch.hpp"
#include "sim/registry.hpp"
#include "sim/rt_app.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <iostream>
#include <sstream>

using namespace schedtuna::env;

static std::int64_t cpu_ns()
{
	timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
}

static std::int64_t events_of(Batch &batch)
{
	std::uint64_t sum = 0;
	for (std::uint32_t i = 0; i < batch.size(); i++)
		sum += batch.at(i).simulation().totals().nr_events;
	return static_cast<std::int64_t>(sum);
}

int main(int, char **argv)
{
	std::ifstream file(argv[1]);
	std::stringstream text;
	text << file.rdbuf();
	std::vector<Workload> loads{parse_rt_app(text.str(), argv[1])};
	std::vector<std::vector<Ns>> edges;
	for (std::string line; std::getline(std::cin, line);) {
		std::istringstream numbers(line);
		edges.emplace_back(std::istream_iterator<Ns>(numbers), std::istream_iterator<Ns>());
	}
	auto nr_cpus = static_cast<std::uint32_t>(std::atoi(argv[2])),
	     n = static_cast<std::uint32_t>(std::atoi(argv[3]));
	auto nr_threads = static_cast<unsigned>(std::atoi(argv[4]));
	int nr_steps = std::atoi(argv[5]), repeats = std::atoi(argv[6]);
	Lengths lengths;
	lengths.episode_ns = 500'000'000'000;  // none ends: an event count is a difference
	std::array<double, TERMS.size()> weights{};
	weights[static_cast<int>(Term::latency)] = 1;
	weights[static_cast<int>(Term::energy)] = .2;
	Setting slice{"slice_us", 4000};
	Topology topology;
	topology.nr_cpus = nr_cpus;
	loads[0].duration_ns = NEVER;
	auto setup = std::make_shared<PickNextSetup>(std::move(loads), std::vector<std::uint64_t>{1}, topology, Costs{},
						     lengths, make_scheduler("external", {&slice, 1}),
						     make_scheduler("rr"), weights, 16, edges);
	Batch batch(setup, n, 1, Autoreset::SameStep, nr_threads);
	std::vector<std::int64_t> actions(n), elapsed(n), nr_masked(n);
	std::vector<float> observations(n * setup->nr_observed()), finals(n * setup->nr_observed());
	std::vector<double> rewards(n), terms(n * TERMS.size());
	auto flags = std::make_unique<bool[]>(2 * n), masks = std::make_unique<bool[]>(n * setup->nr_actions());
	batch.bind({actions.data(), observations.data(), rewards.data(), flags.get(), flags.get() + n, elapsed.data(),
		    finals.data(), masks.get(), terms.data(), nr_masked.data()});
	batch.reset();
	for (int i = 0; i < repeats; i++) {
		std::int64_t events = events_of(batch), cpu = cpu_ns();
		auto began = std::chrono::steady_clock::now();
		for (int step = 0; step < nr_steps; step++) {
			for (std::uint32_t k = 0; k < n; k++) {	 // the first that is allowed, from anywhere on
				std::uint64_t from = mix(static_cast<std::uint64_t>(step) * n + k);
				std::uint32_t slot = from & 15;
				while (!masks[k * setup->nr_actions() + slot])
					slot = (slot + 1) & 15;
				actions[k] = slot;
			}
			batch.step();
		}
		auto wall = std::chrono::steady_clock::now() - began;
		std::printf("%lld %lld %lld\n",
			    static_cast<long long>(std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count()),
			    static_cast<long long>(cpu_ns() - cpu), static_cast<long long>(events_of(batch) - events));
	}
}
