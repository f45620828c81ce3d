/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.hpp"

namespace schedtuna::sim
{

extern const SchedulerRow FAIR, FIFO, RR, SJF, SRTF, LAS, GITTINS, MLFQ, VTIME, INTERACTIVE, LOTTERY, STRIDE, GROUPED,
	EXTERNAL;

std::span<const SchedulerRow> schedulers()
{
	static const SchedulerRow rows[] = {FAIR, FIFO,	 RR,	      SJF,     SRTF,   LAS,    GITTINS,
					    MLFQ, VTIME, INTERACTIVE, LOTTERY, STRIDE, GROUPED};
	return rows;
}

const SchedulerRow &external_scheduler()
{
	return EXTERNAL;
}

namespace
{

template <typename Row> const Row &find(std::span<const Row> rows, std::string_view name, const std::string &what)
{
	std::string known;
	for (const Row &row : rows) {
		if (row.name == name)
			return row;
		known += (known.empty() ? "" : ", ") + std::string(row.name);
	}
	throw BadInput(what + " " + std::string(name) + ": " + (known.empty() ? "it has none" : "there are " + known));
}

}  // namespace

const SchedulerRow &scheduler_row(std::string_view name)
{
	return name == EXTERNAL.name ? EXTERNAL : find(schedulers(), name, "no scheduler");
}

std::vector<std::int64_t> complete_values(const SchedulerRow &row, std::span<const Setting> settings)
{
	const std::string name(row.name);
	std::vector<std::int64_t> values;
	for (const Parameter &parameter : row.parameters)
		values.push_back(parameter.initial);
	for (const Setting &setting : settings) {
		const Parameter &p = find(row.parameters, setting.name, "no parameter of " + name + " is");
		if (setting.value < p.least || setting.value > p.most)
			throw BadInput(setting.name + " of " + name + " is " + std::to_string(p.least) + " to "
				       + std::to_string(p.most));
		values[static_cast<std::size_t>(&p - row.parameters.data())] = setting.value;
	}
	return values;
}

std::unique_ptr<Scheduler> make_scheduler(std::string_view name, std::span<const Setting> settings)
{
	const SchedulerRow &row = scheduler_row(name);
	return row.make(complete_values(row, settings));
}

}  // namespace schedtuna::sim
