/* SPDX-License-Identifier: Apache-2.0 */
#include "core.hpp"

#include "functions.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace schedtuna::scx
{

using sim::SchedulerError;

namespace
{

// include/linux/preempt.h: operations run with the runqueue's lock held.
constexpr std::uint32_t NO_RESCHED = 1u << 31, PREEMPT_OFFSET = 1, HARDIRQ_OFFSET = 1u << 16;
constexpr std::uint64_t ROOM = 1ull << 30;  // of virtual memory beside what is known to be needed

// Of a group without cpu.max: RUNTIME_INF and default_bw_period_us() of kernel/sched/sched.h.
constexpr std::uint64_t NO_QUOTA = ~0ull;
constexpr std::uint64_t DEFAULT_PERIOD_US = 100'000;

}  // namespace

Core::Core(std::shared_ptr<const Library> library, std::vector<GlobalSetting> settings, std::vector<MapSetting> entries,
	   std::uint64_t seed, std::shared_ptr<const Prepared> prepared)
    : library_(std::move(library)), settings_(std::move(settings)), entries_(std::move(entries)),
      prepared_(std::move(prepared)), random_(seed)
{
	set_members();
}

Core::Core(const Core &other)
    : library_(other.library_), settings_(other.settings_), entries_(other.entries_), prepared_(other.prepared_),
      flags_(other.flags_), timeout_ns_(other.timeout_ns_), max_batch_(other.max_batch_), present_(other.present_),
      random_(other.random_), block_(other.block_), instance_(other.instance_), symbols_(other.symbols_),
      covered_(other.covered_), maps_(other.maps_), views_(other.views_), places_(other.places_), dsqs_(other.dsqs_),
      user_dsqs_(other.user_dsqs_), buffer_(other.buffer_), held_seq_(other.held_seq_), kicks_(other.kicks_),
      timers_(other.timers_), timer_seq_(other.timer_seq_), picked_(other.picked_), idle_tasks_(other.idle_tasks_),
      groups_(other.groups_), cpuperf_(other.cpuperf_), all_cpus_(other.all_cpus_), idle_cpus_(other.idle_cpus_),
      idle_cores_(other.idle_cores_), arguments_(other.arguments_), rqs_(other.rqs_), llc_ids_(other.llc_ids_),
      llc_sizes_(other.llc_sizes_), cpu_stats_(other.cpu_stats_), priorities_(other.priorities_),
      preempt_counts_(other.preempt_counts_), frequencies_(other.frequencies_), idle_ns_(other.idle_ns_),
      idle_since_(other.idle_since_), watchdog_at_(other.watchdog_at_), kicks_itself_(other.kicks_itself_),
      has_builtin_idle_(other.has_builtin_idle_), is_ended_(other.is_ended_), is_told_(other.is_told_),
      exit_kind_(other.exit_kind_), exit_code_(other.exit_code_), exit_message_(other.exit_message_)
{
	instance_.memory = block_.memory();
	instance_.symbols = symbols_.data();
	instance_.covered = covered_.empty() ? nullptr : covered_.data();
	instance_.core = this;
}

std::uint64_t Core::allocate(std::uint64_t bytes, std::uint64_t alignment)
{
	std::uint64_t address = block_.allocate(bytes, alignment);
	if (!address)
		throw std::bad_alloc();
	return address;
}

std::uint64_t Core::bytes_needed() const
{
	const scx_object &object = library_->object();
	std::uint64_t needed = object.image_end + ROOM;
	for (std::uint32_t i = 0; i < object.nr_maps; i++) {
		const scx_map &row = object.maps[i];
		std::uint64_t copies = static_cast<MapType>(row.type) == MapType::PerCpuArray ? machine_->nr_cpus() : 1;
		if (static_cast<MapType>(row.type) == MapType::Arena)
			needed += ROOM;
		else if (row.type == static_cast<std::uint32_t>(MapType::Array) || copies > 1)
			needed += copies * row.max_entries * ((row.value_size + 7ull) & ~7ull);
	}
	return std::min<std::uint64_t>(needed, SCX_MAX_BYTES) & ~4095ull;
}

// What a loader does before the kernel takes the object, and then what the kernel does.
void Core::load()
{
	const scx_object &object = library_->object();
	block_.open(bytes_needed(), object.image_end);
	instance_ = {};
	instance_.memory = block_.memory();
	instance_.limit = block_.limit();
	instance_.stack = SCX_STACK;
	instance_.object = &object;
	instance_.core = this;
	covered_.assign(library_->counts ? object.nr_blocks : 0, 0);
	instance_.covered = covered_.empty() ? nullptr : covered_.data();
	load_image();
	set_globals();
	add_kernel();
	add_maps();
	if (prepared_) {
		prepare();
		set_values();
	}
	for (const MapSetting &entry : entries_)
		set_entry(entry);
	add_groups();
	has_builtin_idle_ = !has(Operation::update_idle) || flags_ & constants().SCX_OPS_KEEP_BUILTIN_IDLE;
	watchdog_at_ = machine_->now() + static_cast<Ns>(timeout_ns_ / 2);
	if (has(Operation::init))
		if (auto code = static_cast<std::int32_t>(call(Operation::init, Context::Other, {})))
			error("ops.init() failed (" + std::to_string(code) + ")");
	for (GroupId id = 0; has(Operation::cgroup_init) && id < groups_.size() && !is_ended_; id++) {
		auto &arguments = at<mirror::scx_cgroup_init_args>(arguments_);
		arguments = {};
		arguments.weight = id < machine_->nr_groups()
					   ? std::clamp((machine_->group_weight(id) * 100 + 512) / 1024, 1u, 10'000u)
					   : 100;
		arguments.bw_period_us = DEFAULT_PERIOD_US;
		arguments.bw_quota_us = NO_QUOTA;
		if (auto code = static_cast<std::int32_t>(
			    call(Operation::cgroup_init, Context::Other, {groups_[id], arguments_})))
			error("ops.cgroup_init() failed (" + std::to_string(code) + ")");
	}
	set_cpu_timer(0);
}

void Core::load_image()
{
	const scx_object &object = library_->object();
	for (std::uint32_t i = 0; i < object.nr_sections; i++) {
		const scx_section &section = object.sections[i];
		if (section.data)
			std::memcpy(block_.memory() + section.address, section.data, section.size);
	}
}

void Core::add_maps()
{
	const scx_object &object = library_->object();
	for (std::uint32_t i = 0; i < object.nr_maps; i++)
		maps_.emplace_back(block_, object.maps[i], machine_->nr_cpus());
	for (std::uint32_t i = 0; i < object.nr_map_slots; i++) {
		const scx_map_slot &slot = object.map_slots[i];
		std::uint64_t inner = SCX_MAP_REFERENCE + slot.inner;
		maps_[slot.map].update(block_, reinterpret_cast<const std::uint8_t *>(&slot.key),
				       reinterpret_cast<const std::uint8_t *>(&inner), 0, 0);
	}
}

void Core::fill_mask(std::uint64_t address, const CpuSet &cpus)
{
	std::uint64_t *words = mask(address);
	std::fill(words, words + SCX_MASK_WORDS, 0);
	std::copy(cpus.words().begin(), cpus.words().end(), words);
}

void Core::add_kernel()
{
	std::uint32_t nr_cpus = machine_->nr_cpus();
	all_cpus_ = allocate(sizeof(mirror::cpumask));
	idle_cpus_ = allocate(sizeof(mirror::cpumask));
	idle_cores_ = allocate(sizeof(mirror::cpumask));
	fill_mask(all_cpus_, CpuSet(nr_cpus, true));
	arguments_ = allocate(128);
	rqs_ = allocate(sizeof(mirror::rq) * nr_cpus);
	llc_ids_ = allocate(4ull * nr_cpus);
	llc_sizes_ = allocate(4ull * nr_cpus);
	priorities_ = allocate(4ull * nr_cpus);	 // all CPUs are alike
	cpu_stats_ = allocate(sizeof(mirror::kernel_cpustat) * nr_cpus);
	preempt_counts_ = allocate(4ull * nr_cpus);
	frequencies_ = allocate(8ull * nr_cpus);  // pointers to policies: NULL, there are none
	for (CpuId cpu = 0; cpu < nr_cpus; cpu++) {
		CpuId first = 0, size = 0;
		for (CpuId other = nr_cpus; other-- > 0;)
			if (machine_->llc_of(other) == machine_->llc_of(cpu))
				first = other, size++;
		at<std::uint32_t>(llc_ids_ + 4ull * cpu) = first;
		at<std::uint32_t>(llc_sizes_ + 4ull * cpu) = size;
		idle_tasks_.push_back(allocate(sizeof(mirror::task)));
		auto &idle = at<mirror::task>(idle_tasks_.back());
		std::string comm = "swapper/" + std::to_string(cpu);
		std::memcpy(idle.seen.comm, comm.data(), std::min<std::size_t>(comm.size(), 15));
		idle.seen.flags = mirror::PF_IDLE | mirror::PF_KTHREAD;
		idle.seen.prio = idle.seen.static_prio = idle.seen.normal_prio = 120;
		idle.seen.nr_cpus_allowed = 1;
		idle.seen.cpus_ptr = all_cpus_;
		idle.seen.wake_cpu = idle.seen.recent_used_cpu = static_cast<std::int32_t>(cpu);
		idle.seen.real_parent = idle.seen.group_leader = idle_tasks_.back();
		idle.id = NONE;
		dsqs_.emplace_back(constants().SCX_DSQ_LOCAL_ON | cpu, cpu);
	}
	dsqs_.emplace_back(constants().SCX_DSQ_GLOBAL, NONE);
	picked_.assign(nr_cpus, 0);
	cpuperf_.assign(nr_cpus, constants().SCX_CPUPERF_ONE);
	idle_ns_.assign(nr_cpus, 0);
	idle_since_.assign(nr_cpus, machine_->now());
	kicks_itself_.assign(nr_cpus, false);
	add_symbols();
}

// Variables of the kernel that programs may name: of every CPU, one behind the other.
void Core::add_symbols()
{
	const scx_object &object = library_->object();
	for (std::uint32_t i = 0; i < object.nr_symbols; i++) {
		std::string_view name = object.symbols[i].name;
		symbols_.push_back(name == "runqueues"		   ? rqs_
				   : name == "sd_llc_id"	   ? llc_ids_
				   : name == "sd_llc_size"	   ? llc_sizes_
				   : name == "sched_core_priority" ? priorities_
				   : name == "kernel_cpustat"	   ? cpu_stats_
				   : name == "__preempt_count"	   ? preempt_counts_
				   : name == "cpufreq_cpu_data"	   ? frequencies_
								   : 0);
	}
	instance_.symbols = symbols_.data();
}

bool is_known_symbol(std::string_view name)
{
	static constexpr std::string_view KNOWN[] = {"runqueues",	    "sd_llc_id",      "sd_llc_size",
						     "sched_core_priority", "kernel_cpustat", "__preempt_count",
						     "cpufreq_cpu_data"};
	return std::find(std::begin(KNOWN), std::end(KNOWN), name) != std::end(KNOWN);
}

// A group is its cgroup: the root's id is 1, as the kernel numbers them.
void Core::add_groups()
{
	std::uint32_t n = std::max(machine_->nr_groups(), 1u);
	for (GroupId id = 0; id < n; id++) {
		std::uint64_t address = allocate(sizeof(mirror::group));
		auto &group = at<mirror::group>(address);
		group.id = id;
		group.node.id = id + 1;
		group.seen.kn = address + offsetof(mirror::group, node);
		group.set.dfl_cgrp = address;
		for (GroupId at = id; at != sim::ROOT_GROUP && at < machine_->nr_groups();
		     at = machine_->group_parent(at))
			group.seen.level++;
		groups_.push_back(address);
	}
}

std::uint64_t Core::per_cpu(std::uint64_t symbol, CpuId cpu)
{
	if (cpu >= machine_->nr_cpus())
		return 0;
	if (symbol == rqs_) {
		std::uint64_t address = rqs_ + cpu * sizeof(mirror::rq);
		auto &rq = at<mirror::rq>(address);
		rq.cpu = static_cast<std::int32_t>(cpu);
		rq.curr = current_address(cpu);
		rq.clock = rq.clock_task = rq.clock_pelt = now_ns();
		rq.nr_running = dsqs_[cpu].nr() + (machine_->current(cpu) != NONE);
		return address;
	}
	if (symbol == llc_ids_ || symbol == llc_sizes_ || symbol == priorities_)
		return symbol + 4ull * cpu;
	if (symbol == frequencies_)
		return symbol + 8ull * cpu;
	if (symbol == preempt_counts_) {
		std::uint64_t address = symbol + 4ull * cpu;
		at<std::uint32_t>(address) = NO_RESCHED | PREEMPT_OFFSET
					     | (machine_->in_interrupt() && cpu == machine_->this_cpu() ? HARDIRQ_OFFSET
													: 0);
		return address;
	}
	if (symbol == cpu_stats_) {
		std::uint64_t address = cpu_stats_ + cpu * sizeof(mirror::kernel_cpustat);
		auto &stat = at<mirror::kernel_cpustat>(address);
		Ns idle = idle_ns_[cpu];
		if (machine_->current(cpu) == NONE)
			idle += machine_->now() - idle_since_[cpu];
		stat.cpustat[0] = static_cast<std::uint64_t>(machine_->now() - idle);  // CPUTIME_USER
		stat.cpustat[5] = static_cast<std::uint64_t>(idle);		       // CPUTIME_IDLE
		return address;
	}
	return 0;
}

std::uint8_t *Core::bytes(std::uint64_t address, std::uint64_t size)
{
	if (address >= SCX_STACK && size <= instance_.limit && address <= instance_.limit - size) [[likely]]
		return block_.memory() + address;
	scx_set_trap(&instance_, SCX_TRAP_LOAD, 0, 0, address);
	scratch_.assign(std::max<std::uint64_t>(std::min<std::uint64_t>(size, ROOM), 64), 0);
	return scratch_.data();
}

std::string Core::text(std::uint64_t address, std::uint64_t most)
{
	std::string found;
	for (std::uint64_t i = 0; i < most; i++) {
		if (address + i >= instance_.limit || address < SCX_STACK || !block_.memory()[address + i])
			break;
		found += static_cast<char>(block_.memory()[address + i]);
	}
	return found;
}

TaskId Core::task_at(std::uint64_t address)
{
	if (address >= SCX_IMAGE && address <= instance_.limit - sizeof(mirror::task)) [[likely]] {
		std::uint64_t id;
		std::memcpy(&id, block_.memory() + address + offsetof(mirror::task, id), sizeof(id));
		if (id < views_.size() && views_[id].address == address) [[likely]]
			return static_cast<TaskId>(id);
		if (std::find(idle_tasks_.begin(), idle_tasks_.end(), address) != idle_tasks_.end())
			return NONE;
	}
	scx_set_trap(&instance_, SCX_TRAP_LOAD, 0, 0, address);
	return NONE;
}

std::optional<GroupId> Core::group_at(std::uint64_t address)
{
	auto found = std::find(groups_.begin(), groups_.end(), address);
	if (found != groups_.end())
		return static_cast<GroupId>(found - groups_.begin());
	scx_set_trap(&instance_, SCX_TRAP_LOAD, 0, 0, address);
	return {};
}

Map *Core::map(std::uint64_t reference)
{
	std::uint64_t index = reference - SCX_MAP_REFERENCE;
	if (index < maps_.size()) [[likely]]
		return &maps_[index];
	scx_set_trap(&instance_, SCX_TRAP_REFERENCE, 0, 0, reference);
	return nullptr;
}

std::uint64_t Core::reference_of(const Map &map) const
{
	return SCX_MAP_REFERENCE + static_cast<std::uint64_t>(&map - maps_.data());
}

std::uint32_t Core::random()
{
	return static_cast<std::uint32_t>(sim::mix(random_ += 0x9e3779b97f4a7c15) >> 32);
}

std::uint64_t Core::call(Operation operation, Context context, std::initializer_list<std::uint64_t> arguments)
{
	Context before = std::exchange(context_, context);
	std::uint64_t fuel = std::exchange(instance_.fuel, SCX_FUEL);
	std::uint64_t result = scx_run_operation(&instance_, library_->function(operation), arguments.begin(),
						 static_cast<std::uint32_t>(arguments.size()));
	context_ = before;
	if (instance_.trap.reason) [[unlikely]]
		error(trap_text());
	else
		instance_.fuel = fuel;
	if (before == Context::None && !kicks_.empty())
		apply_kicks();
	return result;
}

}  // namespace schedtuna::scx
