/* SPDX-License-Identifier: Apache-2.0 */
// The binding of native/model: arrays in, arrays out. Python sees it through src/schedtuna/model/runtime.py;
// _runtime.pyi there says what is in it.
#include "model/decider.hpp"
#include "model/runtime.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <string>
#include <tuple>

namespace nb = nanobind;

namespace schedtuna::model
{
namespace
{

template <typename T> using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <typename T> using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T> using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using Row = std::tuple<std::int64_t, std::int64_t, std::uint64_t, std::uint32_t, std::uint16_t, std::uint8_t, bool>;
using Shared = std::shared_ptr<Runtime>;

const std::array<std::string, 3> NAMES = {"portable", "avx2", "avx512"};  // as Vectors numbers them

template <typename T> std::span<const T> span_of(const Array<T> &array)
{
	return {array.data(), array.size()};
}

std::vector<BinRow> rows_of(const std::vector<Row> &rows)
{
	std::vector<BinRow> made;
	for (const auto &[lo, hi, multiplier, base, last, shift, is_log2] : rows)
		made.push_back({lo, hi, multiplier, base, last, shift, is_log2});
	return made;
}

std::vector<LayerArrays> layers_of(const std::vector<Array<std::int8_t>> &weights,
				   const std::vector<Array<std::int32_t>> &biases)
{
	require(weights.size() == biases.size(), "weights and biases of different layers");
	std::vector<LayerArrays> made;
	for (std::size_t layer = 0; layer < weights.size(); layer++)
		made.push_back({span_of(weights[layer]), span_of(biases[layer])});
	return made;
}

// "" for the widest that the processor has.
Vectors vectors_of(const std::string &name)
{
	const auto found = std::find(NAMES.begin(), NAMES.end(), name);
	if (name.empty())
		return best_vectors();
	require(found != NAMES.end(), "there are no vectors of that name");
	const auto vectors = static_cast<Vectors>(found - NAMES.begin());
	require(has(vectors), "the processor lacks these vectors");
	return vectors;
}

std::vector<std::string> vectors()
{
	std::vector<std::string> found;
	for (const std::string &name : NAMES)
		if (has(static_cast<Vectors>(&name - NAMES.data())))
			found.push_back(name);
	return found;
}

Shared trees(const std::vector<Row> &rows, const std::string &use, std::int32_t base, Array<std::uint8_t> nr_leaves,
	     Array<std::uint8_t> feature, Array<std::uint16_t> threshold, Array<std::int8_t> left,
	     Array<std::int8_t> right, Array<std::int16_t> leaves)
{
	return make_trees(rows_of(rows),
			  {base, span_of(nr_leaves), span_of(feature), span_of(threshold), span_of(left),
			   span_of(right), span_of(leaves)},
			  vectors_of(use));
}

Shared oblivious(const std::vector<Row> &rows, const std::string &use, std::int32_t base, std::size_t nr_levels,
		 Array<std::uint8_t> feature, Array<std::uint16_t> threshold, Array<std::int16_t> leaves)
{
	return make_oblivious(rows_of(rows), {base, nr_levels, span_of(feature), span_of(threshold), span_of(leaves)},
			      vectors_of(use));
}

Shared linear(const std::vector<Row> &rows, Array<std::int16_t> weights, Array<std::int32_t> biases)
{
	return make_linear(rows_of(rows), span_of(weights), span_of(biases));
}

Shared mlp(const std::vector<Row> &rows, const std::string &use, const std::vector<Array<std::int8_t>> &weights,
	   const std::vector<Array<std::int32_t>> &biases, const std::vector<int> &shifts)
{
	return make_mlp(rows_of(rows), layers_of(weights, biases), shifts, vectors_of(use));
}

Shared step(const std::vector<Row> &rows, const std::string &use, const std::vector<Array<std::int8_t>> &weights,
	    const std::vector<Array<std::int32_t>> &biases, int shift)
{
	return make_step(rows_of(rows), layers_of(weights, biases), shift, vectors_of(use));
}

void quantise(const Runtime &runtime, Matrix<std::int64_t> values, Out<std::uint16_t> bins)
{
	const std::size_t width = runtime.nr_inputs();
	require(values.shape(1) == width && bins.size() == values.size(), "rows of another width");
	nb::gil_scoped_release release;
	for (std::size_t at = 0; at < values.shape(0); at++)
		runtime.quantise(values.data() + at * width, bins.data() + at * width);
}

void require_rows(const Runtime &runtime, const Matrix<std::uint16_t> &bins, const Out<std::int32_t> &found,
		  std::size_t width)
{
	require(bins.shape(1) == runtime.nr_inputs() && found.size() == bins.shape(0) * width, "rows of another width");
	require(runtime.within(bins.data(), bins.shape(0)), "a bin is beyond its input's last");
}

void accumulate(const Runtime &runtime, Matrix<std::uint16_t> bins, Out<std::int32_t> found)
{
	require_rows(runtime, bins, found, runtime.nr_accumulators());
	nb::gil_scoped_release release;
	for (std::size_t at = 0; at < bins.shape(0); at++)
		runtime.accumulate(bins.data() + at * runtime.nr_inputs(),
				   found.data() + at * runtime.nr_accumulators());
}

void logits(const Runtime &runtime, Matrix<std::uint16_t> bins, Out<std::int32_t> found)
{
	require_rows(runtime, bins, found, runtime.nr_logits());
	nb::gil_scoped_release release;
	runtime.logits(bins.data(), bins.shape(0), found.data());
}

Decider *decider(std::shared_ptr<Runtime> runtime, const std::vector<std::tuple<std::size_t, bool>> &columns,
		 std::size_t cache_rows)
{
	std::vector<Column> made;
	for (const auto &[index, is_load] : columns)
		made.push_back({index, is_load ? Kind::Load : Kind::Count});
	return new Decider(std::move(runtime), std::move(made), cache_rows);
}

void decide_rows(Decider &decider, Matrix<float> rows, Out<std::uint8_t> labels)
{
	require(labels.size() == rows.shape(0), "a label for each row");
	decider.decide(rows.data(), rows.shape(0), rows.shape(1), labels.data());
}

int decide_one(Decider &decider, double cpu, double idle, double busy, double src, double dst)
{
	const double row[] = {cpu, idle, busy, src, dst};
	std::uint8_t label;
	decider.decide(row, 1, 5, &label);
	return label;
}

}  // namespace
}  // namespace schedtuna::model

NB_MODULE(_runtime, m)
{
	using namespace schedtuna::model;
	nb::set_leak_warnings(false);  // what a program keeps until it ends is no fault of its user's
	nb::exception<BadModel>(m, "BadModelError");
	nb::register_exception_translator([](const std::exception_ptr &thrown, void *) {
		try {
			std::rethrow_exception(thrown);
		} catch (const BadNumber &bad) {
			PyErr_SetObject(PyExc_LookupError, nb::make_tuple(bad.row, bad.column, bad.what()).ptr());
		}
	});
	nb::class_<Runtime>(m, "Runtime")
		.def_prop_ro("nr_inputs", &Runtime::nr_inputs)
		.def_prop_ro("nr_logits", &Runtime::nr_logits)
		.def_prop_ro("nr_accumulators", &Runtime::nr_accumulators)
		.def("quantise", &quantise, nb::arg("values"), nb::arg("bins"))
		.def("accumulate", &accumulate, nb::arg("bins"), nb::arg("accumulators"))
		.def("logits", &logits, nb::arg("bins"), nb::arg("logits"));
	m.def("vectors", &vectors);
	m.def("trees", &trees);
	m.def("oblivious", &oblivious);
	m.def("linear", &linear);
	m.def("mlp", &mlp);
	m.def("step", &step);
	nb::class_<Decider>(m, "Decider")
		.def("decide_rows", &decide_rows, nb::arg("rows"), nb::arg("labels"))
		.def("decide_one", &decide_one)
		.def("measure",
		     [](const Decider &d, std::size_t nr_rounds) {
			     const auto [decide_ns, look_up_ns] = d.measure(nr_rounds);
			     return std::make_tuple(decide_ns, look_up_ns);
		     })
		.def_prop_ro("nr_clamped", &Decider::nr_clamped)
		.def_prop_ro("nr_hits", [](const Decider &d) { return d.cache() ? d.cache()->nr_hits : 0; })
		.def_prop_ro("nr_misses", [](const Decider &d) { return d.cache() ? d.cache()->nr_misses : 0; });
	m.def("decider", &decider, nb::arg("runtime"), nb::arg("columns"), nb::arg("cache_rows"),
	      nb::rv_policy::take_ownership);
}
