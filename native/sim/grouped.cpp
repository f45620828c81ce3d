/* SPDX-License-Identifier: Apache-2.0 */
// Groups first: which one has got least CPU time for its weight, level by level, and among that one's own tasks a rule
// of its own. A group's own tasks together count as one more child of it, with the weight that groups have by default.
//
// A group, or a task under the rule of weights, that had nothing to do comes back where those are that run: it saves up
// nothing.
#include "one_queue.hpp"
#include "registry.hpp"

#include <algorithm>

namespace schedtuna::sim
{

namespace
{

enum class Rule : std::uint8_t { Arrival, Weights, Attained };

class Grouped final : public OneQueue
{
      public:
	Grouped(Ns slice_ns, Rule rule) : OneQueue(slice_ns), rule_(rule)
	{
	}
	std::string_view name() const override
	{
		return "grouped";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Grouped>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		set_slice_ns(values[0] * 1000);
		rule_ = static_cast<Rule>(values[1]);
		return true;
	}
	bool set_group_weight(Machine &, GroupId) override
	{
		return true;  // it is asked for each time
	}
	void init(Machine &m) override
	{
		groups_.resize(m.nr_groups());
	}
	void init_task(Machine &m, TaskId id) override
	{
		members_.resize(m.nr_tasks());
		members_[id] = {};
		members_[id].counted_to = members_[id].woke_with = m.cpu_time_ns(id);
	}
	void stopping(Machine &m, TaskId id, bool) override
	{
		account(m, id);
	}
	void dequeue(Machine &m, TaskId id, DequeueReason reason) override
	{
		if (reason != DequeueReason::Migrate)
			leave(m, id);
	}

      protected:
	void arrives(Machine &m, TaskId id) override
	{
		if (!members_[id].takes_part)
			join(m, id);
	}

	TaskId choose(Machine &m, const std::vector<TaskId> &among) override
	{
		for (CpuId cpu = 0; cpu < m.nr_cpus(); cpu++)
			if (m.current(cpu) != NONE && m.task(m.current(cpu)).state == TaskState::Running)
				account(m, m.current(cpu));
		for (Group &group : groups_)
			group.waits = group.own.waits = false;
		for (TaskId id : among) {
			GroupId group = m.task(id).group;
			groups_[group].own.waits = true;
			for (; group != ROOT_GROUP && !groups_[group].waits; group = m.group_parent(group))
				groups_[group].waits = true;
		}
		GroupId chosen = ROOT_GROUP;
		for (GroupId below = child(m, chosen); below != chosen; below = child(m, chosen))
			chosen = below;
		return best_of(m, chosen, among);
	}

      private:
	struct Account {
		Ns vtime = 0;		      // CPU time over weight
		std::uint32_t nr_active = 0;  // tasks that can run
		bool waits = false;	      // one of them may be chosen now
	};
	struct Group : Account {
		Account own;	  // its own tasks together
		Ns now = 0;	  // how far those children are that run
		Ns task_now = 0;  // and its own tasks
	};
	struct Member {
		Ns vtime = 0;
		Ns counted_to = 0, woke_with = 0;  // in its CPU time
		bool takes_part = false;
	};

	// Which child's turn it is: one of its groups, or itself for its own tasks.
	GroupId child(const Machine &m, GroupId parent)
	{
		GroupId found = NONE;
		Ns least = NEVER;
		if (groups_[parent].own.waits) {
			found = parent;
			least = groups_[parent].own.vtime;
		}
		for (GroupId group = 1; group < groups_.size(); group++) {
			if (m.group_parent(group) != parent || !groups_[group].waits || groups_[group].vtime >= least)
				continue;
			found = group;
			least = groups_[group].vtime;
		}
		groups_[parent].now = std::max(groups_[parent].now, least);
		return found;
	}

	TaskId best_of(const Machine &m, GroupId group, const std::vector<TaskId> &among)
	{
		TaskId best = NONE;
		Ns least = NEVER;
		for (TaskId id : among) {
			if (m.task(id).group != group)
				continue;
			Ns rank = rank_of(m, id);
			if (best == NONE || rank < least) {
				best = id;
				least = rank;
			}
		}
		groups_[group].task_now = std::max(groups_[group].task_now, members_[best].vtime);
		return best;
	}

	Ns rank_of(const Machine &m, TaskId id) const
	{
		switch (rule_) {
		case Rule::Arrival:
			return 0;
		case Rule::Weights:
			return members_[id].vtime;
		case Rule::Attained:
			return m.cpu_time_ns(id) - members_[id].woke_with;
		}
		return 0;
	}

	// Let it and its groups pay for what it has run since it was asked last.
	void account(const Machine &m, TaskId id)
	{
		Member &member = members_[id];
		Ns used = (m.cpu_time_ns(id) - member.counted_to) * NICE_0_WEIGHT;
		member.counted_to = m.cpu_time_ns(id);
		member.vtime += used / m.task(id).weight;
		GroupId group = m.task(id).group;
		groups_[group].own.vtime += used / NICE_0_WEIGHT;
		for (; group != ROOT_GROUP; group = m.group_parent(group))
			groups_[group].vtime += used / m.group_weight(group);
	}

	void join(const Machine &m, TaskId id)
	{
		Member &member = members_[id];
		GroupId group = m.task(id).group;
		member.takes_part = true;
		member.woke_with = member.counted_to = m.cpu_time_ns(id);
		member.vtime = std::max(member.vtime, groups_[group].task_now);
		begin(groups_[group].own, groups_[group].now);
		for (; group != ROOT_GROUP; group = m.group_parent(group))
			begin(groups_[group], groups_[m.group_parent(group)].now);
	}

	static void begin(Account &account, Ns now)
	{
		if (account.nr_active++ == 0)
			account.vtime = std::max(account.vtime, now);
	}

	void leave(const Machine &m, TaskId id)
	{
		GroupId group = m.task(id).group;
		members_[id].takes_part = false;
		groups_[group].own.nr_active--;
		for (; group != ROOT_GROUP; group = m.group_parent(group))
			groups_[group].nr_active--;
	}

	Rule rule_;
	std::vector<Group> groups_;
	std::vector<Member> members_;
};

constexpr Parameter PARAMETERS[] = {
	{"slice_us", ParameterKind::Integer, 4000, 1, 10'000'000,
	 "how long a task runs before its CPU chooses again, us"},
	{"rule", ParameterKind::Integer, 0, 0, 2,
	 "who of a group: 0 in turn, 1 by weight, 2 who has computed least since it woke up"},
};

}  // namespace

extern const SchedulerRow GROUPED;
const SchedulerRow GROUPED{"grouped", "groups by weight first, then a rule among a group's own tasks", PARAMETERS,
			   [](Values values) -> std::unique_ptr<Scheduler> {
				   return std::make_unique<Grouped>(values[0] * 1000, static_cast<Rule>(values[1]));
			   }};

}  // namespace schedtuna::sim
