/* SPDX-License-Identifier: Apache-2.0 */
#include "machine_view.hpp"
#include "python_scheduler.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>

namespace nb = nanobind;

namespace schedtuna::sim
{

thread_local Machine *InCallback::machine_ = nullptr;

namespace
{

Machine &machine()
{
	return InCallback::machine();
}

TaskId known(TaskView task)
{
	if (task.id >= machine().nr_tasks())
		throw nb::index_error("the machine has no such task");
	return task.id;
}

Task &of(TaskView task)
{
	return machine().task(known(task));
}

CpuId known(CpuId cpu)
{
	if (cpu >= machine().nr_cpus())
		throw nb::index_error("the machine has no such CPU");
	return cpu;
}

GroupId known_group(GroupId group)
{
	if (group >= machine().nr_groups())
		throw nb::index_error("the machine has no such group");
	return group;
}

Ns positive(Ns time)
{
	if (time < 0)
		throw nb::value_error("a length of time is not negative");
	return time;
}

std::optional<TaskView> task_or_none(TaskId id)
{
	return id == NONE ? std::nullopt : std::optional(TaskView{id});
}

std::optional<CpuId> cpu_or_none(CpuId cpu)
{
	return cpu == NONE ? std::nullopt : std::optional(cpu);
}

std::vector<CpuId> members(const CpuSet &set)
{
	std::vector<CpuId> cpus;
	for (CpuId cpu = set.first_of_both(set); cpu != NONE; cpu = set.first_of_both(set, cpu + 1))
		cpus.push_back(cpu);
	return cpus;
}

void bind_task(nb::module_ &m)
{
	nb::class_<TaskView> task(m, "Task");
	task.def_ro("id", &TaskView::id)
		.def("__eq__", [](TaskView a, TaskView b) { return a.id == b.id; })
		.def(
			"__eq__", [](TaskView, nb::object) { return false; }, nb::arg().none())
		.def("__hash__", [](TaskView a) { return a.id; })
		.def("__repr__", [](TaskView a) { return "Task(" + std::to_string(a.id) + ")"; })
		.def("__copy__", [](TaskView a) { return a; })
		.def("__deepcopy__", [](TaskView a, nb::handle) { return a; });
#define PROPERTY(name) task.def_prop_ro(#name, [](TaskView t) { return of(t).name; })
	PROPERTY(cpu);
	PROPERTY(weight);
	PROPERTY(state);
	PROPERTY(policy);
	PROPERTY(is_kthread);
	PROPERTY(group);
	PROPERTY(custom_slice_ns);
#undef PROPERTY
	task.def_prop_ro("nice", [](TaskView t) { return static_cast<int>(of(t).nice); })
		.def_prop_ro("cpu_time_ns", [](TaskView t) { return machine().cpu_time_ns(known(t)); })
		.def_prop_ro("burst_left_ns", [](TaskView t) { return machine().burst_left_ns(known(t)); })
		.def_prop_ro("cpus", [](TaskView t) { return members(machine().cpus(known(t))); })
		.def("may_run_on", [](TaskView t, CpuId cpu) { return machine().cpus(known(t)).has(cpu); })
		.def_prop_rw(
			"slice_ns", [](TaskView t) { return of(t).slice_ns; },
			[](TaskView t, Ns slice_ns) { of(t).slice_ns = positive(slice_ns); })
		.def_prop_rw(
			"vtime", [](TaskView t) { return of(t).vtime; },
			[](TaskView t, Ns vtime) { of(t).vtime = vtime; });
}

void bind_queues(nb::class_<MachineView> &view)
{
	view.def("local_dsq", [](MachineView, CpuId cpu) { return LOCAL_DSQ | known(cpu); })
		.def("create_dsq", [](MachineView) { return machine().create_dsq(); })
		.def("dsq_insert", [](MachineView, TaskView task, std::uint32_t dsq,
				      Ns slice_ns) { machine().dsq_insert(known(task), dsq, positive(slice_ns)); })
		.def("dsq_insert_vtime",
		     [](MachineView, TaskView task, std::uint32_t dsq, Ns slice_ns, Ns vtime) {
			     machine().dsq_insert_vtime(known(task), dsq, positive(slice_ns), vtime);
		     })
		.def("dsq_move_to_local", [](MachineView, std::uint32_t dsq,
					     CpuId cpu) { return machine().dsq_move_to_local(dsq, known(cpu)); })
		.def("dsq_nr_queued", [](MachineView, std::uint32_t dsq) { return machine().dsq_nr_queued(dsq); })
		.def("dsq_peek", [](MachineView, std::uint32_t dsq) { return task_or_none(machine().dsq_peek(dsq)); })
		.def("dsq_remove", [](MachineView, TaskView task) { return machine().dsq_remove(known(task)); });
}

}  // namespace

void bind_machine(nb::module_ &m)
{
	bind_task(m);
	m.attr("GLOBAL_DSQ") = GLOBAL_DSQ;
	nb::class_<MachineView> view(m, "Machine");
	view.def("__copy__", [](MachineView) { return MachineView{}; })
		.def("__deepcopy__", [](MachineView, nb::handle) { return MachineView{}; })
		.def_prop_ro("now_ns", [](MachineView) { return machine().now(); })
		.def_prop_ro("nr_cpus", [](MachineView) { return machine().nr_cpus(); })
		.def_prop_ro("nr_tasks", [](MachineView) { return machine().nr_tasks(); })
		.def_prop_ro("nr_groups", [](MachineView) { return machine().nr_groups(); })
		.def_prop_ro("tick_ns", [](MachineView) { return machine().tick_ns(); })
		.def_prop_ro("this_cpu", [](MachineView) { return machine().this_cpu(); })
		.def_prop_ro("in_interrupt", [](MachineView) { return machine().in_interrupt(); })
		.def_prop_ro("wake_sync", [](MachineView) { return machine().wake_sync(); })
		.def_prop_ro("idle_cpus", [](MachineView) { return members(machine().idle_cpus()); })
		.def("clock_task_ns", [](MachineView, CpuId cpu) { return machine().clock_task(known(cpu)); })
		.def("task",
		     [](MachineView, TaskId id) {
			     known(TaskView{id});
			     return TaskView{id};
		     })
		.def("current", [](MachineView, CpuId cpu) { return task_or_none(machine().current(known(cpu))); })
		.def("llc_of", [](MachineView, CpuId cpu) { return machine().llc_of(known(cpu)); })
		.def_prop_ro("nr_nodes", [](MachineView) { return machine().nr_nodes(); })
		.def("node_of", [](MachineView, CpuId cpu) { return machine().node_of(known(cpu)); })
		.def("home_of", [](MachineView, TaskView task) { return cpu_or_none(machine().home_of(known(task))); })
		.def("capacity_of", [](MachineView, CpuId cpu) { return machine().capacity_of(known(cpu)); })
		.def("sibling_of", [](MachineView, CpuId cpu) { return cpu_or_none(machine().sibling_of(known(cpu))); })
		.def("group_weight",
		     [](MachineView, GroupId group) { return machine().group_weight(known_group(group)); })
		.def("group_parent",
		     [](MachineView, GroupId group) { return cpu_or_none(machine().group_parent(known_group(group))); })
		.def("charge", [](MachineView, CpuId cpu) { machine().charge(known(cpu)); })
		.def("test_and_clear_idle",
		     [](MachineView, CpuId cpu) { return machine().test_and_clear_idle(known(cpu)); })
		.def("pick_idle_cpu",
		     [](MachineView, TaskView task, CpuId near) {
			     return cpu_or_none(machine().pick_idle_cpu(machine().cpus(known(task)), known(near)));
		     })
		.def(
			"kick",
			[](MachineView, CpuId cpu, bool preempt) {
				machine().kick(known(cpu), preempt ? Kick::Preempt : Kick::Idle);
			},
			nb::arg("cpu"), nb::arg("preempt") = false)
		.def("resched", [](MachineView, CpuId cpu) { machine().resched(known(cpu)); })
		.def("need_resched", [](MachineView, CpuId cpu) { return machine().need_resched(known(cpu)); })
		.def(
			"set_timer",
			[](MachineView, CpuId cpu, std::optional<Ns> when_ns) {
				machine().set_timer(known(cpu), std::max(when_ns.value_or(NEVER), machine().now()));
			},
			nb::arg("cpu"), nb::arg("when_ns").none())
		.def("migrate",
		     [](MachineView, TaskView task, CpuId to) { machine().migrate(known(task), known(to)); });
	bind_queues(view);
}

}  // namespace schedtuna::sim
