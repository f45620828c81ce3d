/* SPDX-License-Identifier: Apache-2.0 */
// Balancing: a CPU that runs out of tasks, a tick, or an idle CPU on behalf of all of them moves what waits elsewhere.
#include "fair.hpp"

#include <algorithm>
#include <utility>

namespace schedtuna::sim
{

namespace
{

constexpr std::uint32_t MAX_PINNED_INTERVAL_MS = 512;
constexpr std::uint32_t NR_MIGRATE = 32;
constexpr std::int64_t CPU_CAPACITY = 1024;

std::int64_t bounded_shift(std::int64_t value, std::uint32_t shift)  // shr_bound()
{
	return value >> std::min(shift, 63u);
}

}  // namespace

enum class Unit : std::uint8_t { Load, Util, Task };  // enum migration_type

// struct lb_env
struct Fair::Balance {
	CpuId dst;
	Domain &domain;
	Idle idle;
	CpuSet cpus;  // of the domain, without those whose tasks all are pinned
	Unit type = Unit::Load;
	std::int64_t imbalance = 0;
	CpuId src = NONE;
	bool all_pinned = true;
	std::uint32_t loop_max = 0;
};

// update_sd_pick_busiest()
bool Fair::is_busier(const Stats &stats, const Stats &busiest, bool busiest_is_smt)
{
	if (!stats.nr_runnable)
		return false;
	if (stats.type != busiest.type)
		return stats.type > busiest.type;
	if (stats.type == GroupType::Overloaded)
		return stats.avg_load > busiest.avg_load;
	bool has_spare = stats.type == GroupType::HasSpare
			 || (stats.type == GroupType::SmtBalance && (stats.idle_cpus || busiest.idle_cpus));
	if (!has_spare)
		return stats.avg_load > busiest.avg_load || (stats.avg_load == busiest.avg_load && !busiest_is_smt);
	if (stats.idle_cpus != busiest.idle_cpus)
		return stats.idle_cpus < busiest.idle_cpus;
	return stats.nr_running > busiest.nr_running;
}

// should_we_balance(): one CPU of each group does it, the first that is idle, else the first.
bool Fair::should_balance(const Machine &m, const Balance &env) const
{
	if (env.idle == Idle::Newly)
		return !queues_[env.dst].h_nr_queued;
	const CpuSet &group = env.domain.groups.front();
	CpuId idle_thread = NONE;
	for (CpuId cpu = group.first_of_both(env.cpus); cpu != NONE; cpu = group.first_of_both(env.cpus, cpu + 1)) {
		if (!is_idle(cpu))
			continue;
		if (env.domain.is_smt || is_idle_core(m, cpu))
			return cpu == env.dst;
		if (idle_thread == NONE)
			idle_thread = cpu;
	}
	return (idle_thread != NONE ? idle_thread : group.first_of_both(env.cpus)) == env.dst;
}

// sibling_imbalance()
static std::int64_t sibling_imbalance(bool is_idle, std::int64_t busiest, std::int64_t local,
				      std::int64_t cores_busiest, std::int64_t cores_local)
{
	if (!is_idle || !busiest)
		return 0;
	if (cores_busiest == cores_local)
		return std::max<std::int64_t>(busiest - local, 0);
	std::int64_t imbalance = std::max<std::int64_t>(cores_local * busiest - cores_busiest * local, 0);
	imbalance = (2 * imbalance + cores_local + cores_busiest) / (cores_local + cores_busiest);
	return imbalance <= 1 && local == 0 && busiest > 1 ? 2 : imbalance;
}

// calculate_imbalance(): how much of what is to be moved. 0: nothing.
void Fair::set_imbalance(Balance &env, Stats &local, const Stats &busiest, std::int64_t average,
			 std::int64_t spread) const
{
	if (busiest.type == GroupType::SmtBalance) {
		env.type = Unit::Task;
		env.imbalance = 1;
	} else if (local.type == GroupType::HasSpare) {
		if (busiest.type > GroupType::FullyBusy && !env.domain.is_llc) {
			env.type = Unit::Util;
			env.imbalance = std::max(local.capacity, local.util) - local.util;
			if (env.idle != Idle::Not && !env.imbalance) {
				env.type = Unit::Task;
				env.imbalance = 1;
			}
		} else {
			env.type = Unit::Task;
			env.imbalance = busiest.nr_cpus == 1 || env.domain.prefer_sibling
						? spread
						: std::max<std::int64_t>(0, static_cast<std::int64_t>(local.idle_cpus)
										    - busiest.idle_cpus);
			if (env.domain.is_numa)
				env.imbalance = beyond_numa(env.imbalance, local.nr_running + 1,
							    env.domain.imb_numa_nr);
			env.imbalance >>= 1;
		}
	} else {
		if (local.type < GroupType::Overloaded) {
			local.average();
			if (local.avg_load >= busiest.avg_load || local.avg_load >= average)
				return;
		}
		env.type = Unit::Load;
		env.imbalance = std::min((busiest.avg_load - average) * busiest.capacity,
					 (average - local.avg_load) * local.capacity)
				/ CPU_CAPACITY;
	}
}

// sched_balance_find_src_group(): from which group, and how much; null: from none.
const CpuSet *Fair::find_busiest_group(const Machine &m, Balance &env)
{
	Stats local, busiest;
	busiest.idle_cpus = NONE;
	const CpuSet *found = nullptr;
	std::int64_t total_load = 0, total_capacity = 0, total_util = 0;
	bool is_idle = env.idle != Idle::Not;
	for (const CpuSet &group : env.domain.groups) {
		bool is_local = &group == &env.domain.groups.front();
		Stats stats = stats_of(group, env.domain,
				       !is_local && is_idle && group.count() > 1 && m.sibling_of(env.dst) != NONE
					       && group.count() == 2 && !env.domain.is_smt);
		total_load += stats.load;
		total_capacity += stats.capacity;
		total_util += stats.util;
		if (is_local) {
			local = stats;
		} else if (is_busier(stats, busiest, found && found->count() > 1)) {
			busiest = stats;
			found = &group;
		}
	}
	if (env.domain.is_llc && !env.domain.is_smt)
		update_idle_scan(env, total_util);
	if (!found || local.type > busiest.type)
		return nullptr;
	std::int64_t average = total_load * CPU_CAPACITY / total_capacity;
	if (local.type == GroupType::Overloaded
	    && (local.avg_load >= busiest.avg_load || local.avg_load >= average
		|| 100 * busiest.avg_load <= env.domain.imbalance_pct * local.avg_load))
		return nullptr;
	bool threads = m.sibling_of(env.dst) != NONE && !env.domain.is_smt;
	std::int64_t spread = sibling_imbalance(is_idle, busiest.nr_running, local.nr_running,
						threads ? (busiest.nr_cpus + 1) / 2 : busiest.nr_cpus,
						threads ? (local.nr_cpus + 1) / 2 : local.nr_cpus);
	bool spreads = env.domain.prefer_sibling && local.type == GroupType::HasSpare && spread > 1;
	if (!spreads && busiest.type != GroupType::Overloaded) {
		if (!is_idle || (busiest.nr_cpus > 1 && local.idle_cpus <= busiest.idle_cpus + 1)
		    || busiest.nr_runnable == 1)
			return nullptr;
	}
	set_imbalance(env, local, busiest, average, spread);
	return env.imbalance ? found : nullptr;
}

// update_idle_cpu_scan(): how many CPUs of an LLC a wakeup looks at (SIS_UTIL).
void Fair::update_idle_scan(const Balance &env, std::int64_t util)
{
	if (env.idle == Idle::Newly)
		return;
	Llc &llc = llcs_[cpus_[env.dst].llc];
	std::int64_t size = llc.span.count(), x = util / size, pct = env.domain.imbalance_pct;
	std::int64_t taken = std::min(x * x * pct * pct / (10'000 * CPU_CAPACITY), CPU_CAPACITY);
	llc.nr_idle_scan = static_cast<std::uint32_t>((CPU_CAPACITY - taken) * size / CPU_CAPACITY);
}

// sched_balance_find_src_rq()
CpuId Fair::find_busiest_queue(const Balance &env, const CpuSet &group) const
{
	CpuId busiest = NONE;
	std::int64_t most = 0;
	for (CpuId cpu = group.first_of_both(env.cpus); cpu != NONE; cpu = group.first_of_both(env.cpus, cpu + 1)) {
		std::int64_t nr_running = queues_[cpu].h_nr_runnable, amount = nr_running;
		if (!nr_running)
			continue;
		if (env.type == Unit::Load) {
			amount = queue_loads_[cpu].load_avg;
			if (nr_running == 1 && amount > env.imbalance)
				continue;
		} else if (env.type == Unit::Util) {
			amount = std::min(queue_loads_[cpu].util_avg, CPU_CAPACITY);
			if (nr_running <= 1)
				continue;
		}
		if (amount > most) {
			most = amount;
			busiest = cpu;
		}
	}
	return busiest;
}

// can_migrate_task()
bool Fair::can_migrate(const Machine &m, Balance &env, TaskId id) const
{
	const Task &task = m.task(id);
	const Entity &entity = entities_[entity_of(id)];
	const FairQueue &from = queues_[entity.queue], &to = queues_[queue_of(task.group, env.dst)];
	if (entity.delayed && env.type != Unit::Load)
		return false;
	if (!env.domain.nr_failed && params_.place_lag && to.nr_queued && !from.eligible(entities_, entity.vruntime))
		return false;
	const CpuSet &allowed = m.cpus(id);
	if ((task.is_kthread && allowed.has_one()) || !allowed.has(env.dst))
		return false;
	env.all_pinned = false;
	if (cpus_[env.src].running == id)
		return false;
	// task_hot()
	bool is_hot = false;
	if (!entity.idle && !env.domain.is_smt) {
		is_hot = (queues_[env.dst].h_nr_queued && from.next == entity_of(id))
			 || m.clock_task(env.src) - entity.exec_start < params_.migration_cost_us * 1000;
	}
	return !is_hot || env.domain.nr_failed > env.domain.cache_nice_tries;
}

Migration Fair::describe(const Machine &m, TaskId id, CpuId from, CpuId to, bool wakes) const
{
	Migration migration;
	migration.task = id;
	migration.from = from;
	migration.to = to;
	migration.wakes = wakes;
	for (CpuId cpu = 0; cpu < m.nr_cpus(); cpu++)
		migration.nr_idle += !queues_[cpu].h_nr_runnable;
	migration.nr_busy = m.nr_cpus() - migration.nr_idle;
	migration.from_load = static_cast<std::uint32_t>(std::min(queue_loads_[from].util_avg, CPU_CAPACITY));
	migration.to_load = static_cast<std::uint32_t>(std::min(queue_loads_[to].util_avg, CPU_CAPACITY));
	return migration;
}

void Fair::detach(Machine &m, TaskId id, CpuId to)
{
	EntityId entity = entity_of(id);
	dequeue_entities(m, entity, Leave::Migrate);
	m.migrate(id, to);
	entities_[entity].queue = queue_of(m.task(id).group, to);
	loads_[entity].last_update = 0;
}

void Fair::attach(Machine &m, TaskId id)
{
	enqueue_task(m, id, false, true);
	check_preempt(m, m.task(id).cpu, id, false);
}

// detach_tasks() and attach_tasks(): those that were queued or picked least recently first.
std::uint32_t Fair::pull(Machine &m, Balance &env)
{
	const Cpu &src = cpus_[env.src];
	const FairQueue &from = queues_[env.src];
	std::vector<TaskId> moved;
	for (std::uint32_t i = 0; i < env.loop_max && src.tasks_last != NONE && env.imbalance > 0; i++) {
		if (env.idle != Idle::Not && from.h_nr_queued <= 1)
			break;
		TaskId id = src.tasks_last;
		bool moves = can_migrate(m, env, id);
		std::int64_t amount = 1;
		if (moves && env.type != Unit::Task) {
			amount = env.type == Unit::Load ? std::max<std::int64_t>(h_load(id), 1)
							: loads_[entity_of(id)].util_avg;
			moves = bounded_shift(amount, env.domain.nr_failed) <= env.imbalance;
		}
		if (moves && m.shall_migrate([&] { return describe(m, id, env.src, env.dst, false); })) {
			env.imbalance -= amount;
			detach(m, id, env.dst);
			moved.push_back(id);
			if (env.idle == Idle::Newly)  // CONFIG_PREEMPTION
				break;
		} else {
			unlist_task(env.src, id);  // to the other end
			list_task(env.src, id);
		}
	}
	for (TaskId id : moved)
		attach(m, id);
	return static_cast<std::uint32_t>(moved.size());
}

// sched_balance_rq(): how many tasks were moved. `go_on`: wider domains are worth a look.
std::uint32_t Fair::load_balance(Machine &m, CpuId cpu, Domain &domain, Idle idle, bool &go_on)
{
	Balance env{cpu, domain, idle, domain.span};
	std::uint32_t nr_moved = 0;
	bool is_active = false, was_balanced = true;
	for (;;) {
		if (!should_balance(m, env)) {
			go_on = false;
			domain.last_look = IdleReason::OtherBalancer;
			break;
		}
		const CpuSet *group = find_busiest_group(m, env);
		env.src = group ? find_busiest_queue(env, *group) : NONE;
		domain.last_look = env.src == NONE ? IdleReason::Balanced : IdleReason::NotMovable;
		if (env.src == NONE)
			break;
		was_balanced = false;
		env.all_pinned = true;
		if (queues_[env.src].h_nr_queued > 1) {
			env.loop_max = std::min(NR_MIGRATE, queues_[env.src].h_nr_queued);
			nr_moved = pull(m, env);
			if (env.all_pinned) {
				env.cpus.clear(env.src);
				was_balanced = true;
				if (env.cpus.first_of_both(domain.span) != NONE
				    && env.cpus.count() > domain.groups.front().count())
					continue;
			}
		}
		break;
	}
	if (was_balanced) {
		domain.nr_failed = 0;
		if (idle != Idle::Newly
		    && ((env.all_pinned && env.src != NONE && domain.interval_ms < MAX_PINNED_INTERVAL_MS)
			|| domain.interval_ms < 2 * domain.min_interval_ms))
			domain.interval_ms *= 2;
		return 0;
	}
	if (nr_moved) {
		domain.nr_failed = 0;
	} else {
		if (idle != Idle::Newly)
			domain.nr_failed++;
		if (env.type == Unit::Task && domain.nr_failed > domain.cache_nice_tries + 2)
			is_active = active_balance(m, env);
	}
	if (!is_active)
		domain.interval_ms = domain.min_interval_ms;
	return nr_moved;
}

// active_load_balance_cpu_stop(): the task that runs there is put back and taken away.
bool Fair::active_balance(Machine &m, const Balance &env)
{
	TaskId id = cpus_[env.src].running;
	if (id == NONE || !m.cpus(id).has(env.dst) || cpus_[env.src].push_to != NONE)
		return false;
	cpus_[env.src].push_to = env.dst;
	m.resched(env.src);
	return true;
}

// The stopper has preempted what ran on the CPU; now one task that waits goes where active balancing wants it.
void Fair::push(Machine &m, CpuId cpu)
{
	CpuId to = std::exchange(cpus_[cpu].push_to, NONE);
	if (queues_[cpu].h_nr_queued == 0)  // the stopper counts among those that run, so one task is enough
		return;
	for (TaskId id = cpus_[cpu].tasks_last; id != NONE; id = infos_[id].before) {
		if (entities_[entity_of(id)].delayed || !m.cpus(id).has(to)
		    || !m.shall_migrate([&] { return describe(m, id, cpu, to, false); }))
			continue;
		if (id == cpus_[cpu].running)
			put_prev_task(m, cpu);
		detach(m, id, to);
		attach(m, id);
		for (Domain &domain : cpus_[to].domains)
			if (domain.span.has(cpu)) {
				domain.nr_failed = 0;
				break;
			}
		return;
	}
}

}  // namespace schedtuna::sim
