/* SPDX-License-Identifier: Apache-2.0 */
#include "fair.hpp"

#include "registry.hpp"

#include <algorithm>
#include <bit>

namespace schedtuna::sim
{

namespace
{

FairParams params_of(Values values)
{
	FairParams params;
	for (std::size_t i = 0; i < FAIR_PARAMETERS.size(); i++)
		params.*FAIR_PARAMETERS[i].field = values[i];
	if (params.version == 617)
		throw BadInput("version of fair is 616 or 618");
	return params;
}

}  // namespace

std::string_view Fair::refuses(const Machine &m) const
{
	return m.has_slow_cpus() ? refuses_uneven(m) : std::string_view{};
}

void Fair::scale_parameters(const Machine &m)
{
	std::uint32_t cpus = std::min(m.nr_cpus(), 8u);
	params_.base_slice_ns = params_.base_slice_us * 1000 * std::bit_width(cpus);
	params_.tick_ns = m.tick_ns() ? m.tick_ns() : 4'000'000;
}

// As through debugfs: a task's own slice follows when it is placed, or its deadline is renewed.
bool Fair::set_parameters(Machine &m, Values values)
{
	FairParams params = params_of(values);
	if (params.version != params_.version)
		throw BadInput("version of fair holds from its beginning on");
	params_ = params;
	scale_parameters(m);
	return true;
}

void Fair::init(Machine &m)
{
	nr_cpus_ = m.nr_cpus();
	scale_parameters(m);
	nr_queues_ = m.nr_groups() * nr_cpus_;
	queues_.resize(nr_queues_);
	queue_loads_.resize(nr_queues_);
	entities_.resize(nr_queues_);
	loads_.resize(nr_queues_);
	groups_.resize(m.nr_groups());
	cpus_.resize(nr_cpus_);
	tracks_load_ = nr_cpus_ > 1 || m.nr_groups() > 1;
	for (GroupId group = 1; group < m.nr_groups(); group++) {
		GroupId parent = m.group_parent(group);
		groups_[group].shares = static_cast<std::uint64_t>(m.group_weight(group)) << WEIGHT_SHIFT;
		groups_[group].depth = groups_[parent].depth + 1;
		for (CpuId cpu = 0; cpu < nr_cpus_; cpu++) {
			Entity &entity = entities_[queue_of(group, cpu)];
			entity.queue = queue_of(parent, cpu);
			entity.set_weight(NICE_0_LOAD, false);
			entity.slice = params_.base_slice_ns;
		}
	}
	init_domains(m);
}

// __setparam_fair() clamps slices.
void Fair::take_attributes(const Task &task, Entity &entity) const
{
	entity.idle = task.policy == Policy::Idle;
	entity.custom_slice = task.custom_slice_ns != 0;
	entity.slice = task.custom_slice_ns ? std::clamp<Ns>(task.custom_slice_ns, 100'000, 100'000'000)
					    : params_.base_slice_ns;
}

void Fair::init_task(Machine &m, TaskId id)
{
	if (infos_.size() <= id) {
		entities_.resize(entity_of(id) + 1);
		loads_.resize(entity_of(id) + 1);
		infos_.resize(id + 1);
	}
	const Task &task = m.task(id);
	Entity &entity = entities_[entity_of(id)];
	entity = {};
	entity.set_weight(task.weight << WEIGHT_SHIFT, true);
	take_attributes(task, entity);
	entity.queue = queue_of(task.group, task.cpu);
	infos_[id] = {};
	infos_[id].recent_cpu = task.cpu;
	loads_[entity_of(id)] = {};
	loads_[entity_of(id)].load_avg = task.weight;  // init_entity_runnable_average()
}

TaskId Fair::dispatch(Machine &m, CpuId cpu, TaskId)
{
	Cpu &c = cpus_[cpu];
	if (c.push_to != NONE)
		push(m, cpu);
	TaskId next = pick_task(m, cpu);
	while (next == NONE && newidle_balance(m, cpu))
		next = pick_task(m, cpu);
	if (next == NONE) {
		put_prev_task(m, cpu);
		c.idle_since = m.now();
		if (m.sibling_of(cpu) != NONE && is_idle_core(m, cpu))
			llcs_[c.llc].has_idle_core = true;
		if (params_.hrtick)
			m.set_timer(cpu, NEVER);
		return NONE;
	}
	run_next(m, cpu, next);
	return next;
}

void Fair::run_next(Machine &m, CpuId cpu, TaskId next)
{
	if (next == cpus_[cpu].running)
		return;
	switch_entities(m, cpu, next);
	if (cpus_[cpu].tasks_first != next) {
		unlist_task(cpu, next);
		list_task(cpu, next);
	}
	if (params_.hrtick)
		start_hrtick(m, cpu);
}

// It is on this CPU's queues, and neither it nor a group that it is in sleeps.
bool Fair::may_be_next(CpuId cpu, TaskId id) const
{
	for (EntityId entity = entity_of(id); entity != NONE; entity = parent_of(entity))
		if (!entities_[entity].on_rq || entities_[entity].delayed || cpu_of(entities_[entity].queue) != cpu)
			return false;
	return true;
}

void Fair::candidates(const Machine &m, CpuId cpu, std::vector<TaskId> &found) const
{
	for (TaskId id = 0; id < m.nr_tasks() && id < infos_.size(); id++)
		if (m.task(id).state == TaskState::Queued && m.task(id).cpu == cpu && may_be_next(cpu, id))
			found.push_back(id);
}

bool Fair::dispatch_instead(Machine &m, CpuId cpu, TaskId, TaskId instead)
{
	if (cpus_[cpu].push_to != NONE)
		push(m, cpu);
	pick_task(m, cpu);  // for what it brings up to date
	if (!may_be_next(cpu, instead))
		return false;
	run_next(m, cpu, instead);
	return true;
}

void Fair::enqueue(Machine &m, TaskId id, EnqueueReason why)
{
	if (why == EnqueueReason::PutBack)
		return;	 // it stays current until another one is picked
	if (why == EnqueueReason::Yield) {
		yield(m, id);
		return;
	}
	CpuId cpu = m.task(id).cpu;
	QueueId queue = queue_of(m.task(id).group, cpu);
	EntityId entity = entity_of(id);
	bool migrated = entities_[entity].queue != queue;
	if (migrated && why == EnqueueReason::Wakeup)
		remove_load(entity);
	if (migrated || why == EnqueueReason::Fork)
		loads_[entity].last_update = 0;
	entities_[entity].queue = queue;
	if (why == EnqueueReason::Fork)
		init_load(id);
	enqueue_task(m, id, why == EnqueueReason::Fork, migrated);
	check_preempt(m, cpu, id, why == EnqueueReason::Fork);
}

void Fair::dequeue(Machine &m, TaskId id, DequeueReason why)
{
	EntityId entity = entity_of(id);
	CpuId cpu = m.task(id).cpu;
	if (why == DequeueReason::Sleep) {
		dequeue_entities(m, entity, Leave::Sleep);
	} else if (why == DequeueReason::Exit) {
		dequeue_entities(m, entity, Leave::Exit);
		remove_load(entity);
	} else {  // the stopper takes it elsewhere, and has preempted it for that
		dequeue_entities(m, entity, Leave::Migrate);
		put_prev_task(m, cpu);
	}
	if (params_.hrtick)
		start_hrtick(m, cpu);
}

bool Fair::wake_in_place(Machine &m, TaskId id)
{
	EntityId entity = entity_of(id);
	if (!entities_[entity].delayed)
		return false;
	requeue_delayed(m, entity);
	CpuId cpu = m.task(id).cpu;
	if (cpus_[cpu].running != id)
		check_preempt(m, cpu, id, false);
	return true;
}

void Fair::entity_tick(Machine &m, QueueId queue)
{
	update_curr(m, queue);
	update_load(m, queues_[queue].curr, Change::None, true);
	update_group(m, queues_[queue].curr);
}

void Fair::tick(Machine &m, CpuId cpu, TaskId id)
{
	if (cpus_[cpu].running != id)
		return;
	for (EntityId entity = entity_of(id); entity != NONE; entity = parent_of(entity))
		entity_tick(m, entities_[entity].queue);
	if (nr_cpus_ == 1)
		return;
	if (m.now() >= cpus_[cpu].next_balance)
		balance_domains(m, cpu, Idle::Not);
	balance_idle_cpus(m, cpu);
}

void Fair::read_cpu_time(Machine &m, TaskId id)
{
	if (cpus_[m.task(id).cpu].running == id)
		update_curr(m, entities_[entity_of(id)].queue);
}

void Fair::yield(Machine &m, TaskId id)
{
	CpuId cpu = m.task(id).cpu;
	if (queues_[cpu].h_nr_queued == 1)
		return;
	EntityId entity = entity_of(id);
	QueueId queue = entities_[entity].queue;
	Entity &self = entities_[entity];
	clear_buddies(entity);
	update_curr(m, queue);
	if (params_.version < 618) {
		self.deadline += self.delta_fair(self.slice);
	} else if (queues_[queue].eligible(entities_, self.vruntime)) {
		self.vruntime = self.deadline;
		queues_[queue].update_deadline(entities_, entity, params_);
	}
}

// Nice value, policy or slice of a task changed: it is taken out, and put back where it was as it is now.
void Fair::set_weight(Machine &m, TaskId id)
{
	const Task &task = m.task(id);
	EntityId entity = entity_of(id);
	CpuId cpu = task.cpu;
	bool queued = entities_[entity].on_rq, running = cpus_[cpu].running == id && queued;
	std::uint32_t before = entities_[entity].weight;
	if (queued)
		dequeue_entities(m, entity, Leave::Change);
	if (running)
		put_prev_task(m, cpu);
	Entity &self = entities_[entity];
	if (before != task.weight << WEIGHT_SHIFT)
		reweight(m, entity, task.weight << WEIGHT_SHIFT);
	take_attributes(task, self);
	if (queued)
		enqueue_task(m, id, false, false);
	if (running)
		set_next_task(m, cpu, id, false);
	if (!queued || queues_[cpu].nr_queued == 1)
		return;
	if (!running)
		check_preempt(m, cpu, id, false);
	else if (self.weight < before)	// prio_changed_fair()
		m.resched(cpu);
}

// hrtick_start_fair(): the end of the slice, not under 10 us from now.
void Fair::start_hrtick(Machine &m, CpuId cpu)
{
	TaskId id = cpus_[cpu].running;
	if (id == NONE || queues_[cpu].h_nr_queued < 2)
		return;
	Ns left = entities_[entity_of(id)].slice - (infos_[id].ran - infos_[id].ran_before);
	if (left < 0)
		m.resched(cpu);
	else
		m.set_timer(cpu, m.now() + std::max<Ns>(left, 10'000));
}

void Fair::timer_fired(Machine &m, CpuId cpu)
{
	TaskId id = cpus_[cpu].running;
	if (id == NONE)
		return;
	for (EntityId entity = entity_of(id); entity != NONE; entity = parent_of(entity))
		entity_tick(m, entities_[entity].queue);
	m.resched(cpu);
}

void Fair::preempt_616(Machine &m, EntityId se, EntityId pse)
{
	Entity &curr = entities_[se];
	const Entity &wakes = entities_[pse];
	FairQueue &q = queues_[curr.queue];
	if (params_.preempt_short && wakes.slice < curr.slice && q.eligible(entities_, wakes.vruntime)
	    && (wakes.deadline < curr.deadline || !q.eligible(entities_, curr.vruntime)))
		FairQueue::cancel_protection(curr, params_);
	if (q.pick(entities_, params_, true) == pse)
		m.resched(cpu_of(curr.queue));
}

// find_matching_se(): the ancestors of the two that share a queue.
void Fair::find_matching(EntityId &se, EntityId &pse) const
{
	while (depth_of(se) > depth_of(pse))
		se = parent_of(se);
	while (depth_of(pse) > depth_of(se))
		pse = parent_of(pse);
	while (entities_[se].queue != entities_[pse].queue) {
		se = parent_of(se);
		pse = parent_of(pse);
	}
}

// check_preempt_wakeup_fair()
void Fair::check_preempt(Machine &m, CpuId cpu, TaskId id, bool is_fork)
{
	TaskId running = cpus_[cpu].running;
	if (running == NONE) {
		m.resched(cpu);
		return;
	}
	if (running == id)
		return;
	EntityId se = entity_of(running), pse = entity_of(id);
	bool is_618 = params_.version >= 618;
	if (!is_618 && params_.next_buddy && !is_fork)
		set_next_buddy(pse);
	if (m.need_resched(cpu) || !params_.wakeup_preemption)
		return;
	if (entities_[se].queue != entities_[pse].queue) [[unlikely]]
		find_matching(se, pse);
	Entity &curr = entities_[se];
	bool is_idle = entities_[se].idle, wakes_idle = entities_[pse].idle;
	if (is_idle && !wakes_idle) {
		FairQueue::cancel_protection(curr, params_);
		m.resched(cpu);
		return;
	}
	if (is_idle != wakes_idle || m.task(id).policy != Policy::Other)
		return;
	FairQueue &q = queues_[curr.queue];
	update_curr(m, curr.queue);
	if (!is_618) {
		preempt_616(m, se, pse);
		return;
	}
	bool is_shorter = params_.preempt_short && entities_[pse].slice < curr.slice;
	if (!is_shorter && (is_fork || entities_[pse].delayed))
		return;
	if (!is_shorter && params_.next_buddy
	    && (q.next == NONE || entities_[q.next].deadline >= entities_[pse].deadline))
		set_next_buddy(pse);
	EntityId next;
	do
		next = pick_next_entity(m, curr.queue, !is_shorter);
	while (next == NONE && q.nr_queued);
	if (next == pse) {
		if (is_shorter)
			FairQueue::cancel_protection(curr, params_);
		m.resched(cpu);
	} else if (params_.run_to_parity) {
		q.update_protection(entities_, se);
	}
}

namespace
{

constexpr auto PARAMETERS = [] {
	std::array<Parameter, FAIR_PARAMETERS.size()> rows{};
	for (std::size_t i = 0; i < rows.size(); i++) {
		const FairParameter &row = FAIR_PARAMETERS[i];
		ParameterKind kind = row.low == 0 && row.high == 1 ? ParameterKind::Flag : ParameterKind::Integer;
		rows[i] = {row.name, kind, FairParams{}.*row.field, row.low, row.high, row.help};
	}
	return rows;
}();

}  // namespace

extern const SchedulerRow FAIR;
const SchedulerRow FAIR{
	"fair", "the kernel's own: EEVDF of 6.18.44, with groups, load averages and balancing", PARAMETERS,
	[](Values values) -> std::unique_ptr<Scheduler> { return std::make_unique<Fair>(params_of(values)); }};

}  // namespace schedtuna::sim
