/* SPDX-License-Identifier: Apache-2.0 */
// Migrate under the sanitizers, by name: test_sim_engine.py runs each case.
#include "env/migrate.hpp"
#include "sim_cases.hpp"

#include <cmath>

using namespace schedtuna::env;

namespace
{

// Sleepers whose bursts vary, and some tasks that wake each other all at once.
Workload waking_load(std::uint32_t nr_tasks)
{
	Workload w;
	w.resources = {{"lap", ResourceKind::Barrier, 4}};
	for (std::uint32_t i = 0; i < nr_tasks; i++) {
		Step burst{Op::Run, 0, 0, NONE, NONE, {Shape::Exponential, 400'000, 0, 0}};
		Step rest{Op::Sleep, 0, 0, NONE, NONE, {Shape::Exponential, 600'000, 0, 0}};
		add_task(w, "t" + std::to_string(i),
			 i < 4 ? std::vector{burst, on(Op::Barrier, 0), loop(0, -1)}
			       : std::vector{burst, rest, loop(0, -1)});
	}
	return w;
}

std::shared_ptr<MigrateSetup> setup(Ns decision_ns)
{
	std::array<double, TERMS.size()> weights{};
	weights[static_cast<int>(Term::latency)] = 1;
	std::vector<Encoder> features(MIGRATION_FEATURES.size(), Encoder({1, 2, 4, 8, 500, 900}));
	return std::shared_ptr<MigrateSetup>(new MigrateSetup{40 * MS,
							      decision_ns,
							      {{waking_load(9), mixed_load(12)},
							       {1, 2, 3},
							       {4, 2, 1},
							       Costs{},
							       40 * MS,
							       *make_scheduler("fair"),
							       weights},
							      features});
}

template <typename Rule> double play(Migrate &env, Rule rule, std::uint64_t &nr_steps)
{
	double sum = 0;
	for (;;) {
		float seen[MIGRATION_FEATURES.size()];
		env.observe(seen);
		for (float value : seen)
			check("a bin", value >= 0 && value <= 1);
		Outcome outcome = env.step(rule());
		nr_steps++;
		sum += outcome.reward;
		if (outcome.terminated || outcome.truncated)
			return sum;
	}
}

void whoever_lets_all_go_is_the_default()
{
	Migrate env(setup(0), 1);
	std::uint64_t nr_steps = 0;
	for (int episode = 0; episode < 12; episode++) {
		env.reset();
		double sum = play(env, [] { return MIGRATE; }, nr_steps);
		check("its score", std::abs(sum + 100) < 1e-6);
	}
	check("there were decisions", nr_steps > 100);
	raises<BadInput>("after the end", [&] { env.step(STAY); });
	raises<BadInput>("no load", [&] { env.reset({9, 0, 0}); });
}

void the_same_twice()
{
	auto shared = setup(500);
	Migrate a(shared, 7), b(shared, 7);
	std::uint64_t nr_steps = 0;
	for (int episode = 0; episode < 12; episode++) {
		a.reset();
		b.reset();
		Dice first(static_cast<std::uint64_t>(episode)), second = first;
		double one = play(a, [&] { return static_cast<std::uint32_t>(first.below(2)); }, nr_steps);
		double other = play(b, [&] { return static_cast<std::uint32_t>(second.below(2)); }, nr_steps);
		check("the same rewards", one == other);
		check("the same machine", alike(a.simulation(), b.simulation()));
	}
	raises<BadInput>("no action", [&] {
		a.reset();
		a.step(2);
	});
}

const Case CASES[] = {
	{"whoever_lets_all_go_is_the_default", whoever_lets_all_go_is_the_default},
	{"the_same_twice", the_same_twice},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
