/* SPDX-License-Identifier: Apache-2.0 */
// Cases of native/sim/random.hpp, by name: test_sim_engine.py runs each. The C library's functions and the shapes'
// exact distributions are the oracles.
#include "sim_cases.hpp"

#include <algorithm>
#include <cmath>

namespace
{

constexpr double ONE = static_cast<double>(1ll << fixed::BITS);

void near(const char *what, double got, double wanted, double relative)
{
	if (std::fabs(got - wanted) <= relative * std::fabs(wanted))
		return;
	failures++;
	std::printf("%s: %.17g, not %.17g\n", what, got, wanted);
}

void logarithms()
{
	double worst = 0;
	auto compare = [&worst](std::uint64_t u) {
		double got = static_cast<double>(fixed::minus_log(u)) / ONE;
		double wanted = static_cast<double>(-(std::log(static_cast<long double>(u)) - 64 * std::log(2.0l)));
		worst = std::max(worst, std::fabs(got - wanted));
	};
	for (std::uint64_t i = 0; i < 1'000'000; i++)
		compare(mix(i) >> i % 64 | 1);
	for (int bit = 0; bit < 64; bit++)
		for (std::uint64_t near : {-1ull, 0ull, 1ull})
			compare(std::max<std::uint64_t>((1ull << bit) + near, 1));
	check("the logarithm is right to 2^-43", worst < std::ldexp(1, -43));
}

void exponentials()
{
	for (int i = -4000; i <= 2000; i++) {
		double x = i / 100.0 + 0.001;
		std::uint64_t got = fixed::scaled_exp(1'000'000'000, static_cast<std::int64_t>(x * ONE));
		double wanted = 1e9 * std::exp(x);
		if (wanted > 1e15 && wanted < 9e18)
			near("a great exponential", static_cast<double>(got), wanted, 1e-12);
		else if (wanted < 9e18)
			check("a small exponential",
			      std::fabs(static_cast<double>(got) - wanted) <= 1 + wanted * 1e-12);
	}
	equal("e^0", fixed::scaled_exp(12345, 0), 12345);
	equal("nothing", fixed::scaled_exp(0, 10ll << fixed::BITS), 0);
	equal("at most for ever", fixed::scaled_exp(1'000'000, 60ll << fixed::BITS), NEVER);
	equal("at least nothing", fixed::scaled_exp(1'000'000, -300ll << fixed::BITS), 0);
}

// The greatest distance between the draws' distribution and the exact one (Kolmogorov and Smirnov).
template <typename Cdf> void distributed(const char *what, const Amount &amount, Cdf cdf)
{
	constexpr int N = 40'000;
	std::vector<Ns> draws;
	for (int i = 0; i < N; i++)
		draws.push_back(draw(amount, 17, 3, static_cast<std::uint64_t>(i)));
	std::sort(draws.begin(), draws.end());
	double distance = 0;
	for (int i = 0; i < N; i++) {
		double exact = cdf(static_cast<double>(draws[static_cast<std::size_t>(i)]) + 0.5);
		distance = std::max(
			{distance, std::fabs(exact - i / double(N)), std::fabs(exact - (i + 1) / double(N))});
	}
	if (distance < 1.95 / std::sqrt(N))  // p = 0.001
		return;
	failures++;
	std::printf("%s: off by %g\n", what, distance);
}

void shapes()
{
	auto exponential = [](double x, double mean) { return 1 - std::exp(-x / mean); };
	distributed("uniform", {Shape::Uniform, 1000, 2'000'999, 0},
		    [](double x) { return std::clamp((x - 1000) / 2e6, 0.0, 1.0); });
	distributed("exponential", {Shape::Exponential, 5'000'000, 0, 0},
		    [&](double x) { return exponential(x, 5e6); });
	distributed("Erlang", {Shape::Erlang, 9'000'000, 3, 0}, [](double x) {
		double y = x / 3e6;
		return 1 - std::exp(-y) * (1 + y + y * y / 2);
	});
	distributed("lognormal", {Shape::Lognormal, 1'000'000, 1500, 0},
		    [](double x) { return std::erfc(-std::log(x / 1e6) / 1.5 / std::sqrt(2)) / 2; });
	distributed("Pareto", {Shape::Pareto, 100'000, 1200, NEVER},
		    [](double x) { return x < 1e5 ? 0 : 1 - std::pow(1e5 / x, 1.2); });
	distributed("hyperexponential", {Shape::Hyper, 100'000, 9'000'000, 250},
		    [&](double x) { return 0.75 * exponential(x, 1e5) + 0.25 * exponential(x, 9e6); });
	Amount bounded{Shape::Pareto, 1000, 100, 5000};
	Ns most = 0;
	for (std::uint64_t i = 0; i < 1000; i++)
		most = std::max(most, draw(bounded, 1, 1, i));
	equal("a bound holds", most, 5000);
	equal("fixed", draw({Shape::Fixed, 42, 0, 0}, 1, 1, 1), 42);
}

// Neighbouring keys, steps and counts have nothing to do with each other.
void keys()
{
	constexpr int N = 20'000;
	Amount unit{Shape::Uniform, 0, 1'000'000, 0};
	auto correlation = [&](const char *what, auto other) {
		double sum = 0;
		for (int i = 0; i < N; i++) {
			Key key = root_key(5, static_cast<std::uint32_t>(i));
			sum += (static_cast<double>(draw(unit, key, 1, 1)) - 5e5)
			       * (static_cast<double>(other(i, key)) - 5e5);
		}
		check(what, std::fabs(sum / N / (1e12 / 12)) < 4 / std::sqrt(N));
	};
	correlation("steps", [&](int, Key key) { return draw(unit, key, 2, 1); });
	correlation("counts", [&](int, Key key) { return draw(unit, key, 1, 2); });
	correlation("tasks",
		    [&](int i, Key) { return draw(unit, root_key(5, static_cast<std::uint32_t>(i + 1)), 1, 1); });
	correlation("seeds", [&](int i, Key) { return draw(unit, root_key(6, static_cast<std::uint32_t>(i)), 1, 1); });
	correlation("children", [&](int, Key key) { return draw(unit, child_key(key, 0, 0), 1, 1); });
	correlation("programs", [&](int, Key key) { return draw(unit, exec_key(key), 1, 1); });
	// The same key, the same amount, on every machine: the player draws these too.
	equal("pinned", draw({Shape::Exponential, 1'000'000, 0, 0}, root_key(1, 0), 0, 0), 97216);
	equal("pinned lognormal", draw({Shape::Lognormal, 1'000'000, 1000, 0}, child_key(root_key(1, 2), 3, 4), 5, 6),
	      3915035);
}

const Case CASES[] = {{"logarithms", logarithms}, {"exponentials", exponentials}, {"shapes", shapes}, {"keys", keys}};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
