/* SPDX-License-Identifier: Apache-2.0 */
// The only binding: translates between Python and the simulator, and decides nothing. Python sees it through
// src/schedtuna/sim/; _native.pyi there says what is in it.
#include "env_binding.hpp"
#include "flat_binding.hpp"
#include "pick_binding.hpp"
#include "python_scheduler.hpp"
#include "scx_binding.hpp"
#include "simulation_binding.hpp"

namespace nb = nanobind;

NB_MODULE(_native, m)
{
	using namespace schedtuna::sim;
	nb::set_leak_warnings(false);  // what a program keeps until it ends is no fault of its user's
	nb::exception<BadInput>(m, "BadInputError");
	nb::exception<SchedulerError>(m, "SchedulerError");
	nb::enum_<EnqueueReason>(m, "EnqueueReason")
		.value("WAKEUP", EnqueueReason::Wakeup)
		.value("FORK", EnqueueReason::Fork)
		.value("PUT_BACK", EnqueueReason::PutBack)
		.value("YIELD", EnqueueReason::Yield)
		.value("MIGRATE", EnqueueReason::Migrate);
	nb::enum_<DequeueReason>(m, "DequeueReason")
		.value("SLEEP", DequeueReason::Sleep)
		.value("EXIT", DequeueReason::Exit)
		.value("MIGRATE", DequeueReason::Migrate);
	nb::enum_<TaskState>(m, "TaskState")
		.value("UNBORN", TaskState::Unborn)
		.value("QUEUED", TaskState::Queued)
		.value("RUNNING", TaskState::Running)
		.value("BLOCKED", TaskState::Blocked)
		.value("DEAD", TaskState::Dead);
	nb::enum_<Policy>(m, "Policy")
		.value("OTHER", Policy::Other)
		.value("BATCH", Policy::Batch)
		.value("IDLE", Policy::Idle);
	m.attr("NEVER") = NEVER;
	m.attr("LONGEST_NS") = LONGEST;
	bind_tables(m);
	bind_machine(m);
	bind_simulation(m);
	bind_picks(m);
	bind_flat(m);
	schedtuna::scx::bind_scx(m);
	schedtuna::env::bind_env(m);
	schedtuna::env::bind_migrate(m);
	schedtuna::env::bind_futures(m);
}
