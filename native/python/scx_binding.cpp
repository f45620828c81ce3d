/* SPDX-License-Identifier: Apache-2.0 */
#include "scx_binding.hpp"

#include "scx/functions.hpp"
#include "scx/scheduler.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstring>

namespace nb = nanobind;

namespace schedtuna::scx
{

namespace
{

using sim::BadInput;

// A translated object, which whoever made it keeps.
struct Loaded {
	std::shared_ptr<const Library> library;
};

Loaded load_object(std::uint64_t address, const std::map<std::string, std::uint64_t> &given, bool counts)
{
	Constants constants;
	for (const ConstantRow &row : CONSTANT_TABLE) {
		auto found = given.find(std::string(row.name));
		if (found != given.end())
			constants.*row.field = found->second;
		else if (row.name == "SCX_TASK_IN_CUSTODY")  // which tells what ops.dequeue() is called for
			constants.*row.field = 0;
	}
	const auto *object = reinterpret_cast<const scx_object *>(address);
	auto library = std::make_shared<Library>(*object, constants);
	library->counts = counts;
	return {library};
}

// Name, kind, bytes, whether it is constant, and what it is at first.
nb::list globals(const Loaded &loaded)
{
	const scx_object &object = loaded.library->object();
	nb::list rows;
	for (std::uint32_t i = 0; i < object.nr_globals; i++) {
		const scx_global &global = object.globals[i];
		const scx_section &section = object.sections[global.section];
		std::vector<std::uint8_t> initial(global.size);
		std::uint64_t offset = global.address - section.address;
		if (section.data && offset + global.size <= section.size)
			std::memcpy(initial.data(), section.data + offset, global.size);
		rows.append(nb::make_tuple(global.name, global.kind, global.size, global.constant != 0,
					   nb::bytes(initial.data(), initial.size())));
	}
	return rows;
}

// Of each function that can run: its name, how many of its instructions ran, and how many there are.
nb::list covered(const sim::Simulation &simulation)
{
	nb::list rows;
	const auto *bpf = dynamic_cast<const BpfScheduler *>(&simulation.scheduler());
	if (!bpf || bpf->core().covered().empty())
		return rows;
	const scx_object &object = bpf->core().library().object();
	std::vector<std::uint64_t> ran(object.nr_functions), all(object.nr_functions);
	for (std::uint32_t i = 0; i < object.nr_blocks; i++) {
		const scx_block &block = object.blocks[i];
		all[block.function] += block.nr_instructions;
		if (bpf->core().covered()[i])
			ran[block.function] += block.nr_instructions;
	}
	for (std::uint32_t i = 0; i < object.nr_functions; i++)
		if (object.functions[i].reachable)
			rows.append(nb::make_tuple(object.functions[i].name, ran[i], all[i]));
	return rows;
}

std::vector<std::uint8_t> bytes_of(nb::handle given)
{
	auto bytes = nb::cast<nb::bytes>(given);
	const auto *first = reinterpret_cast<const std::uint8_t *>(bytes.c_str());
	return {first, first + bytes.size()};
}

LoaderWrite write_of(nb::handle row)
{
	auto cells = nb::cast<nb::tuple>(row);
	return {nb::cast<std::uint64_t>(cells[0]), nb::cast<std::uint64_t>(cells[1]), bytes_of(cells[2])};
}

std::vector<LoaderWrite> writes_of(nb::handle rows)
{
	std::vector<LoaderWrite> found;
	for (nb::handle row : nb::cast<nb::list>(rows))
		found.push_back(write_of(row));
	return found;
}

std::optional<std::uint64_t> member_of(const nb::dict &members, const char *name)
{
	return members.contains(name) ? std::optional(nb::cast<std::uint64_t>(members[name])) : std::nullopt;
}

const scx_map &map_named(const Loaded &loaded, const std::string &name)
{
	const scx_object &object = loaded.library->object();
	for (std::uint32_t i = 0; i < object.nr_maps; i++)
		if (object.maps[i].name == name)
			return object.maps[i];
	throw BadInput(std::string(object.name) + " has no map " + name);
}

using Entries = std::vector<std::tuple<std::string, nb::bytes, nb::bytes>>;

std::vector<MapSetting> entries_of(const Loaded &loaded, const Entries &entries)
{
	std::vector<MapSetting> written;
	for (const auto &[name, key, value] : entries) {
		const scx_map &map = map_named(loaded, name);
		if (key.size() != map.key_size || value.size() != map.value_size)
			throw BadInput("an entry of " + name + " has " + std::to_string(map.key_size) + " and "
				       + std::to_string(map.value_size) + " bytes");
		written.push_back({name, bytes_of(key), bytes_of(value)});
	}
	return written;
}

// As `sim.bpf.prepared` makes it.
std::shared_ptr<const Prepared> prepared_of(const Loaded &loaded, nb::dict given)
{
	auto made = std::make_shared<Prepared>();
	made->sections = writes_of(given["sections"]);
	made->after = writes_of(given["after"]);
	made->entries = entries_of(loaded, nb::cast<Entries>(given["entries"]));
	made->absent = nb::cast<std::vector<std::string>>(given["absent"]);
	auto members = nb::cast<nb::dict>(given["members"]);
	made->flags = member_of(members, "flags");
	made->timeout_ms = member_of(members, "timeout_ms");
	made->max_batch = member_of(members, "dispatch_max_batch");
	for (nb::handle each : nb::cast<nb::list>(given["runs"])) {
		auto row = nb::cast<nb::dict>(each);
		ProgramRun &run = made->runs.emplace_back();
		run.function = nb::cast<std::uint32_t>(row["function"]);
		const scx_object &object = loaded.library->object();
		if (run.function >= object.nr_functions
		    || (!object.functions[run.function].native && !object.functions[run.function].instructions))
			throw BadInput("its loader runs a program that is not translated");
		run.returned = nb::cast<std::int32_t>(row["returned"]);
		run.before = writes_of(row["before"]);
		run.context = bytes_of(row["context"]);
		run.left = bytes_of(row["left"]);
		run.pointers = nb::cast<std::vector<std::uint64_t>>(row["pointers"]);
		run.left_pointers = nb::cast<std::vector<std::uint64_t>>(row["left_pointers"]);
	}
	return made;
}

std::unique_ptr<sim::Scheduler> scheduler(const Loaded &loaded, nb::dict given, const Entries &entries,
					  std::uint64_t seed, std::optional<nb::dict> prepared)
{
	std::vector<GlobalSetting> settings;
	for (auto [key, value] : given) {
		auto name = nb::cast<std::string>(key);
		const scx_global *global = loaded.library->global(name);
		std::vector<std::uint8_t> bytes = bytes_of(value);
		if (!global || global->size != bytes.size())
			throw BadInput("no variable of the object is " + name + ", of " + std::to_string(bytes.size())
				       + " bytes");
		settings.push_back({name, std::move(bytes)});
	}
	return make_bpf_scheduler(loaded.library, std::move(settings), entries_of(loaded, entries), seed,
				  prepared ? prepared_of(loaded, *prepared) : nullptr);
}

}  // namespace

void bind_scx(nb::module_ &m)
{
	nb::class_<Loaded>(m, "BpfObject")
		.def("globals", &globals)
		.def_prop_ro("name", [](const Loaded &l) { return std::string(l.library->object().name); })
		.def_prop_ro("never_called", [](const Loaded &l) { return l.library->never_called(); })
		.def("scheduler", &scheduler, nb::arg("settings"), nb::arg("entries"), nb::arg("seed"),
		     nb::arg("prepared") = nb::none());
	m.def("load_bpf_object", &load_object, nb::arg("address"), nb::arg("constants"), nb::arg("counts"));
	m.def("covered_instructions", [](const sim::Simulation &simulation) { return covered(simulation); });
	m.def("is_bpf_function", [](const std::string &name) { return find_function(name) != nullptr; });
}

}  // namespace schedtuna::scx
