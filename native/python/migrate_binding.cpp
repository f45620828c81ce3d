/* SPDX-License-Identifier: Apache-2.0 */
#include "env_binding.hpp"
#include "batch_binding.hpp"
#include "simulation_binding.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <map>

namespace schedtuna::env
{
namespace
{

using BoundMigrate = BoundBatch<Migrate>;

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

// now_ns, task, from, to, whether it wakes up, CPUs that idle and that don't, loads of both CPUs
nb::tuple state(BoundMigrate &b, std::uint32_t i)
{
	const Migrate &env = b.at(i);
	const Migration &asked = env.asked();
	const Simulation &s = env.simulation();
	nb::object task = asked.task == NONE ? nb::object(nb::none()) : nb::cast(s.name_of(asked.task));
	return nb::make_tuple(s.now(), task, asked.from, asked.to, asked.wakes, asked.nr_idle, asked.nr_busy,
			      nb::make_tuple(asked.from_load, asked.to_load));
}

}  // namespace

void bind_migrate(nb::module_ &m)
{
	m.attr("MIGRATION_FEATURES") = std::vector<std::string>(MIGRATION_FEATURES.begin(), MIGRATION_FEATURES.end());
	nb::class_<MigrateSetup>(m, "MigrateSetup")
		.def(nb::new_(&new_migrate_setup), nb::arg("loads"), nb::arg("arrivals"), nb::arg("topology"),
		     nb::arg("costs"), nb::arg("episode_ns"), nb::arg("decision_ns"), nb::arg("scheduler"),
		     nb::arg("weights"), nb::arg("edges"))
		.def_prop_ro("nr_actions", &MigrateSetup::nr_actions)
		.def_prop_ro("nr_observed", &MigrateSetup::nr_observed);
	bind_batch<Migrate>(m, "MigrateBatch").def("state", &state);
}

}  // namespace schedtuna::env
