/* SPDX-License-Identifier: Apache-2.0 */
#include "env_binding.hpp"
#include "env/futures.hpp"
#include "simulation_binding.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;

namespace schedtuna::env
{
namespace
{

std::unique_ptr<Futures> new_futures(const Workload &workload, const Scheduler &fair, std::uint64_t seed,
				     std::uint64_t noise_seed, const Topology &topology, const Numbers &costs)
{
	return std::make_unique<Futures>(topology, costs_of(costs), workload, fair, Seeds{seed, noise_seed});
}

nb::object next(Futures &futures, Ns until)
{
	bool found;
	{
		nb::gil_scoped_release release;
		found = futures.next(until);
	}
	if (!found)
		return nb::none();
	const Migration &m = futures.asked();
	return nb::make_tuple(m.nth, m.at_ns, m.task, m.from, m.to, m.wakes, m.nr_idle, m.nr_busy, m.from_load,
			      m.to_load, futures.shares_llc());
}

}  // namespace

void bind_futures(nb::module_ &m)
{
	nb::class_<Futures>(m, "Futures")
		.def(nb::new_(&new_futures), nb::arg("workload"), nb::arg("scheduler"), nb::arg("seed"),
		     nb::arg("noise_seed"), nb::arg("topology"), nb::arg("costs"))
		.def("next", &next, nb::arg("until_ns"))
		.def("gains", &Futures::gains, nb::arg("nr_pairs"), nb::arg("horizons_ns"),
		     nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace schedtuna::env
