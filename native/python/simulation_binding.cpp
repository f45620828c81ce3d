/* SPDX-License-Identifier: Apache-2.0 */
#include "simulation_binding.hpp"
#include "python_scheduler.hpp"
#include "sim/fair_idle.hpp"
#include "sim/external.hpp"
#include "sim/fair_params.hpp"
#include "sim/registry.hpp"
#include "sim/rt_app.hpp"
#include "sim/simulation.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

namespace nb = nanobind;

namespace schedtuna::sim
{

Costs costs_of(const Numbers &given)
{
	Costs costs;
	for (const auto &[name, value] : given) {
		auto row = std::find_if(COST_TABLE.begin(), COST_TABLE.end(),
					[&](const CostRow &each) { return each.name == name; });
		if (row == COST_TABLE.end())
			throw BadInput("costs: there is no " + name);
		costs.*row->field = value;
	}
	return costs;
}

namespace
{

std::optional<Ns> time_or_none(Ns time)
{
	return time == NEVER ? std::nullopt : std::optional(time);
}

std::unique_ptr<Scheduler> chosen_scheduler(std::string_view name, const Numbers &values)
{
	std::vector<Setting> settings;
	for (const auto &[parameter, value] : values)
		settings.push_back({parameter, value});
	return make_scheduler(name, settings);
}

std::unique_ptr<Simulation> new_simulation(const Workload &workload, const Scheduler &scheduler, std::uint64_t seed,
					   std::uint64_t noise_seed, const Topology &topology, const Numbers &costs)
{
	return std::make_unique<Simulation>(topology, costs_of(costs), workload, scheduler.clone(),
					    Seeds{seed, noise_seed});
}

// Without Python's lock, unless the scheduler needs it.
template <typename Call> Stop unlocked(const Simulation &simulation, Call call)
{
	if (dynamic_cast<const PythonScheduler *>(&simulation.scheduler())
	    || dynamic_cast<const PythonScheduler *>(simulation.coming()))
		return call();
	nb::gil_scoped_release release;
	return call();
}

nb::dict totals(const Simulation &simulation)
{
	Totals t = simulation.totals();
	nb::dict all;
	all["nr_events"] = t.nr_events;
	all["nr_switches"] = t.nr_switches;
	all["nr_wakeups"] = t.nr_wakeups;
	all["nr_migrations"] = t.nr_migrations;
	all["nr_ticks"] = t.nr_ticks;
	all["idle_ns"] = t.idle_ns;
	all["interrupts_ns"] = t.interrupts_ns;
	all["overhead_ns"] = t.overhead_ns;
	all["hash"] = t.hash;
	return all;
}

nb::tuple task(const Simulation &simulation, TaskId id)
{
	const Task &t = simulation.task(id);
	TaskId parent = simulation.parent_of(id);
	nb::object parent_id = parent == NONE ? nb::none() : nb::cast(parent);
	return nb::make_tuple(id, simulation.name_of(id), t.state, t.cpu, simulation.cpu_time_ns(id),
			      static_cast<int>(t.nice), t.policy, t.weight, t.custom_slice_ns,
			      static_cast<GroupId>(t.group), t.is_kthread, parent_id);
}

nb::list tasks(const Simulation &simulation)
{
	nb::list all;
	for (TaskId id = 0; id < simulation.nr_tasks(); id++)
		all.append(task(simulation, id));
	return all;
}

std::vector<std::optional<TaskId>> currents(const Simulation &simulation)
{
	std::vector<std::optional<TaskId>> all;
	for (CpuId cpu = 0; cpu < simulation.nr_cpus(); cpu++) {
		TaskId id = simulation.current(cpu);
		all.push_back(id == NONE ? std::nullopt : std::optional(id));
	}
	return all;
}

// Of each task: when it was born and died, voluntary and involuntary switches.
std::vector<std::tuple<Ns, std::optional<Ns>, std::uint64_t, std::uint64_t>> tallies(const Simulation &simulation)
{
	std::vector<std::tuple<Ns, std::optional<Ns>, std::uint64_t, std::uint64_t>> all;
	for (TaskId id = 0; id < simulation.nr_tasks(); id++) {
		TaskTally tally = simulation.tally_of(id);
		all.emplace_back(tally.born_at, time_or_none(tally.died_at), tally.nr_voluntary_switches,
				 tally.nr_involuntary_switches);
	}
	return all;
}

// The sets of CPUs that attributes name, from number 1 on.
std::vector<std::vector<CpuId>> cpu_sets(const Simulation &simulation)
{
	std::vector<std::vector<CpuId>> all;
	for (std::uint32_t number = 1; number <= simulation.nr_cpu_sets(); number++)
		all.push_back(simulation.cpu_set(number));
	return all;
}

// A row of CandidateRow per candidate.
nb::bytes candidate_rows(const Simulation &simulation)
{
	const auto *external = dynamic_cast<const External *>(&simulation.scheduler());
	if (!external)
		throw BadInput("`external` alone keeps what is known of candidates");
	std::vector<CandidateRow> rows;
	for (TaskId id : simulation.candidates())
		rows.push_back(external->row(simulation, id));
	return nb::bytes(reinterpret_cast<const char *>(rows.data()), rows.size() * sizeof(CandidateRow));
}

nb::object next_migration(const Simulation &simulation, Ns until)
{
	std::optional<Migration> found = simulation.next_migration(until);
	if (!found)
		return nb::none();
	return nb::make_tuple(found->nth, found->at_ns, found->task, found->from, found->to, found->wakes,
			      found->nr_idle, found->nr_busy, found->from_load, found->to_load);
}

nb::tuple scheduler_row(const SchedulerRow &row)
{
	nb::list parameters;
	for (const Parameter &p : row.parameters)
		parameters.append(
			nb::make_tuple(p.name, p.kind == ParameterKind::Flag, p.initial, p.least, p.most, p.help));
	return nb::make_tuple(row.name, row.help, parameters);
}

// Whether a task goes round for ever, so that only a duration ends the workload.
bool is_endless(const Workload &workload)
{
	for (const Program &program : workload.programs)
		for (const Step &step : program.steps)
			if (step.op == Op::Loop && step.amount.a < 0)
				return true;
	return false;
}

// Name, parent and shares of each.
std::vector<std::tuple<std::string, std::optional<GroupId>, std::uint32_t>> groups(const Workload &workload)
{
	std::vector<std::tuple<std::string, std::optional<GroupId>, std::uint32_t>> all;
	for (const GroupDef &group : workload.groups)
		all.emplace_back(group.name, group.parent == NONE ? std::nullopt : std::optional(group.parent),
				 group.shares);
	return all;
}

}  // namespace

void bind_tables(nb::module_ &m)
{
	m.def("cost_table", [] {
		nb::list rows;
		for (const CostRow &row : COST_TABLE)
			rows.append(
				nb::make_tuple(row.name, row.initial, row.unit, row.source, row.fitted == Fitted::Yes));
		return rows;
	});
	m.def("left_out_table", [] {
		nb::list rows;
		for (const LeftOut &row : LEFT_OUT)
			rows.append(nb::make_tuple(row.name, row.why));
		return rows;
	});
	m.def("idle_reason_table", [] {
		nb::list rows;
		for (const IdleReasonRow &row : IDLE_REASONS)
			rows.append(nb::make_tuple(row.name, row.help));
		return rows;
	});
	m.def("scheduler_table", [] {
		nb::list rows;
		for (const SchedulerRow &row : schedulers())
			rows.append(scheduler_row(row));
		return rows;
	});
	m.def("external_row", [] { return scheduler_row(external_scheduler()); });
}

void bind_simulation(nb::module_ &m)
{
	nb::class_<Workload>(m, "Workload")
		.def_prop_ro("duration_ns", [](const Workload &w) { return time_or_none(w.duration_ns); })
		.def_prop_ro("nr_tasks", [](const Workload &w) { return w.tasks.size(); })
		.def_prop_ro("groups", &groups)
		.def_prop_ro("is_endless", &is_endless);
	m.def(
		"parse_rt_app",
		[](std::string_view text, const std::string &name, bool rt_app_alone) {
			return parse_rt_app(text, name, rt_app_alone ? Dialect::RtApp : Dialect::Extended);
		},
		nb::arg("text"), nb::arg("name"), nb::kw_only(), nb::arg("rt_app_alone") = false);

	nb::class_<Scheduler>(m, "NativeScheduler");
	m.def("make_scheduler", &chosen_scheduler, nb::arg("name"), nb::arg("settings"));
	m.def(
		"python_scheduler",
		[](std::string name, nb::object scheduler,
		   const std::vector<std::string> &callbacks) -> std::unique_ptr<Scheduler> {
			return std::make_unique<PythonScheduler>(std::move(name), std::move(scheduler), callbacks);
		},
		nb::arg("name"), nb::arg("scheduler"), nb::arg("callbacks"));
	m.attr("CALLBACKS") = nb::cast(std::vector<std::string>(CALLBACKS.begin(), CALLBACKS.end()));

	nb::enum_<Stop>(m, "Stop")
		.value("TIME", Stop::Time)
		.value("ALL_EXITED", Stop::AllExited)
		.value("DEADLOCK", Stop::Deadlock)
		.value("DECISION", Stop::Decision);
	nb::class_<Topology>(m, "Topology")
		.def(nb::init<std::uint32_t, std::uint32_t, std::uint32_t>(), nb::arg("nr_cpus"),
		     nb::arg("cpus_per_llc") = 0, nb::arg("threads_per_core") = 1);
	nb::class_<Simulation>(m, "Simulation")
		.def(nb::new_(&new_simulation), nb::arg("workload"), nb::arg("scheduler"), nb::arg("seed"),
		     nb::arg("noise_seed"), nb::arg("topology"), nb::arg("costs"))
		.def("fork", [](const Simulation &s) { return std::make_unique<Simulation>(s); })
		.def("run", [](Simulation &s, Ns until) { return unlocked(s, [&] { return s.run(until); }); })
		.def("step", [](Simulation &s) { return unlocked(s, [&] { return s.step(); }); })
		.def(
			"explain_idle",
			[](Simulation &s, Ns until) {
				IdleTimes times = explain_idle(s, until);
				return std::vector<Ns>(times.begin(), times.end());
			},
			nb::call_guard<nb::gil_scoped_release>())
		.def("stop_at_pick", &Simulation::stop_at_pick)
		.def("candidates", &Simulation::candidates)
		.def("candidate_rows", &candidate_rows)
		.def(
			"choose", [](Simulation &s, std::optional<TaskId> next) { s.choose(next.value_or(NONE)); },
			nb::arg("task_id").none())
		.def("preempt", &Simulation::preempt)
		.def("choose_own", [](Simulation &s) { s.choose_own(); })
		.def("place_at_wakeup", &Simulation::place_at_wakeup)
		.def("next_migration", &next_migration)
		.def("decide_migration", &Simulation::decide_migration)
		.def("set_nice", [](Simulation &s, TaskId id, Ns nice) { s.set_attribute(id, Op::SetNice, nice); })
		.def("set_policy", [](Simulation &s, TaskId id,
				      Policy policy) { s.set_attribute(id, Op::SetPolicy, static_cast<Ns>(policy)); })
		.def("set_slice", [](Simulation &s, TaskId id, Ns slice) { s.set_attribute(id, Op::SetSlice, slice); })
		.def("swap", [](Simulation &s, const Scheduler &next) { s.swap(next.clone()); })
		.def("set_group_weight", &Simulation::set_group_weight)
		.def("set_parameters",
		     [](Simulation &s, const Numbers &values) {
			     std::vector<Setting> settings;
			     for (const auto &[parameter, value] : values)
				     settings.push_back({parameter, value});
			     s.set_parameters(complete_values(scheduler_row(s.scheduler().name()), settings));
		     })
		.def("set_traced", &Simulation::set_traced)
		.def("take_events", [](Simulation &s) { return bytes_of(s.take_events()); })
		.def("take_attributes", [](Simulation &s) { return bytes_of(s.take_attributes()); })
		.def("tallies", &tallies)
		.def("cpu_sets", &cpu_sets)
		.def("waiting", &Simulation::waiting)
		.def("totals", &totals)
		.def("tasks", &tasks)
		.def("currents", &currents)
		.def_prop_ro("scheduler",
			     [](const Simulation &s) -> nb::object {
				     auto *python = dynamic_cast<const PythonScheduler *>(&s.scheduler());
				     return python ? python->object() : nb::none();
			     })
		.def_prop_ro("scheduler_name", [](const Simulation &s) { return std::string(s.scheduler().name()); })
		.def_prop_ro("nr_picks", &Simulation::nr_picks)
		.def_prop_ro("deciding_cpu",
			     [](const Simulation &s) {
				     CpuId cpu = s.deciding_cpu();
				     return cpu == NONE ? std::nullopt : std::optional(cpu);
			     })
		.def_prop_ro("now_ns", &Simulation::now)
		.def_prop_ro("next_event_ns", [](const Simulation &s) { return time_or_none(s.next_event()); })
		.def_prop_ro("nr_tasks", &Simulation::nr_tasks);
	m.def("bytes_needed", &Simulation::bytes_needed, nb::arg("nr_cpus"), nb::arg("nr_tasks"));
}

}  // namespace schedtuna::sim
