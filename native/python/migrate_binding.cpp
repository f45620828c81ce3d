/* SPDX-License-Identifier: Apache-2.0 */
#include "env_binding.hpp"
#include "env/migrate.hpp"
#include "simulation_binding.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <map>

namespace nb = nanobind;

namespace schedtuna::env
{
namespace
{

template <typename T> using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

std::array<double, TERMS.size()> in_order(const std::map<std::string, double> &weights)
{
	std::array<double, TERMS.size()> each{};
	for (std::size_t i = 0; i < TERMS.size(); i++)
		if (auto found = weights.find(std::string(TERMS[i].name)); found != weights.end())
			each[i] = found->second;
	return each;
}

std::shared_ptr<MigrateSetup> new_migrate_setup(const std::vector<const Workload *> &loads,
						std::vector<std::uint64_t> arrivals, const Topology &topology,
						const Numbers &costs, Ns episode_ns, Ns decision_ns,
						const Scheduler &scheduler,
						const std::map<std::string, double> &weights,
						const std::vector<std::vector<Ns>> &edges)
{
	if (scheduler.name() != "fair")
		throw BadInput(std::string(scheduler.name())
			       + " has no queue per CPU, so that nothing migrates between them");
	if (edges.size() != MIGRATION_FEATURES.size())
		throw BadInput("each feature has its bins");
	std::vector<Workload> copies;
	for (const Workload *load : loads)
		copies.push_back(*load);
	return std::shared_ptr<MigrateSetup>(
		new MigrateSetup{episode_ns,
				 decision_ns,
				 {std::move(copies), std::move(arrivals), topology, costs_of(costs), episode_ns,
				  scheduler, in_order(weights)},
				 {edges.begin(), edges.end()}});
}

// An environment and the array that it writes observations to.
struct BoundMigrate {
	Migrate env;
	Array<float> observation;

	void tell()
	{
		if (observation.is_valid())
			env.observe(observation.data());
	}
	void bind(Array<float> given)
	{
		if (given.size() != MIGRATION_FEATURES.size())
			throw BadInput("an observation has " + std::to_string(MIGRATION_FEATURES.size()) + " numbers");
		observation = std::move(given);
	}
	nb::tuple step(std::uint32_t action)
	{
		Outcome outcome = env.step(action);
		tell();
		return nb::make_tuple(outcome.reward, outcome.terminated, outcome.truncated, outcome.elapsed_ns);
	}
	std::vector<double> terms()
	{
		std::vector<double> all;
		Amounts amounts = env.amounts();
		for (std::size_t i = 0; i < TERMS.size(); i++)
			all.push_back(static_cast<double>(amounts[i]) / static_cast<double>(env.baseline()[i]));
		return all;
	}
	// now_ns, task, from, to, whether it wakes up, CPUs that idle and that don't, loads of both CPUs
	nb::tuple state() const
	{
		const Migration &asked = env.asked();
		const Simulation &s = env.simulation();
		nb::object task = asked.task == NONE ? nb::object(nb::none()) : nb::cast(s.name_of(asked.task));
		return nb::make_tuple(s.now(), task, asked.from, asked.to, asked.wakes, asked.nr_idle, asked.nr_busy,
				      nb::make_tuple(asked.from_load, asked.to_load));
	}
};

}  // namespace

void bind_migrate(nb::module_ &m)
{
	m.attr("MIGRATION_FEATURES") = std::vector<std::string>(MIGRATION_FEATURES.begin(), MIGRATION_FEATURES.end());
	nb::class_<MigrateSetup>(m, "MigrateSetup")
		.def(nb::new_(&new_migrate_setup), nb::arg("loads"), nb::arg("arrivals"), nb::arg("topology"),
		     nb::arg("costs"), nb::arg("episode_ns"), nb::arg("decision_ns"), nb::arg("scheduler"),
		     nb::arg("weights"), nb::arg("edges"));
	nb::class_<BoundMigrate>(m, "Migrate")
		.def(nb::new_([](std::shared_ptr<MigrateSetup> setup, std::uint64_t seed) {
			     return std::make_unique<BoundMigrate>(BoundMigrate{Migrate(std::move(setup), seed), {}});
		     }),
		     nb::arg("setup"), nb::arg("seed"))
		.def("bind", &BoundMigrate::bind)
		.def("seed", [](BoundMigrate &b, std::uint64_t seed) { b.env.seed(seed); })
		.def("reset",
		     [](BoundMigrate &b) {
			     b.env.reset();
			     b.tell();
		     })
		.def("reset_to",
		     [](BoundMigrate &b, std::uint32_t load, std::uint32_t arrival) {
			     b.env.reset({load, arrival, 0});
			     b.tell();
		     })
		.def("step", &BoundMigrate::step)
		.def("terms", &BoundMigrate::terms)
		.def("state", &BoundMigrate::state);
}

}  // namespace schedtuna::env
