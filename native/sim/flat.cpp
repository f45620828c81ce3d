/* SPDX-License-Identifier: Apache-2.0 */
#include "flat.hpp"

#include <cstring>

namespace schedtuna::sim
{

namespace
{

static_assert(sizeof(FlatStep) == 16 && sizeof(FlatTask) == 40 && sizeof(FlatInterruption) == 24);

// The next row, or a complaint that there is none.
template <typename Row> Row take(std::string_view &rows, const char *what)
{
	if (rows.size() < sizeof(Row))
		throw BadInput(std::string("there are too few ") + what);
	Row row;
	std::memcpy(&row, rows.data(), sizeof row);
	rows.remove_prefix(sizeof row);
	return row;
}

Program program_of(const std::string &name, std::uint32_t nr_steps, std::string_view &steps)
{
	Program program{name, {}, 0};
	program.steps.reserve(std::min<std::size_t>(nr_steps, steps.size() / sizeof(FlatStep)));
	for (std::uint32_t i = 0; i < nr_steps; i++) {
		auto flat = take<FlatStep>(steps, "steps");
		if (flat.op > static_cast<std::uint8_t>(Op::Loop))
			throw BadInput("program " + name + ", step " + std::to_string(i) + ": there is no such step");
		program.steps.push_back({static_cast<Op>(flat.op),
					 flat.flags,
					 0,
					 flat.object,
					 NONE,
					 {Shape::Fixed, flat.amount, 0, 0}});
	}
	return program;
}

}  // namespace

Workload from_flat(const FlatWorkload &flat)
{
	Workload workload;
	std::string_view steps = flat.steps, tasks = flat.tasks, interruptions = flat.interruptions;
	for (const std::string &name : flat.names) {
		auto row = take<FlatTask>(tasks, "tasks");
		auto program = static_cast<std::uint32_t>(workload.programs.size());
		workload.programs.push_back(program_of(name, row.nr_steps, steps));
		workload.tasks.push_back({name, program, row.nice, static_cast<Policy>(row.policy), row.group,
					  row.cpu_set, row.slice_ns, row.start_ns, row.is_kthread != 0, row.first_cpu});
	}
	while (!interruptions.empty()) {
		auto row = take<FlatInterruption>(interruptions, "interruptions");
		workload.interruptions.push_back({row.start_ns, row.length_ns, row.cpu});
	}
	if (!steps.empty() || !tasks.empty())
		throw BadInput("there are more steps or tasks than names and lengths tell of");
	workload.groups.insert(workload.groups.end(), flat.groups.begin(), flat.groups.end());
	for (std::uint32_t i = 0; i < flat.nr_mailboxes; i++)
		workload.resources.push_back({"a wakeup", ResourceKind::Pipe, UINT32_MAX});
	workload.cpu_sets = flat.cpu_sets;
	workload.duration_ns = flat.duration_ns;
	return workload;
}

}  // namespace schedtuna::sim
