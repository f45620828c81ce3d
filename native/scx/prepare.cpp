/* SPDX-License-Identifier: Apache-2.0 */
// A loader's work: global variables, maps' entries, and programs that it runs.
#include "core.hpp"

#include <algorithm>
#include <cstring>

namespace schedtuna::scx
{

using sim::BadInput;

namespace
{

// What the loaders of the kernel's own examples set, though no user does.
struct LoaderRow {
	std::string_view name;
	std::uint64_t (*value)(const Simulation &, const Constants &);
};
constexpr LoaderRow LOADER_TABLE[] = {
	{"nr_cpu_ids", [](const Simulation &m, const Constants &) -> std::uint64_t { return m.nr_cpus(); }},
	{"nr_cpus", [](const Simulation &m, const Constants &) -> std::uint64_t { return m.nr_cpus(); }},
	{"nr_node_ids", [](const Simulation &, const Constants &) -> std::uint64_t { return 1; }},
	{"slice_ns", [](const Simulation &, const Constants &k) -> std::uint64_t { return k.SCX_SLICE_DFL; }},
};

std::uint64_t word_at(const std::vector<std::uint8_t> &bytes, std::size_t at)
{
	std::uint64_t word;
	std::memcpy(&word, bytes.data() + at, sizeof(word));
	return word;
}

bool contains(const std::vector<std::uint64_t> &all, std::uint64_t one)
{
	return std::find(all.begin(), all.end(), one) != all.end();
}

}  // namespace

// The members of struct sched_ext_ops: the object's own, unless its loader changed them.
void Core::set_members()
{
	flags_ = library_->flags;
	timeout_ns_ = library_->timeout_ns;
	max_batch_ = library_->max_batch;
	present_ = 0;
	for (std::size_t i = 0; i < NR_OPERATIONS; i++)
		if (library_->has(static_cast<Operation>(i)))
			present_ |= 1u << i;
	if (!prepared_)
		return;
	flags_ = prepared_->flags.value_or(flags_);
	if (prepared_->timeout_ms.value_or(0))
		timeout_ns_ = *prepared_->timeout_ms * 1'000'000;
	if (prepared_->max_batch.value_or(0))
		max_batch_ = static_cast<std::uint32_t>(*prepared_->max_batch);
	for (std::size_t i = 0; i < NR_OPERATIONS; i++)
		if (std::find(prepared_->absent.begin(), prepared_->absent.end(), OPERATION_NAMES[i])
		    != prepared_->absent.end())
			present_ &= ~(1u << i);
}

void Core::set_globals()
{
	if (prepared_)
		for (const LoaderWrite &section : prepared_->sections)
			write(section, {});
	for (const LoaderRow &row : LOADER_TABLE) {
		const scx_global *global = library_->global(row.name);
		if (prepared_ || !global || !global->constant || (global->size != 4 && global->size != 8))
			continue;
		std::uint64_t now = 0, value = row.value(*machine_, constants());
		std::memcpy(&now, block_.memory() + global->address, global->size);
		if (row.name != "slice_ns" || now == 0)
			std::memcpy(block_.memory() + global->address, &value, global->size);
	}
	set_values();
}

// What the user says.
void Core::set_values()
{
	for (const GlobalSetting &setting : settings_)
		if (const scx_global *global = library_->global(setting.name))
			std::memcpy(block_.memory() + global->address, setting.value.data(),
				    std::min<std::size_t>(global->size, setting.value.size()));
}

// Sizes were checked with the names.
void Core::set_entry(const MapSetting &entry)
{
	const scx_object &object = library_->object();
	for (std::uint32_t i = 0; i < object.nr_maps; i++)
		for (CpuId cpu = 0; entry.map == object.maps[i].name && cpu < machine_->nr_cpus(); cpu++)
			maps_[i].update(block_, entry.key.data(), entry.value.data(), 0, cpu);
}

void Core::write(const LoaderWrite &given, const Pointers &pointers)
{
	std::uint64_t address = given.offset;
	if (given.pointer) {
		auto found = pointers.find(given.pointer);
		if (found == pointers.end())
			throw BadInput("its loader wrote behind an address that no program had given it");
		address += found->second;
	}
	if (!given.bytes.empty())
		std::memcpy(bytes(address, given.bytes.size()), given.bytes.data(), given.bytes.size());
}

void Core::run_program(const ProgramRun &run, Pointers &pointers)
{
	const scx_function &function = library_->object().functions[run.function];
	std::size_t size = run.context.size();
	std::uint64_t context = allocate(size + 16);
	std::uint8_t *here = bytes(context, size + 16);
	std::copy(run.context.begin(), run.context.end(), here);
	for (std::size_t at = 0; at + 8 <= size; at += 8) {
		std::uint64_t word = word_at(run.context, at);
		if (!contains(run.pointers, word))
			continue;
		auto found = pointers.find(word);
		if (found == pointers.end())
			throw BadInput(std::string("its loader gave ") + function.name
				       + "() an address that no program had given it");
		std::memcpy(here + at, &found->second, 8);
	}
	instance_.fuel = SCX_FUEL;
	context_ = Context::Other;
	auto returned = static_cast<std::int32_t>(scx_run(&instance_, run.function, context, 0, 0, 0, 0));
	context_ = Context::None;
	if (instance_.trap.reason)
		throw BadInput("what its loader runs ends here: " + trap_text());
	if (returned != run.returned)
		throw BadInput(std::string("what its loader runs goes otherwise here: ") + function.name
			       + "() returned " + std::to_string(returned) + ", in the guest "
			       + std::to_string(run.returned));
	for (std::size_t at = 0; at + 8 <= std::min(size, run.left.size()); at += 8)
		if (std::uint64_t word = word_at(run.left, at); contains(run.left_pointers, word))
			std::memcpy(&pointers[word], here + at, 8);
	block_.release(context, size + 16);
}

void Core::prepare()
{
	Pointers pointers;
	for (const MapSetting &entry : prepared_->entries)
		set_entry(entry);
	for (const ProgramRun &run : prepared_->runs) {
		for (const LoaderWrite &each : run.before)
			write(each, pointers);
		run_program(run, pointers);
	}
	for (const LoaderWrite &each : prepared_->after)
		write(each, pointers);
}

}  // namespace schedtuna::scx
