/* SPDX-License-Identifier: Apache-2.0 */
#include "rt_app_program.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace schedtuna::sim::rt_app
{
namespace
{

enum class Form : std::uint8_t {
	Time,	   // "run": 1000
	Timer,	   // "timer": {"ref": "unique", "period": 1000}
	Resource,  // "lock": "name"
	Wait,	   // "wait": {"ref": "name", "mutex": "name"}
	Task,	   // "fork": "task"
	Nothing,   // "yield": ""
	Refused,
};

struct Event {
	std::string_view name;
	Form form;
	Op op = Op::Exit;
	ResourceKind kind = ResourceKind::Mutex;
	bool extension = false;
};

constexpr std::array EVENTS{
	Event{"run", Form::Time, Op::Run},
	Event{"runtime", Form::Time, Op::Spin},
	Event{"sleep", Form::Time, Op::Sleep},
	Event{"timer", Form::Timer, Op::SleepUntil},
	Event{"lock", Form::Resource, Op::Lock, ResourceKind::Mutex},
	Event{"unlock", Form::Resource, Op::Unlock, ResourceKind::Mutex},
	Event{"wait", Form::Wait, Op::Wait, ResourceKind::Condition},
	Event{"sync", Form::Wait, Op::Signal, ResourceKind::Condition},
	Event{"signal", Form::Resource, Op::Signal, ResourceKind::Condition},
	Event{"broad", Form::Resource, Op::Broadcast, ResourceKind::Condition},
	Event{"broadcast", Form::Resource, Op::Broadcast, ResourceKind::Condition},
	Event{"barrier", Form::Resource, Op::Barrier, ResourceKind::Barrier},
	Event{"suspend", Form::Resource, Op::Suspend, ResourceKind::Suspended},
	Event{"resume", Form::Resource, Op::Resume, ResourceKind::Suspended},
	Event{"yield", Form::Nothing, Op::Yield},
	Event{"mem", Form::Refused},
	Event{"iorun", Form::Refused},
	Event{"io", Form::Time, Op::Io, {}, true},
	Event{"read", Form::Resource, Op::Read, ResourceKind::Pipe, true},
	Event{"write", Form::Resource, Op::Write, ResourceKind::Pipe, true},
	Event{"fork", Form::Task, Op::Fork, {}, true},
	Event{"exec", Form::Task, Op::Exec, {}, true},
	Event{"exit", Form::Nothing, Op::Exit, {}, true},
};

// The event that a key names: "run", "run0", "run_first". rt-app takes whatever begins with an event's name.
const Event *find_event(std::string_view key)
{
	const Event *found = nullptr;
	for (const Event &event : EVENTS)
		if (key.starts_with(event.name) && (!found || event.name.size() > found->name.size()))
			found = &event;
	if (!found || key.size() == found->name.size())
		return found;
	char next = key[found->name.size()];
	return (next >= '0' && next <= '9') || next == '_' || next == '-' || next == '.' ? found : nullptr;
}

constexpr std::array TASK_KEYS{"instance", "policy", "priority", "dl-runtime", "cpus",
			       "delay",	   "loop",   "phases",	 "taskgroup"};
constexpr std::array PHASE_KEYS{"loop", "cpus", "policy", "priority", "dl-runtime"};
constexpr std::array DEADLINE_KEYS{"dl-period", "dl-deadline", "period", "deadline"};

constexpr std::int64_t MAX_LOOP = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t MIN_SLICE_US = 100, MAX_SLICE_US = 100'000;  // __setparam_fair() of kernel/sched/syscalls.c

class ProgramReader
{
      public:
	ProgramReader(File &file, const Field &task, std::uint32_t nr_instances)
	    : file_(file), task_(task), nr_instances_(nr_instances)
	{
		program_.name = task.key();
	}
	Program read();

      private:
	File &file_;
	const Field &task_;
	std::uint32_t nr_instances_;
	Program program_;
	std::set<std::uint32_t> held_, barriers_;
	std::map<std::string, std::uint32_t> timers_;
	std::set<std::uint32_t> absolute_;  // timers
	bool phases_have_cpus_ = false;
	std::optional<std::string> over_;  // why nothing comes after what was read

	void read_phase(const Field &phase, bool is_task);
	void read_event(const Field &field, const Event &event);
	void read_timer(const Field &timer);
	void read_wait(const Field &wait, Op op);
	void read_resource(const Field &field, const Event &event);
	void read_target(const Field &field, Op op);
	void must_hold_none(const Field &where, const char *when);
	void enter_phase(const Field &phase);
	void loop(const Field &where, std::uint32_t first, std::int64_t count, std::uint8_t depth);
	Step &add(Op op, std::uint32_t object = NONE)
	{
		Step &step = program_.steps.emplace_back();
		step.op = op;
		step.object = object;
		return step;
	}
};

std::int64_t read_loop(const Field &parent, std::int64_t otherwise)
{
	std::optional<Field> loop = parent.find("loop");
	if (!loop)
		return otherwise;
	std::int64_t count = loop->integer(-1, MAX_LOOP);
	if (count == 0)
		loop->fail("must be -1 (for ever) or how often, not 0, which rt-app's phases take for -1");
	return count;
}

bool is_one_of(const auto &those, const auto &this_one)
{
	return std::find(those.begin(), those.end(), this_one) != those.end();
}

[[noreturn]] void refuse_key(const Field &field)
{
	if (is_one_of(DEADLINE_KEYS, field.key()))
		field.fail("SCHED_DEADLINE is not simulated");
	std::string known;
	for (const Event &event : EVENTS)
		if (event.form != Form::Refused)
			known += (known.empty() ? "" : ", ") + std::string(event.name);
	field.fail("unknown key; events are " + known + ", each also with a suffix as in \"run0\" or \"run_first\"");
}

Program ProgramReader::read()
{
	std::int64_t count = -1;
	if (auto phases = task_.find("phases")) {
		for (const Field &field : task_.members())
			if (find_event(field.key()))
				field.fail("an event beside \"phases\", which rt-app leaves out: put it into a phase");
			else if (!is_one_of(TASK_KEYS, field.key()))
				refuse_key(field);
		auto all = phases->members();
		if (all.empty())
			phases->fail("has no phase");
		for (const Field &phase : all)
			phases_have_cpus_ |= phase.find("cpus").has_value();
		for (const Field &phase : all)
			read_phase(phase, false);
		count = read_loop(task_, -1);
	} else {
		if (auto field = task_.find("loop"); field && read_loop(task_, -1) != -1)
			field->fail(
				"without \"phases\" rt-app 1.0 repeats the events for ever, whatever this says: put "
				"them into a phase, or write -1");
		read_phase(task_, true);
	}
	if (!over_) {
		if (count != 1)
			must_hold_none(task_, "when it begins anew");
		loop(task_, 0, count, 1);
		if (count == 1)
			must_hold_none(task_, "at its end");
	}
	add(Op::Exit);
	for (Step &step : program_.steps)
		if (step.op == Op::SleepUntil && !absolute_.contains(step.object))
			step.flags = TIMER_RELATIVE;
	program_.nr_timers = static_cast<std::uint32_t>(timers_.size());
	return std::move(program_);
}

void ProgramReader::read_phase(const Field &phase, bool is_task)
{
	if (over_)
		phase.fail("is never reached: " + *over_);
	enter_phase(phase);
	auto first = static_cast<std::uint32_t>(program_.steps.size());
	const std::set<std::uint32_t> before = held_;
	bool has_events = false;
	for (const Field &field : phase.members()) {
		if (is_task ? is_one_of(TASK_KEYS, field.key()) : is_one_of(PHASE_KEYS, field.key()))
			continue;
		const Event *event = find_event(field.key());
		if (!event)
			refuse_key(field);
		if (over_)
			field.fail("is never reached: " + *over_);
		read_event(field, *event);
		has_events = true;
	}
	if (!has_events)
		phase.fail("has no events");
	std::int64_t count = is_task ? 1 : read_loop(phase, 1);
	if (count != 1 && held_ != before)
		phase.fail("is repeated, but doesn't hold the same locks at its end as at its beginning");
	if (!over_)
		loop(phase, first, count, 0);
	if (count == -1 && !over_)
		over_ = phase.key() + " is repeated for ever";
}

void ProgramReader::loop(const Field &where, std::uint32_t first, std::int64_t count, std::uint8_t depth)
{
	constexpr std::array takes_none{Op::Yield,     Op::Lock,     Op::Unlock,      Op::Signal,
					Op::Broadcast, Op::Resume,   Op::Fork,	      Op::SetNice,
					Op::SetPolicy, Op::SetSlice, Op::SetAffinity, Op::Loop};
	bool takes_time = std::any_of(program_.steps.begin() + first, program_.steps.end(),
				      [&](const Step &step) { return !is_one_of(takes_none, step.op); });
	if (count == -1 && !takes_time)
		where.fail("is repeated for ever without taking time");
	Step &step = add(Op::Loop, first);
	step.depth = depth;
	step.amount.a = count;
}

// What rt-app sets when a phase begins, and (extensions) what later versions of it set.
void ProgramReader::enter_phase(const Field &phase)
{
	auto cpus = phase.find("cpus");
	if (phases_have_cpus_) {
		auto own = cpus ? cpus : task_.find("cpus");
		add(Op::SetAffinity, own ? file_.cpu_set(*own) : NONE);
	}
	if (&phase == &task_)
		return;	 // TaskDef has the rest
	Scheduling scheduling = read_scheduling(phase);
	if (scheduling.policy || scheduling.nice || scheduling.slice_ns)
		phase.extension("policy, priority or dl-runtime of a phase");
	if (scheduling.policy)
		add(Op::SetPolicy).amount.a = static_cast<Ns>(*scheduling.policy);
	if (scheduling.nice)
		add(Op::SetNice).amount.a = *scheduling.nice;
	if (scheduling.slice_ns)
		add(Op::SetSlice).amount.a = *scheduling.slice_ns;
}

void ProgramReader::read_event(const Field &field, const Event &event)
{
	if (event.extension)
		field.extension("such event");
	switch (event.form) {
	case Form::Time: {
		Amount amount = field.amount();
		add(event.op).amount = amount;
		break;
	}
	case Form::Timer:
		read_timer(field);
		break;
	case Form::Resource:
		read_resource(field, event);
		break;
	case Form::Wait:
		read_wait(field, event.op);
		break;
	case Form::Task:
		read_target(field, event.op);
		break;
	case Form::Nothing:
		if (!field.is(JsonValue::Kind::Null) && !field.string().empty())
			field.fail("has no value: write \"\"");
		add(event.op);
		if (event.op == Op::Exit) {
			must_hold_none(field, "there");
			over_ = "\"exit\" stands before it";
		}
		break;
	case Form::Refused:
		field.fail("the file doesn't say how long that takes: write \"run\"");
	}
}

void ProgramReader::read_timer(const Field &timer)
{
	timer.allow({"ref", "period", "mode"});
	std::string ref = timer.required("ref").string();
	if (!ref.starts_with("unique") && nr_instances_ > 1)
		timer.fail("timer \"" + ref
			   + "\" is shared by the instances of the task: begin its ref with \"unique\"");
	if (!ref.starts_with("unique"))
		file_.own_timer(ref, task_.key(), timer);
	auto index = timers_.try_emplace(ref, static_cast<std::uint32_t>(timers_.size())).first->second;
	Amount period = timer.required("period").amount();
	add(Op::SleepUntil, index).amount = period;
	if (auto mode = timer.find("mode")) {
		if (mode->string() == "absolute")
			absolute_.insert(index);
		else if (mode->string() != "relative")
			mode->fail("must be \"relative\" or \"absolute\"");
	}
}

void ProgramReader::read_wait(const Field &wait, Op op)
{
	wait.allow({"ref", "mutex"});
	std::uint32_t condition = file_.resource(ResourceKind::Condition, wait.required("ref"));
	std::uint32_t mutex = file_.resource(ResourceKind::Mutex, wait.required("mutex"));
	if (!held_.contains(mutex))
		wait.fail("waits with mutex \"" + file_.workload.resources[mutex].name + "\", which isn't locked here");
	if (op == Op::Signal) {	 // "sync"
		add(Op::Signal, condition);
		file_.note(Op::Signal, condition, NONE, wait);
	}
	add(Op::Wait, condition).other = mutex;
	file_.note(Op::Wait, condition, mutex, wait);
}

void ProgramReader::read_resource(const Field &field, const Event &event)
{
	std::uint32_t object = file_.resource(event.kind, field);
	const std::string &name = field.string();
	switch (event.op) {
	case Op::Lock:
		if (!held_.insert(object).second)
			field.fail("locks \"" + name + "\", which it holds, and would wait for itself");
		break;
	case Op::Unlock:
		if (!held_.erase(object))
			field.fail("unlocks \"" + name + "\", which isn't locked here");
		break;
	case Op::Barrier:
		if (!barriers_.insert(object).second)
			field.fail("the task comes to \"" + name + "\" twice; rt-app counts events and would wait for "
				   + "more tasks than there are: give each its own name");
		file_.add_to_barrier(object, nr_instances_, program_.name, field);
		break;
	default:
		file_.note(event.op, object, NONE, field);
	}
	add(event.op, object);
}

void ProgramReader::read_target(const Field &field, Op op)
{
	auto target = file_.targets.find(field.string());
	if (target == file_.targets.end())
		field.fail("there is no task \"" + field.string() + "\"");
	file_.started.insert(target->first);
	if (op == Op::Exec) {
		must_hold_none(field, "there");
		over_ = "\"exec\" stands before it";
	}
	add(op, op == Op::Exec ? target->second.program : target->second.definition);
}

void ProgramReader::must_hold_none(const Field &where, const char *when)
{
	if (!held_.empty())
		where.fail("holds \"" + file_.workload.resources[*held_.begin()].name + "\" " + when);
}

}  // namespace

Policy read_policy(const Field &policy)
{
	const std::string &name = policy.string();
	if (name == "SCHED_OTHER")
		return Policy::Other;
	if (name == "SCHED_BATCH" || name == "SCHED_IDLE") {
		policy.extension("such policy");
		return name == "SCHED_BATCH" ? Policy::Batch : Policy::Idle;
	}
	policy.fail("must be SCHED_OTHER, SCHED_BATCH or SCHED_IDLE; others are not simulated");
}

Scheduling read_scheduling(const Field &parent)
{
	Scheduling scheduling;
	if (auto policy = parent.find("policy"))
		scheduling.policy = read_policy(*policy);
	if (auto priority = parent.find("priority"))
		scheduling.nice = static_cast<std::int8_t>(priority->integer(-20, 19));
	if (auto slice = parent.find("dl-runtime")) {
		slice->extension("slice of SCHED_OTHER tasks");
		scheduling.slice_ns = slice->integer(MIN_SLICE_US, MAX_SLICE_US, " microseconds") * 1'000;
	}
	return scheduling;
}

Program read_program(File &file, const Field &task, std::uint32_t nr_instances)
{
	return ProgramReader(file, task, nr_instances).read();
}

}  // namespace schedtuna::sim::rt_app
