/* SPDX-License-Identifier: Apache-2.0 */
// Batches of environments and the arrays that they work on, whatever the kind.
#pragma once

#include "env/batch.hpp"
#include "simulation_binding.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>

#include <string>

namespace schedtuna::env
{

namespace nb = nanobind;

template <typename T> using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

template <typename Env> struct BoundBatch {
	using Setup = typename Env::Setup;

	BatchOf<Env> batch;
	nb::dict arrays;

	BoundBatch(std::shared_ptr<Setup> setup, std::uint32_t n, std::uint64_t seed, Autoreset autoreset,
		   unsigned nr_threads)
	    : batch(std::move(setup), n, seed, autoreset, nr_threads)
	{
	}

	template <typename T> T *array(const char *name, std::size_t width)
	{
		if (!arrays.contains(name))
			throw BadInput(std::string("there is no array ") + name);
		auto found = nb::cast<Array<T>>(arrays[name]);
		if (found.size() != batch.size() * width)
			throw BadInput(std::string(name) + " has " + std::to_string(found.size())
				       + " elements, expected " + std::to_string(batch.size() * width));
		return found.data();
	}

	void bind(nb::dict given)
	{
		arrays = given;
		const Setup &setup = batch.setup();
		Buffers b;
		b.actions = array<std::int64_t>("actions", 1);
		b.observations = array<float>("observations", setup.nr_observed());
		b.rewards = array<double>("rewards", 1);
		b.terminated = array<bool>("terminated", 1);
		b.truncated = array<bool>("truncated", 1);
		b.elapsed_ns = array<std::int64_t>("elapsed_ns", 1);
		b.final_observations = array<float>("final_observations", setup.nr_observed());
		if constexpr (requires(const Env &env, bool *allowed) { env.mask(allowed); })
			b.masks = array<bool>("masks", setup.nr_actions());
		b.terms = array<double>("terms", TERMS.size());
		b.nr_masked = array<std::int64_t>("nr_masked", 1);
		batch.bind(b);
	}
	void check_bound() const
	{
		if (arrays.size() == 0)
			throw BadInput("no arrays are bound");
	}
	Env &at(std::uint32_t i)
	{
		if (i >= batch.size())
			throw BadInput("there is no environment " + std::to_string(i));
		return batch.at(i);
	}
};

// What all of them can do.
template <typename Env> nb::class_<BoundBatch<Env>> bind_batch(nb::module_ &m, const char *name)
{
	using Bound = BoundBatch<Env>;
	nb::class_<Bound> bound(m, name);
	bound.def(nb::init<std::shared_ptr<typename Env::Setup>, std::uint32_t, std::uint64_t, Autoreset, unsigned>(),
		  nb::arg("setup"), nb::arg("n"), nb::arg("seed"), nb::arg("autoreset"), nb::arg("nr_threads") = 0)
		.def("bind", &Bound::bind)
		.def("seed",
		     [](Bound &b, std::uint32_t i, std::uint64_t seed) {
			     b.at(i);
			     b.batch.seed(i, seed);
		     })
		.def("reset_all",
		     [](Bound &b) {
			     b.check_bound();
			     nb::gil_scoped_release release;
			     b.batch.reset();
		     })
		.def("reset",
		     [](Bound &b, std::uint32_t i) {
			     b.check_bound();
			     b.at(i);
			     b.batch.reset(i);
		     })
		.def("reset_to",
		     [](Bound &b, std::uint32_t i, std::uint32_t load, std::uint32_t arrival, std::uint64_t shuffle) {
			     b.check_bound();
			     b.at(i);
			     b.batch.reset(i, {load, arrival, shuffle});
		     })
		.def("step",
		     [](Bound &b) {
			     b.check_bound();
			     nb::gil_scoped_release release;
			     b.batch.step();
		     })
		.def("set_traced", [](Bound &b, bool is_traced) { b.batch.set_traced(is_traced); })
		.def("events", [](Bound &b, std::uint32_t i) { return bytes_of(b.at(i).events()); })
		.def("step_one", [](Bound &b, std::int64_t action) {
			b.check_bound();
			Outcome o = b.batch.step_one(action);
			return nb::make_tuple(o.reward, o.terminated, o.truncated, o.elapsed_ns);
		});
	return bound;
}

}  // namespace schedtuna::env
