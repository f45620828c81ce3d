/* SPDX-License-Identifier: Apache-2.0 */
#include "flat_binding.hpp"
#include "sim/flat.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

namespace nb = nanobind;

namespace schedtuna::sim
{
namespace
{

using GroupRow = std::tuple<std::string, GroupId, std::uint32_t>;  // name, parent, shares

std::string_view rows_of(const nb::bytes &bytes)
{
	return {bytes.c_str(), bytes.size()};
}

Workload flat_workload(std::vector<std::string> names, nb::bytes tasks, nb::bytes steps, nb::bytes interruptions,
		       std::vector<std::vector<CpuId>> cpu_sets, const std::vector<GroupRow> &groups,
		       std::uint32_t nr_mailboxes, Ns duration_ns)
{
	FlatWorkload flat{rows_of(steps),   rows_of(tasks),	 rows_of(interruptions),
			  std::move(names), std::move(cpu_sets), {},
			  nr_mailboxes,	    duration_ns};
	for (const auto &[name, parent, shares] : groups)
		flat.groups.push_back({name, parent, shares});
	nb::gil_scoped_release release;
	return from_flat(flat);
}

}  // namespace

void bind_flat(nb::module_ &m)
{
	nb::enum_<Op>(m, "Op")
		.value("RUN", Op::Run)
		.value("SPIN", Op::Spin)
		.value("SLEEP", Op::Sleep)
		.value("SLEEP_UNTIL", Op::SleepUntil)
		.value("IO", Op::Io)
		.value("READ", Op::Read)
		.value("WRITE", Op::Write)
		.value("FORK", Op::Fork)
		.value("EXIT", Op::Exit)
		.value("SET_NICE", Op::SetNice)
		.value("SET_POLICY", Op::SetPolicy)
		.value("SET_SLICE", Op::SetSlice)
		.value("SET_AFFINITY", Op::SetAffinity);
	m.attr("FROM_BEGINNING") = FROM_BEGINNING;
	m.attr("PLAIN_WAKEUP") = PLAIN_WAKEUP;
	m.def("flat_workload", &flat_workload, nb::arg("names"), nb::kw_only(), nb::arg("tasks"), nb::arg("steps"),
	      nb::arg("interruptions"), nb::arg("cpu_sets"), nb::arg("groups"), nb::arg("nr_mailboxes"),
	      nb::arg("duration_ns"));
}

}  // namespace schedtuna::sim
