/* SPDX-License-Identifier: Apache-2.0 */
#include "env_binding.hpp"
#include "batch_binding.hpp"
#include "simulation_binding.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <span>
#include <tuple>

namespace schedtuna::env
{
namespace
{

using BoundPickNext = BoundBatch<PickNext>;

std::shared_ptr<PickNextSetup> new_setup(const std::vector<const Workload *> &loads,
					 std::vector<std::uint64_t> arrivals, const Topology &topology,
					 const Numbers &costs, const Numbers &lengths, const Scheduler &chooser,
					 const Scheduler &baseline, const std::map<std::string, double> &weights,
					 std::uint32_t nr_slots, std::vector<std::vector<Ns>> edges)
{
	std::vector<Workload> copies;
	for (const Workload *load : loads)
		copies.push_back(*load);
	std::array<double, TERMS.size()> each{};
	for (std::size_t i = 0; i < TERMS.size(); i++)
		if (auto found = weights.find(std::string(TERMS[i].name)); found != weights.end())
			each[i] = found->second;
	Lengths given;
	given.episode_ns = lengths.at("episode_ns");
	given.decision_ns = lengths.at("decision_ns");
	given.idle_ns = lengths.at("idle_ns");
	given.delay_ns = lengths.at("delay_ns");
	return std::make_shared<PickNextSetup>(std::move(copies), std::move(arrivals), topology, costs_of(costs), given,
					       chooser.clone(), baseline.clone(), each, nr_slots, std::move(edges));
}

std::vector<std::string> names(std::span<const std::string_view> all)
{
	return {all.begin(), all.end()};
}

// What stands in each slot, exactly: id, CPU time since it woke up, waited, CPU time. For rules of one's own.
nb::list slots(BoundPickNext &b, std::uint32_t i)
{
	nb::list all;
	const PickNext &env = b.at(i);
	for (std::uint32_t slot = 0; slot < b.batch.setup().nr_slots; slot++) {
		TaskId id = env.in_slot(slot);
		if (id == NONE) {
			all.append(nb::none());
			continue;
		}
		CandidateRow row = env.row(id);
		all.append(nb::make_tuple(row.id, env.simulation().name_of(id), row.cpu, static_cast<int>(row.nice),
					  row.waited_ns, row.attained_ns, row.burst_ns, row.cpu_time_ns));
	}
	return all;
}

nb::tuple state(BoundPickNext &b, std::uint32_t i)
{
	const PickNext &env = b.at(i);
	const Simulation &s = env.simulation();
	nb::list running;
	for (CpuId cpu = 0; cpu < s.nr_cpus(); cpu++) {
		TaskId id = s.current(cpu);
		running.append(id == NONE ? nb::object(nb::none())
					  : nb::cast(s.name_of(id) + "/" + std::to_string(id)));
	}
	CpuId cpu = s.deciding_cpu();
	nb::object deciding = cpu == NONE ? nb::object(nb::none()) : nb::cast(cpu);
	Totals totals = s.totals();
	return nb::make_tuple(s.now(), deciding, running, env.draw().load, env.draw().arrival, totals.nr_events,
			      totals.nr_switches, totals.hash);
}

}  // namespace

void bind_env(nb::module_ &m)
{
	m.attr("TASK_FEATURES") = names(TASK_FEATURES);
	m.attr("MACHINE_FEATURES") = names(MACHINE_FEATURES);
	m.attr("NR_OTHER_ACTIONS") = NR_OTHERS;
	m.attr("MAX_SLOTS") = MAX_SLOTS;
	m.def("term_table", [] {
		nb::list rows;
		for (const TermRow &row : TERMS)
			rows.append(nb::make_tuple(row.name, row.sign, row.help));
		return rows;
	});
	nb::enum_<Autoreset>(m, "Autoreset")
		.value("DISABLED", Autoreset::Disabled)
		.value("NEXT_STEP", Autoreset::NextStep)
		.value("SAME_STEP", Autoreset::SameStep);
	nb::class_<PickNextSetup>(m, "PickNextSetup")
		.def(nb::new_(&new_setup), nb::arg("loads"), nb::arg("arrivals"), nb::arg("topology"), nb::arg("costs"),
		     nb::arg("lengths"), nb::arg("chooser"), nb::arg("baseline"), nb::arg("weights"),
		     nb::arg("nr_slots"), nb::arg("edges"))
		.def_prop_ro("nr_actions", &PickNextSetup::nr_actions)
		.def_prop_ro("nr_observed", &PickNextSetup::nr_observed);
	bind_batch<PickNext>(m, "Batch")
		.def("watch_one",
		     [](BoundPickNext &b) {
			     b.check_bound();
			     std::uint32_t action = b.batch.watch_one();
			     return action == NONE ? -1 : static_cast<std::int64_t>(action);
		     })
		.def("slots", &slots)
		.def("state", &state);
}

}  // namespace schedtuna::env
