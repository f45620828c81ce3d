/* SPDX-License-Identifier: Apache-2.0 */
// Timers of programs, the watchdog, and how a scheduler ends.
#include "core.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace schedtuna::scx
{

using sim::NEVER;
using sim::SchedulerError;

namespace
{

constexpr std::uint64_t TIMER_ABSOLUTE = 1;  // BPF_F_TIMER_ABS

}  // namespace

// The first word of a struct bpf_timer is the number of its row here, from 1 on.
std::int64_t Core::init_timer(std::uint64_t address, std::uint64_t reference, std::uint64_t)
{
	Map *owner = map(reference);
	std::uint64_t &number = at<std::uint64_t>(address);
	if (!owner)
		return -EINVAL;
	if (number)
		return -EBUSY;
	Timer timer;
	timer.map = static_cast<std::uint32_t>(reference - SCX_MAP_REFERENCE);
	timer.address = address;
	std::uint32_t nth = 0;
	for (std::uint64_t key, value; owner->entry(nth, 0, key, value); nth++) {
		if (address < value || address >= value + owner->value_size())
			continue;
		timer.value = value;
		timer.key = key;
		if (!key) {  // an array's is its index
			timer.key = block_.allocate(8);
			at<std::uint32_t>(timer.key) = nth;
		}
		break;
	}
	if (!timer.value) {
		scx_set_trap(&instance_, SCX_TRAP_LOAD, 0, 0, address);
		return -EINVAL;
	}
	timers_.push_back(timer);
	number = timers_.size();
	return 0;
}

std::int64_t Core::set_timer_callback(std::uint64_t address, std::uint64_t function)
{
	std::uint64_t number = at<std::uint64_t>(address);
	if (number == 0 || number > timers_.size())
		return -EINVAL;
	timers_[number - 1].function = function;
	return 0;
}

std::int64_t Core::start_timer(std::uint64_t address, std::uint64_t ns, std::uint64_t flags)
{
	std::uint64_t number = at<std::uint64_t>(address);
	if (number == 0 || number > timers_.size() || !timers_[number - 1].function)
		return -EINVAL;
	Timer &timer = timers_[number - 1];
	Ns now = machine_->now(), length = static_cast<Ns>(std::min<std::uint64_t>(ns, sim::LONGEST));
	CpuId before = timer.cpu;
	timer.when = flags & TIMER_ABSOLUTE ? std::max(length - BOOTED_NS, now) : now + length;
	timer.cpu = machine_->this_cpu();
	timer.seq = ++timer_seq_;
	set_cpu_timer(timer.cpu);
	if (before != timer.cpu)
		set_cpu_timer(before);
	return 0;
}

std::int64_t Core::cancel_timer(std::uint64_t address)
{
	std::uint64_t number = at<std::uint64_t>(address);
	if (number == 0 || number > timers_.size())
		return -EINVAL;
	Timer &timer = timers_[number - 1];
	bool was_active = timer.when != NEVER;
	timer.when = NEVER;
	set_cpu_timer(timer.cpu);
	return was_active;
}

void Core::set_cpu_timer(CpuId cpu)
{
	Ns first = cpu == 0 ? watchdog_at_ : NEVER;
	for (const Timer &timer : timers_)
		if (timer.cpu == cpu)
			first = std::min(first, timer.when);
	if (kicks_itself_[cpu])
		first = machine_->now();
	machine_->set_timer(cpu, first);
}

void Core::timers_fired(CpuId cpu)
{
	if (kicks_itself_[cpu]) {
		kicks_itself_[cpu] = false;
		machine_->resched(cpu);
	}
	if (cpu == 0 && watchdog_at_ <= machine_->now()) {
		watchdog_at_ = machine_->now() + static_cast<Ns>(timeout_ns_ / 2);
		check_stalls();
	}
	for (;;) {
		Timer *due = nullptr;
		for (Timer &timer : timers_)
			if (timer.cpu == cpu && timer.when <= machine_->now()
			    && (!due || std::pair(timer.when, timer.seq) < std::pair(due->when, due->seq)))
				due = &timer;
		if (!due || is_ended_)
			break;
		due->when = NEVER;
		instance_.fuel = SCX_FUEL;
		context_ = Context::Other;
		scx_run_reference(&instance_, due->function, SCX_MAP_REFERENCE + due->map, due->key, due->value);
		context_ = Context::None;
		if (instance_.trap.reason)
			error(trap_text());
		if (!kicks_.empty())
			apply_kicks();
	}
	set_cpu_timer(cpu);
}

// scx_watchdog_workfn()
void Core::check_stalls()
{
	auto timeout = static_cast<Ns>(timeout_ns_);
	for (TaskId id = 0; id < views_.size(); id++) {
		if (!views_[id].address || views_[id].runnable_at == NEVER)
			continue;
		Ns waits = machine_->now() - views_[id].runnable_at;
		if (waits <= timeout)
			continue;
		std::string seconds = std::to_string(waits / 1'000'000'000),
			    ms = std::to_string(waits / 1'000'000 % 1000);
		end(constants().SCX_EXIT_ERROR_STALL, 0,
		    who(id) + " failed to run for " + seconds + "." + std::string(3 - ms.size(), '0') + ms + "s");
		return;
	}
}

std::string Core::who(TaskId id)
{
	if (id == NONE || !is_task(id))
		return "swapper[0]";
	const mirror::task_struct &p = task(id);
	std::string comm(reinterpret_cast<const char *>(p.comm), strnlen(reinterpret_cast<const char *>(p.comm), 16));
	return comm + "[" + std::to_string(p.pid) + "]";
}

void Core::end(std::uint64_t kind, std::int64_t code, std::string message)
{
	if (is_ended_)
		return;
	is_ended_ = true;
	exit_kind_ = kind;
	exit_code_ = code;
	exit_message_ = std::move(message);
}

std::string Core::trap_text() const
{
	const scx_trap &trap = instance_.trap;
	const scx_object &object = library_->object();
	std::string where = trap.function < object.nr_functions ? object.functions[trap.function].name : "a program";
	where += " (instruction " + std::to_string(trap.instruction) + ")";
	switch (trap.reason) {
	case SCX_TRAP_LOAD:
	case SCX_TRAP_STORE:
		return where + " reaches out of its memory";
	case SCX_TRAP_STACK:
		return where + " calls too deep";
	case SCX_TRAP_FUEL:
		return where + " goes round without an end";
	case SCX_TRAP_CALL:
		return where + " calls "
		       + (trap.detail < object.nr_calls ? object.calls[trap.detail].name : "a function")
		       + ", which the simulated kernel lacks";
	case SCX_TRAP_UNKNOWN:
		return where + " uses "
		       + (trap.detail < object.nr_unknowns ? object.unknowns[trap.detail] : "what is not known");
	default:
		return where + " refers to no map or function";
	}
}

// ops.exit(), for what it does to the scheduler's own state.
void Core::describe_end()
{
	if (!has(Operation::exit) || instance_.trap.reason)
		return;
	std::uint64_t message = block_.allocate(exit_message_.size() + 1),
		      info = block_.allocate(sizeof(mirror::scx_exit_info));
	if (!message || !info)
		return;
	std::memcpy(block_.memory() + message, exit_message_.data(), exit_message_.size());
	auto &filled = at<mirror::scx_exit_info>(info);
	filled.kind = static_cast<std::int32_t>(exit_kind_);
	filled.exit_cpu = static_cast<std::int32_t>(machine_->this_cpu());
	filled.exit_code = exit_code_;
	filled.reason = filled.msg = filled.dump = message;
	call(Operation::exit, Context::Other, {info});
}

void Core::leave()
{
	choosing_ = NONE;
	if (!is_ended_) [[likely]]
		return;
	if (!is_told_) {
		is_told_ = true;
		describe_end();
	}
	const Constants &k = constants();
	std::string reason = exit_kind_ == k.SCX_EXIT_ERROR_BPF	    ? "scx_bpf_error"
			     : exit_kind_ == k.SCX_EXIT_ERROR_STALL ? "runnable task stall"
			     : exit_kind_ == k.SCX_EXIT_UNREG_BPF   ? "unregistered from BPF"
								    : "runtime error";
	throw SchedulerError("BPF scheduler \"" + std::string(library_->object().name) + "\" disabled (" + reason
			     + "): " + exit_message_);
}

}  // namespace schedtuna::scx
