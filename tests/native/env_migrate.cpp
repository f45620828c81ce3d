/* SPDX-License-Identifier: Apache-2.0 */
// Migrate under the sanitizers, by name: test_sim_engine.py runs each case.
#include "env/batch.hpp"
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

// What a batch writes of each, in either mode, is what it gives alone.
void a_batch_is_its_members(Autoreset autoreset, unsigned nr_threads)
{
	constexpr std::uint32_t N = 5;
	constexpr std::size_t WIDTH = MIGRATION_FEATURES.size();
	auto shared = setup(500);
	MigrateBatch batch(shared, N, 3, autoreset, nr_threads);
	std::vector<std::int64_t> actions(N), elapsed_ns(N), nr_masked(N);
	std::vector<float> seen(N * WIDTH), final(N * WIDTH);
	std::vector<double> rewards(N), terms(N * TERMS.size());
	std::array<bool, N> terminated{}, truncated{};
	Buffers buffers;
	buffers.actions = actions.data();
	buffers.observations = seen.data();
	buffers.final_observations = final.data();
	buffers.rewards = rewards.data();
	buffers.terms = terms.data();
	buffers.elapsed_ns = elapsed_ns.data();
	buffers.nr_masked = nr_masked.data();
	buffers.terminated = terminated.data();
	buffers.truncated = truncated.data();
	batch.bind(buffers);
	batch.reset();
	std::vector<Migrate> alone;
	std::vector<Dice> dice;
	std::array<bool, N> has_ended{};
	for (std::uint32_t i = 0; i < N; i++) {
		alone.emplace_back(shared, 3 + i);
		alone[i].reset();
		dice.emplace_back(i);
	}
	auto shows = [&](std::uint32_t i, const std::vector<float> &all) {
		float own[WIDTH];
		alone[i].observe(own);
		return std::equal(own, own + WIDTH, all.begin() + static_cast<std::ptrdiff_t>(i * WIDTH));
	};
	int nr_ended = 0;
	for (int step = 0; step < 200; step++) {
		for (std::uint32_t i = 0; i < N; i++)
			actions[i] = static_cast<std::int64_t>(dice[i].below(2));
		batch.step();
		for (std::uint32_t i = 0; i < N; i++) {
			if (has_ended[i] && autoreset == Autoreset::NextStep) {
				alone[i].reset();
				has_ended[i] = false;
				check("the next episode", shows(i, seen) && rewards[i] == 0 && !truncated[i]);
				continue;
			}
			Outcome outcome = alone[i].step(static_cast<std::uint32_t>(actions[i]));
			has_ended[i] = outcome.terminated || outcome.truncated;
			check("its reward", rewards[i] == outcome.reward && elapsed_ns[i] == outcome.elapsed_ns);
			check("its end", terminated[i] == outcome.terminated && truncated[i] == outcome.truncated);
			if (has_ended[i] && autoreset == Autoreset::SameStep) {
				check("its last observation", shows(i, final));
				alone[i].reset();
			}
			check("its observation", shows(i, seen));
			nr_ended += has_ended[i];
		}
	}
	check("episodes ended", nr_ended > 5);
}

void a_batch_of_next_step()
{
	a_batch_is_its_members(Autoreset::NextStep, 2);
}

void a_batch_of_same_step()
{
	a_batch_is_its_members(Autoreset::SameStep, 1);
}

const Case CASES[] = {
	{"a_batch_of_next_step", a_batch_of_next_step},
	{"a_batch_of_same_step", a_batch_of_same_step},
	{"whoever_lets_all_go_is_the_default", whoever_lets_all_go_is_the_default},
	{"the_same_twice", the_same_twice},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
