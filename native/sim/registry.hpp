/* SPDX-License-Identifier: Apache-2.0 */
// Schedulers by name, with the parameters that each declares.
#pragma once

#include "scheduler.hpp"

#include <span>
#include <vector>

namespace schedtuna::sim
{

enum class ParameterKind : std::uint8_t { Integer, Flag };

struct Parameter {
	std::string_view name;
	ParameterKind kind;
	std::int64_t initial, least, most;
	std::string_view help;	// ends with the unit, if it has one
};

struct Setting {
	std::string name;
	std::int64_t value;
};

struct SchedulerRow {
	std::string_view name, help;
	std::span<const Parameter> parameters;
	std::unique_ptr<Scheduler> (*make)(Values values);
};

// All that decide by themselves: each is declared in its own file, and has its line in registry.cpp.
std::span<const SchedulerRow> schedulers();
const SchedulerRow &external_scheduler();  // the one that doesn't; make_scheduler() knows it, too

// Raises BadInput, as all here: the names, parameters or values that there are.
const SchedulerRow &scheduler_row(std::string_view name);
// The values of all its parameters, where these are set, and others as they are by default.
std::vector<std::int64_t> complete_values(const SchedulerRow &row, std::span<const Setting> settings);
std::unique_ptr<Scheduler> make_scheduler(std::string_view name, std::span<const Setting> settings = {});

}  // namespace schedtuna::sim
