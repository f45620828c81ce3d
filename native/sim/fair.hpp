/* SPDX-License-Identifier: Apache-2.0 */
// The kernel's own scheduler, `fair`: EEVDF with groups, load averages, selection of CPUs and balancing.
//
// kernel/sched/fair.c of 6.18.44, whose functions are named beside ours. Where an account is brought up to date is part
// of what a scheduler does: each time truncates, and may find that a slice is over. It happens at ticks, when tasks are
// queued and dequeued, at each pick, in the wakeup's test of preemption, in sched_yield() and when a task reads its CPU
// time, and nowhere else. What is left out: LEFT_OUT in fair_params.hpp.
#pragma once

#include "fair_idle.hpp"
#include "fair_load.hpp"
#include "fair_queue.hpp"
#include "scheduler.hpp"

namespace schedtuna::sim
{

class Fair final : public Scheduler
{
      public:
	explicit Fair(const FairParams &params) : params_(params)
	{
	}
	std::string_view name() const override
	{
		return "fair";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Fair>(*this);
	}
	std::string_view refuses(const Machine &) const override;
	void init(Machine &) override;
	bool set_parameters(Machine &, Values) override;
	bool set_group_weight(Machine &, GroupId) override;
	void init_task(Machine &, TaskId) override;
	CpuId select_cpu(Machine &, TaskId, CpuId prev_cpu, EnqueueReason) override;
	void enqueue(Machine &, TaskId, EnqueueReason) override;
	void dequeue(Machine &, TaskId, DequeueReason) override;
	bool wake_in_place(Machine &, TaskId) override;
	TaskId dispatch(Machine &, CpuId, TaskId prev) override;
	void candidates(const Machine &, CpuId, std::vector<TaskId> &) const override;
	bool dispatch_instead(Machine &, CpuId, TaskId prev, TaskId instead) override;
	void tick(Machine &, CpuId, TaskId) override;
	void set_weight(Machine &, TaskId) override;
	void read_cpu_time(Machine &, TaskId) override;
	void timer_fired(Machine &, CpuId) override;

	// Of a CPU that idles while these tasks wait, not all of them on it (fair_idle.cpp).
	IdleReason idle_reason(const Machine &, CpuId, const std::vector<TaskId> &waiting) const;

	const Entity &entity(TaskId id) const
	{
		return entities_[entity_of(id)];
	}
	const LoadAvg &load(TaskId id) const
	{
		return loads_[entity_of(id)];
	}
	const FairQueue &queue(GroupId group, CpuId cpu) const
	{
		return queues_[queue_of(group, cpu)];
	}
	const QueueLoad &queue_load(GroupId group, CpuId cpu) const
	{
		return queue_loads_[queue_of(group, cpu)];
	}

      private:
	using QueueId = std::uint32_t;	// group * CPUs + CPU; a group's entity on a CPU has its queue's number

	struct TaskInfo {
		Ns ran = 0, ran_before = 0;  // sum_exec_runtime; and when it was switched in
		Ns flips_decay_at = 0;
		TaskId last_wakee = NONE;
		std::uint32_t wakee_flips = 0;
		CpuId recent_cpu = 0;		      // recent_used_cpu
		TaskId before = NONE, behind = NONE;  // in its CPU's list
	};

	enum class GroupType : std::uint8_t { HasSpare, FullyBusy, SmtBalance, Overloaded };
	struct Stats {	// struct sg_lb_stats
		GroupType type = GroupType::HasSpare;
		std::int64_t load = 0, util = 0, runnable = 0, capacity = 0, avg_load = 0;
		std::uint32_t nr_cpus = 0, nr_runnable = 0, nr_running = 0, idle_cpus = 0;

		void average()
		{
			avg_load = load * 1024 / capacity;
		}
	};
	struct Domain {
		CpuSet span;
		std::vector<CpuSet> groups;  // spans of the domain below; the own one first
		std::uint32_t imbalance_pct = 117, cache_nice_tries = 1;
		bool is_smt = false, is_llc = false, prefer_sibling = false;
		bool is_numa = false, is_near = true;  // near: wakeups and forks look beyond the group below
		std::int64_t imb_numa_nr = 0;
		std::uint32_t nr_failed = 0;
		std::uint32_t interval_ms = 1, min_interval_ms = 1;
		std::uint32_t newidle_calls = 512, newidle_success = 256, newidle_ratio = 512;
		Ns last_balance = 0;
		IdleReason last_look = IdleReason::Interval;  // how it ended when its CPU last looked for tasks
	};
	struct Llc {
		CpuSet span;
		CpuId first = 0;
		std::uint32_t nr_idle_scan = 0;
		bool has_idle_core = false;
	};
	struct Cpu {
		TaskId running = NONE;	// whose entities are current
		std::uint32_t llc = 0;
		TaskId tasks_first = NONE, tasks_last = NONE;  // cfs_tasks: most recently queued or picked first
		Ns idle_since = 0, next_balance = 0;
		CpuId push_to = NONE;  // active balancing
		std::uint64_t random = 1;
		TaskInfo idle_task;
		std::vector<Domain> domains;
	};
	struct Group {
		std::uint64_t shares = NICE_0_LOAD;  // scaled up
		std::int64_t load_avg = 0;
		std::uint32_t depth = 0;
	};

	EntityId entity_of(TaskId id) const
	{
		return nr_queues_ + id;
	}
	bool is_task(EntityId id) const
	{
		return id >= nr_queues_;
	}
	TaskId task_of(EntityId id) const
	{
		return id - nr_queues_;
	}
	QueueId queue_of(GroupId group, CpuId cpu) const
	{
		return group * nr_cpus_ + cpu;
	}
	// Most queues are CPUs' root queues, for which a division would take longer than all the rest.
	GroupId group_of(QueueId queue) const
	{
		return queue < nr_cpus_ ? ROOT_GROUP : queue / nr_cpus_;
	}
	CpuId cpu_of(QueueId queue) const
	{
		return queue < nr_cpus_ ? queue : queue % nr_cpus_;
	}
	EntityId parent_of(EntityId id) const  // NONE: it is on the CPU's root queue
	{
		QueueId queue = entities_[id].queue;
		return queue < nr_cpus_ ? NONE : queue;
	}
	std::uint32_t depth_of(EntityId id) const
	{
		return groups_[group_of(entities_[id].queue)].depth;
	}
	Ns clock(const Machine &m, QueueId queue) const
	{
		return m.clock_task(cpu_of(queue));
	}

	enum class Leave : std::uint8_t { Sleep, Exit, Delayed, Change, Migrate };
	enum class Change : std::uint8_t { None, Attach, Detach };
	enum class Idle : std::uint8_t { Not, Newly, Idle };

	// fair.cpp: the machine's callbacks
	void run_next(Machine &, CpuId, TaskId next);
	bool may_be_next(CpuId, TaskId) const;
	void entity_tick(Machine &, QueueId);
	void start_hrtick(Machine &, CpuId);
	void check_preempt(Machine &, CpuId, TaskId, bool is_fork);
	void preempt_616(Machine &, EntityId curr, EntityId wakes);
	void find_matching(EntityId &se, EntityId &pse) const;
	void yield(Machine &, TaskId);
	void scale_parameters(const Machine &);
	void take_attributes(const Task &, Entity &) const;

	// fair_entities.cpp: accounts, queues, picks
	void update_curr(Machine &m, QueueId queue)
	{
		EntityId curr = queues_[queue].curr;
		if (curr == NONE)
			return;
		Ns ran = clock(m, queue) - entities_[curr].exec_start;
		if (ran > 0)
			account(m, queue, ran);
	}
	void account(Machine &, QueueId, Ns ran);
	void enqueue_task(Machine &, TaskId, bool initial, bool migrated);
	inline void enqueue_entity(Machine &, EntityId, bool initial, bool migrated);
	bool dequeue_entities(Machine &, EntityId, Leave);
	inline bool dequeue_entity(Machine &, EntityId, Leave);
	void requeue_delayed(Machine &, EntityId);
	void count_runnable(EntityId, std::uint32_t);
	void follow_up(Machine &, EntityId, Ns slice, std::uint32_t queued, std::uint32_t runnable, std::uint32_t idle);
	void clear_buddies(EntityId);
	void set_next_buddy(EntityId);
	EntityId pick_next_entity(Machine &m, QueueId queue, bool protect)  // NONE: a delayed one was dequeued instead
	{
		EntityId id = queues_[queue].pick(entities_, params_, protect);
		if (id == NONE || !entities_[id].delayed) [[likely]]
			return id;
		dequeue_entities(m, id, Leave::Delayed);
		return NONE;
	}
	TaskId pick_task(Machine &, CpuId);
	void put_prev_entity(Machine &, EntityId);
	void set_next_entity(Machine &, EntityId, bool first);
	void put_prev_task(Machine &, CpuId);
	void set_next_task(Machine &, CpuId, TaskId, bool first);
	void switch_entities(Machine &, CpuId, TaskId next);
	// The list from which balancing takes, as a chain.
	void list_task(CpuId cpu, TaskId id)
	{
		if (nr_cpus_ == 1)
			return;
		Cpu &c = cpus_[cpu];
		infos_[id].before = NONE;
		infos_[id].behind = c.tasks_first;
		(c.tasks_first == NONE ? c.tasks_last : infos_[c.tasks_first].before) = id;
		c.tasks_first = id;
	}
	void unlist_task(CpuId cpu, TaskId id)
	{
		if (nr_cpus_ == 1)
			return;
		const TaskInfo &info = infos_[id];
		(info.before == NONE ? cpus_[cpu].tasks_first : infos_[info.before].behind) = info.behind;
		(info.behind == NONE ? cpus_[cpu].tasks_last : infos_[info.behind].before) = info.before;
	}

	// fair_groups.cpp: weights of groups, and load averages
	static std::int64_t scale_down(std::uint64_t weight)
	{
		return weight ? std::max<std::int64_t>(static_cast<std::int64_t>(weight >> WEIGHT_SHIFT), 2) : 0;
	}
	// rq_clock_pelt(); never 0, which stands for "not attached".
	static constexpr Ns LOAD_CLOCK_BEGIN = 1 << 20;
	Ns load_clock(const Machine &m, QueueId queue) const
	{
		return clock(m, queue) + LOAD_CLOCK_BEGIN;
	}
	// update_load_avg(): the entity's averages, and its queue's. Mostly a task stays on its CPU's root queue, and
	// no period ends: then nothing is passed on, and no average changes.
	void update_load(Machine &m, EntityId id, Change change, bool to_group)
	{
		if (!tracks_load_)
			return;
		const Entity &entity = entities_[id];
		LoadAvg &load = loads_[id];
		if (!is_task(id) || entity.queue >= nr_cpus_ || change == Change::Detach || !load.last_update)
			[[unlikely]] {
			update_any_load(m, id, change, to_group);
			return;
		}
		const FairQueue &q = queues_[entity.queue];
		QueueLoad &queue_load = queue_loads_[entity.queue];
		Ns now = m.clock_task(entity.queue) + LOAD_CLOCK_BEGIN;
		std::uint64_t steps = load.steps_to(now), queue_steps = queue_load.steps_to(now);
		if (load.ends_period(steps) || queue_load.ends_period(queue_steps) || queue_load.nr_removed)
			[[unlikely]] {
			update_any_load(m, id, change, to_group);
			return;
		}
		load.age_within(steps, entity.on_rq, entity.on_rq && !entity.delayed, q.curr == id);
		queue_load.age_within(queue_steps, scale_down(q.load_weight), q.h_nr_runnable, q.curr != NONE);
	}
	void update_any_load(Machine &, EntityId, Change, bool to_group);
	void pass_load_on(Machine &, EntityId, Change, bool decayed, bool to_group);
	[[gnu::always_inline]] static bool update_queue_load(const FairQueue &q, QueueLoad &load, Ns now)
	{
		bool decayed = load.take_removed();
		if (load.age(now, scale_down(q.load_weight), q.h_nr_runnable, q.curr != NONE)) {
			load.average(1);
			decayed = true;
		}
		return decayed;
	}
	void update_group(Machine &m, EntityId id)  // update_cfs_group()
	{
		if (!is_task(id) && queues_[id].load_weight)
			set_shares(m, id);
	}
	void set_shares(Machine &, EntityId);
	void reweight(Machine &, EntityId, std::uint32_t weight);
	void contribute(Machine &, QueueId);  // update_tg_load_avg()
	void remove_load(EntityId);
	void init_load(TaskId);
	std::int64_t h_load(TaskId) const;
	void update_blocked(Machine &, CpuId);

	Migration describe(const Machine &, TaskId, CpuId from, CpuId to, bool wakes) const;

	// fair_select.cpp
	bool is_idle(CpuId cpu) const
	{
		return cpus_[cpu].running == NONE && queues_[cpu].h_nr_queued == 0;
	}
	bool is_available(CpuId cpu) const  // idle, or with nothing but SCHED_IDLE tasks
	{
		const FairQueue &q = queues_[cpu];
		return q.h_nr_queued ? q.h_nr_queued == q.h_nr_idle : cpus_[cpu].running == NONE;
	}
	bool is_idle_core(const Machine &, CpuId) const;
	TaskInfo &info_of(CpuId, TaskId waker);
	void record_wakee(const Machine &, TaskInfo &waker, TaskId wakee) const;
	bool wake_wide(const TaskInfo &waker, TaskId wakee, CpuId) const;
	CpuId wake_affine(const Machine &, TaskId, CpuId this_cpu, CpuId prev_cpu, bool sync) const;
	CpuId select_idle_sibling(Machine &, TaskId, CpuId prev, CpuId target);
	CpuId scan_llc(const Machine &, const CpuSet &allowed, CpuId target);
	CpuId find_idlest_cpu(const Machine &, TaskId, CpuId near, CpuId prev) const;
	CpuId find_idlest_of(const Machine &, TaskId, const CpuSet &group, CpuId near) const;
	static bool is_idler(const Stats &, const Stats &idlest);
	static bool is_worth_leaving(const Stats &local, const Stats &idlest, const Domain &, std::int64_t imb_numa_nr);
	// adjust_numa_imbalance(): a pair of tasks stays together on a node that has little to do.
	static std::int64_t beyond_numa(std::int64_t imbalance, std::uint32_t nr_running, std::int64_t imb_numa_nr)
	{
		return nr_running <= imb_numa_nr && imbalance <= 2 ? 0 : imbalance;
	}

	// fair_domains.cpp: what is balanced, and when
	void init_domains(const Machine &);
	Stats stats_of(const CpuSet &group, const Domain &, bool is_smt_source) const;
	Ns interval(const Domain &, const Machine &, bool is_busy) const;
	Ns jiffy(const Machine &) const;
	bool newidle_balance(Machine &, CpuId);
	void balance_domains(Machine &, CpuId, Idle);
	void balance_idle_cpus(Machine &, CpuId);

	// fair_balance.cpp: what is moved
	struct Balance;
	std::uint32_t load_balance(Machine &, CpuId, Domain &, Idle, bool &go_on);
	bool should_balance(const Machine &, const Balance &) const;
	const CpuSet *find_busiest_group(const Machine &, Balance &);
	CpuId find_busiest_queue(const Balance &, const CpuSet &group) const;
	void set_imbalance(Balance &, Stats &local, const Stats &busiest, std::int64_t average,
			   std::int64_t spread) const;
	void update_idle_scan(const Balance &, std::int64_t util);
	static bool is_busier(const Stats &, const Stats &busiest, bool busiest_is_smt);
	bool can_migrate(const Machine &, Balance &, TaskId) const;
	void detach(Machine &, TaskId, CpuId to);
	void attach(Machine &, TaskId);
	std::uint32_t pull(Machine &, Balance &);
	bool active_balance(Machine &, const Balance &);
	void push(Machine &, CpuId);

	FairParams params_;
	std::uint32_t nr_cpus_ = 0, nr_queues_ = 0;
	Entities entities_;  // of groups on CPUs, then of tasks
	Rows<LoadAvg> loads_;
	std::vector<FairQueue> queues_;
	std::vector<QueueLoad> queue_loads_;
	std::vector<Group> groups_;
	Rows<TaskInfo> infos_;
	std::vector<Cpu> cpus_;
	std::vector<Llc> llcs_;
	Ns next_idle_balance_ = 0;
	bool tracks_load_ = true;  // one CPU without groups needs no averages
};

}  // namespace schedtuna::sim
