/* SPDX-License-Identifier: Apache-2.0 */
// Reads files of rt-app's from its input, each after a line "BYTES DIALECT", and answers each with a line of JSON.
#include "sim/rt_app.hpp"

#include <iostream>
#include <utility>

using namespace schedtuna::sim;

static std::string quoted(const std::string &text)
{
	std::string out = "\"";
	for (char c : text)
		if (c == '"' || c == '\\')
			out += std::string("\\") + c;
		else
			out += static_cast<unsigned char>(c) < ' ' ? '?' : c;
	return out + '"';
}

static std::string number(std::uint32_t index)
{
	return index == NONE ? "null" : std::to_string(index);
}

static std::string time_or_never(Ns ns)
{
	return ns == NEVER ? "null" : std::to_string(ns);
}

static void print(const Step &step)
{
	std::cout << "[" << static_cast<int>(step.op) << ",[" << static_cast<int>(step.amount.shape) << ","
		  << step.amount.a << "," << step.amount.b << "," << step.amount.c << "]," << number(step.object) << ","
		  << number(step.other) << "," << static_cast<int>(step.flags) << "," << static_cast<int>(step.depth)
		  << "]";
}

static void print(const Workload &workload)
{
	const char *comma = "";
	auto next = [&comma]() { return std::exchange(comma, ","); };
	std::cout << "{\"duration_ns\":" << time_or_never(workload.duration_ns) << ",\"programs\":[";
	for (const Program &program : workload.programs) {
		std::cout << next() << "{\"name\":" << quoted(program.name) << ",\"timers\":" << program.nr_timers
			  << ",\"steps\":[";
		for (comma = ""; const Step &step : program.steps) {
			std::cout << next();
			print(step);
		}
		std::cout << "]}";
	}
	std::cout << "],\"tasks\":[";
	for (comma = ""; const TaskDef &task : workload.tasks)
		std::cout << next() << "{\"name\":" << quoted(task.name) << ",\"program\":" << task.program
			  << ",\"nice\":" << int{task.nice} << ",\"policy\":" << static_cast<int>(task.policy)
			  << ",\"group\":" << quoted(workload.groups[task.group].name)
			  << ",\"cpu_set\":" << number(task.cpu_set) << ",\"slice_ns\":" << task.slice_ns
			  << ",\"start_ns\":" << time_or_never(task.start_ns) << "}";
	std::cout << "],\"groups\":{";
	for (comma = ""; const GroupDef &group : workload.groups)
		std::cout << next() << quoted(group.name) << ":" << group.shares;
	std::cout << "},\"resources\":[";
	for (comma = ""; const Resource &resource : workload.resources)
		std::cout << next() << "[" << quoted(resource.name) << "," << static_cast<int>(resource.kind) << ","
			  << resource.size << "]";
	std::cout << "],\"cpu_sets\":[";
	for (comma = ""; const auto &set : workload.cpu_sets) {
		std::cout << next() << "[";
		for (std::size_t i = 0; i < set.size(); i++)
			std::cout << (i ? "," : "") << set[i];
		std::cout << "]";
	}
	std::cout << "]}" << std::endl;
}

int main()
{
	std::size_t size;
	std::string dialect;
	while (std::cin >> size >> dialect && std::cin.get() == '\n') {
		std::string text(size, '\0');
		std::cin.read(text.data(), static_cast<std::streamsize>(size));
		try {
			print(parse_rt_app(text, "load.json",
					   dialect == "rt-app" ? Dialect::RtApp : Dialect::Extended));
		} catch (const BadInput &error) {
			std::cout << "{\"error\":" << quoted(error.what()) << "}" << std::endl;
		}
	}
}
