/* SPDX-License-Identifier: Apache-2.0 */
// kernel/sched/ext.c as far as the simulated machine has it: what a translated scheduler's programs call, and what
// calls them.
//
// The block has all that programs can reach; the rest of the state lies in vectors here, by TaskId and CPU. A copy
// goes on as the original does. Nothing is thrown through a program: what ends the scheduler is kept, and thrown when
// the operation is over (leave()).
#pragma once

#include "block.hpp"
#include "dsq.hpp"
#include "library.hpp"
#include "map.hpp"
#include "mirror.hpp"
#include "prepared.hpp"
#include "sim/simulation.hpp"

#include <optional>
#include <unordered_map>

namespace schedtuna::scx
{

using sim::CpuId;
using sim::CpuSet;
using sim::GroupId;
using sim::Simulation;

inline constexpr Ns BOOTED_NS = 1'000'000'000;	// the kernel's clocks where the simulation begins
inline constexpr std::uint64_t NO_SUCH = static_cast<std::uint64_t>(-2), INVALID = static_cast<std::uint64_t>(-22);

// A value that a user gives a global of the object, before it is loaded.
struct GlobalSetting {
	std::string name;
	std::vector<std::uint8_t> value;  // of the global's size
};

// Where the program that runs was called from, which decides what it may call.
enum class Context : std::uint8_t { None, SelectCpu, Enqueue, Dispatch, Other };

class Core
{
      public:
	// `prepared`: what its loader did; nullptr: nobody knows, and the object's own initial values hold.
	Core(std::shared_ptr<const Library> library, std::vector<GlobalSetting> settings,
	     std::vector<MapSetting> entries, std::uint64_t seed, std::shared_ptr<const Prepared> prepared = nullptr);
	Core(const Core &other);
	Core &operator=(const Core &) = delete;

	// What the simulated scheduler hands on, in core.cpp and tasks.cpp. All are between enter() and leave().
	void enter(Simulation &machine)
	{
		machine_ = &machine;
	}
	void leave();  // raises SchedulerError: the kernel would have ended the scheduler, and why
	void load();
	void add_task(TaskId id, bool is_fork);
	void remove_task(TaskId id);
	CpuId select_cpu(TaskId id, CpuId prev, std::uint64_t wake_flags);
	void enqueue_woken(TaskId id, std::uint64_t flags);
	TaskId balance(CpuId cpu, TaskId prev, bool prev_runnable);
	void put_prev(CpuId cpu, TaskId prev, TaskId next);
	void running(TaskId id);
	void stopping(TaskId id, bool runnable);
	void quiescent(TaskId id, std::uint64_t flags, bool exits);
	void yield(TaskId id);
	void tick(CpuId cpu, TaskId id);
	void update_idle(CpuId cpu, bool idle);
	void change(TaskId id, Operation operation);  // its weight or CPUs
	void timers_fired(CpuId cpu);
	std::vector<TaskId> candidates(CpuId cpu) const;
	bool take(TaskId id);  // out of its dispatch queue

	// What programs call, in functions_*.cpp. Addresses are of the block.
	Simulation &machine()
	{
		return *machine_;
	}
	const Constants &constants() const
	{
		return library_->constants();
	}
	const Library &library() const
	{
		return *library_;
	}
	Block &block()
	{
		return block_;
	}
	scx_instance &instance()
	{
		return instance_;
	}
	// So many bytes at an address; a trap and scratch memory if a program made it up.
	std::uint8_t *bytes(std::uint64_t address, std::uint64_t size);
	template <typename T> T &at(std::uint64_t address)
	{
		return *reinterpret_cast<T *>(bytes(address, sizeof(T)));
	}
	std::string text(std::uint64_t address, std::uint64_t most = 1024);

	mirror::task_struct &task(TaskId id)
	{
		return *reinterpret_cast<mirror::task_struct *>(block_.memory() + views_[id].address);
	}
	std::uint64_t address_of(TaskId id) const  // 0: NONE
	{
		return id == NONE ? 0 : views_[id].address;
	}
	TaskId task_at(std::uint64_t address);	// NONE: an idle task, or an error
	bool is_task(TaskId id) const		// whether the scheduler knows it
	{
		return id < views_.size() && views_[id].address;
	}
	std::uint64_t current_address(CpuId cpu) const	// of the CPU's task or its idle task
	{
		TaskId id = machine_->current(cpu);
		return id == NONE || !is_task(id) ? idle_tasks_[cpu] : views_[id].address;
	}
	CpuId task_cpu(TaskId id) const
	{
		return machine_->task(id).cpu;
	}
	bool is_running(TaskId id) const
	{
		return machine_->current(task_cpu(id)) == id;
	}
	Map *map(std::uint64_t reference);  // nullptr and a trap: there is none
	std::uint64_t reference_of(const Map &map) const;
	std::uint64_t now_ns() const
	{
		return static_cast<std::uint64_t>(machine_->now() + BOOTED_NS);
	}
	std::uint32_t random();

	// Dispatch queues, in dispatch.cpp
	std::int64_t create_dsq(std::uint64_t id);
	void destroy_dsq(std::uint64_t id);
	std::optional<std::uint32_t> user_dsq(std::uint64_t id) const;
	std::optional<std::uint32_t> find_dsq(std::uint64_t id, CpuId cpu) const;
	Dsq &dsq(std::uint32_t index)
	{
		return dsqs_[index];
	}
	const std::vector<DsqPlace> &places() const
	{
		return places_;
	}
	bool insert(std::uint64_t task, std::uint64_t dsq_id, std::uint64_t slice, const std::uint64_t *vtime,
		    std::uint64_t flags);
	bool move_to_local(std::uint64_t dsq_id, std::uint64_t flags);
	bool move(TaskId id, std::uint64_t dsq_id, std::uint64_t flags, bool by_vtime);
	std::uint32_t nr_slots() const
	{
		return max_batch_ - static_cast<std::uint32_t>(buffer_.size());
	}
	void cancel_dispatch();
	std::uint32_t reenqueue(std::uint32_t index);  // every task that is in a queue
	void kick(std::int32_t cpu, std::uint64_t flags);
	void set_slice(TaskId id, std::uint64_t slice);

	// Idle CPUs, in idle.cpp. -EBUSY: none.
	bool has_builtin_idle(const char *function);  // if not, the scheduler ends
	bool tracks_idle() const
	{
		return has_builtin_idle_;
	}
	std::int64_t select_idle_cpu(CpuId prev, std::uint64_t wake_flags, const std::uint64_t *allowed,
				     std::uint64_t flags);
	std::int64_t pick_idle_cpu(const std::uint64_t *allowed, std::uint64_t flags);
	std::int64_t pick_any_cpu(const std::uint64_t *allowed);
	bool test_and_clear_idle(CpuId cpu);
	std::uint64_t idle_mask(bool whole_cores);  // a mask's address, as it is now
	std::uint64_t all_cpus() const
	{
		return all_cpus_;
	}
	std::uint64_t *mask(std::uint64_t address)  // its words: SCX_MASK_WORDS
	{
		return at<mirror::cpumask>(address).bits;
	}
	std::uint64_t *allowed(TaskId id)  // where it may run
	{
		return mask(task(id).cpus_ptr);
	}

	// The kernel's structures
	std::uint64_t group_address(GroupId id) const
	{
		return groups_[id];
	}
	std::optional<GroupId> group_at(std::uint64_t address);
	// What a pointer to a variable of every CPU is on one of them; 0: it is no such variable.
	std::uint64_t per_cpu(std::uint64_t symbol, CpuId cpu);
	std::uint64_t rq_address(CpuId cpu)
	{
		return per_cpu(rqs_, cpu);
	}

	// Timers, in timers.cpp
	std::int64_t init_timer(std::uint64_t timer, std::uint64_t map, std::uint64_t flags);
	std::int64_t set_timer_callback(std::uint64_t timer, std::uint64_t function);
	std::int64_t start_timer(std::uint64_t timer, std::uint64_t ns, std::uint64_t flags);
	std::int64_t cancel_timer(std::uint64_t timer);

	// The scheduler ends, with the kernel's reason and words; the first one stays.
	void end(std::uint64_t kind, std::int64_t code, std::string message);
	void error(std::string message)
	{
		end(constants().SCX_EXIT_ERROR, 0, std::move(message));
	}
	// How often each of the object's blocks ran; empty: nobody counts.
	const std::vector<std::uint64_t> &covered() const
	{
		return covered_;
	}
	Context context() const
	{
		return context_;
	}
	bool valid_cpu(std::int64_t cpu, const char *where);
	std::string who(TaskId id);  // comm[pid], as the kernel writes it

	std::uint64_t cpuperf(CpuId cpu) const
	{
		return cpuperf_[cpu];
	}
	void set_cpuperf(CpuId cpu, std::uint32_t target)
	{
		cpuperf_[cpu] = target;
	}

      private:
	// What the core knows of a task beside the machine.
	struct View {
		std::uint64_t address = 0;  // of its task_struct; 0: the scheduler does not know it
		bool is_held = false;	    // by the BPF scheduler: SCX_OPSS_QUEUED
		bool in_custody = false;
		std::uint64_t held_seq = 0;
		bool is_direct = false;	 // where to, p->scx says
		bool direct_by_vtime = false;
		Ns charged_ns = 0;  // of its CPU time
		Ns runnable_at = sim::NEVER;
		std::uint32_t program = NONE;
		std::uint32_t nr_children = 0;
	};
	struct Dispatch {
		TaskId id;
		std::uint64_t held_seq, dsq_id, flags;
		bool by_vtime;
	};
	struct Timer {
		std::uint32_t map = 0;	// its index
		std::uint64_t key = 0, value = 0, function = 0, address = 0;
		CpuId cpu = 0;
		Ns when = sim::NEVER;
		std::uint64_t seq = 0;
	};

	std::uint64_t call(Operation operation, Context context, std::initializer_list<std::uint64_t> arguments);
	bool has(Operation operation) const
	{
		return present_ >> static_cast<unsigned>(operation) & 1;
	}
	std::uint64_t allocate(std::uint64_t bytes, std::uint64_t alignment = 16);  // raises std::bad_alloc
	std::uint64_t bytes_needed() const;
	void load_image();
	void set_globals();
	void add_maps();
	using Pointers = std::unordered_map<std::uint64_t, std::uint64_t>;  // of the guest -> here
	void set_values();
	void set_entry(const MapSetting &entry);
	void set_members();
	void prepare();
	void write(const LoaderWrite &given, const Pointers &pointers);
	void run_program(const ProgramRun &run, Pointers &pointers);
	void add_kernel();
	void add_symbols();
	void add_groups();
	void fill_mask(std::uint64_t address, const CpuSet &cpus);
	void set_cpus(TaskId id);
	void describe(TaskId id);
	void charge(CpuId cpu);
	void sync_slice(TaskId id);
	void refill(TaskId id);
	void mark_direct(TaskId id, std::uint64_t dsq, std::uint64_t flags, bool by_vtime);
	void enqueue(TaskId id, std::uint64_t flags);
	void put(TaskId id, std::uint32_t dsq, std::uint64_t flags, bool by_vtime);
	void dispatch_to(TaskId id, CpuId cpu, std::uint64_t dsq_id, std::uint64_t flags, bool by_vtime);
	void leave_custody(TaskId id, std::uint64_t flags);
	void flush(CpuId cpu);
	bool consume(std::uint32_t dsq, CpuId cpu, std::uint64_t flags);
	TaskId first_local(CpuId cpu);
	void apply_kicks();
	void check_stalls();
	void set_cpu_timer(CpuId cpu);
	bool is_core_idle(CpuId cpu) const;
	std::int64_t pick_from(const std::uint64_t *allowed, bool whole_cores);
	void describe_end();
	std::string trap_text() const;

	std::shared_ptr<const Library> library_;
	std::vector<GlobalSetting> settings_;
	std::vector<MapSetting> entries_;
	std::shared_ptr<const Prepared> prepared_;
	std::uint64_t flags_ = 0, timeout_ns_ = 0;  // of struct sched_ext_ops
	std::uint32_t max_batch_ = 0, present_ = 0;
	std::uint64_t random_;
	Simulation *machine_ = nullptr;
	Block block_;
	scx_instance instance_{};
	std::vector<std::uint64_t> symbols_, covered_;
	std::vector<Map> maps_;
	std::vector<View> views_;
	std::vector<DsqPlace> places_;
	std::vector<Dsq> dsqs_;	 // each CPU's local one, the global one, then the scheduler's
	std::unordered_map<std::uint64_t, std::uint32_t> user_dsqs_;
	std::vector<Dispatch> buffer_;
	TaskId being_enqueued_ = NONE;
	CpuId dispatching_ = NONE;  // whose dispatch() goes on
	CpuId choosing_ = NONE;	    // whose balance() to put_prev() goes on
	std::uint64_t nr_dispatched_ = 0;
	std::uint64_t held_seq_ = 0;
	std::vector<std::pair<CpuId, std::uint64_t>> kicks_;
	std::vector<Timer> timers_;
	std::uint64_t timer_seq_ = 0;
	std::vector<CpuId> picked_;  // per CPU, the last one of cpumask_any_and_distribute()
	std::vector<std::uint64_t> idle_tasks_, groups_, cpuperf_;
	std::uint64_t all_cpus_ = 0, idle_cpus_ = 0, idle_cores_ = 0, arguments_ = 0;
	std::uint64_t rqs_ = 0, llc_ids_ = 0, llc_sizes_ = 0, cpu_stats_ = 0, priorities_ = 0, preempt_counts_ = 0,
		      frequencies_ = 0;	 // of every CPU, one behind the other
	std::vector<Ns> idle_ns_, idle_since_;
	Ns watchdog_at_ = sim::NEVER;
	std::vector<bool> kicks_itself_;  // per CPU, once it has chosen
	std::vector<std::uint8_t> scratch_;
	Context context_ = Context::None;
	bool has_builtin_idle_ = true;
	bool is_ended_ = false, is_told_ = false;
	std::uint64_t exit_kind_ = 0;
	std::int64_t exit_code_ = 0;
	std::string exit_message_;
};

}  // namespace schedtuna::scx
