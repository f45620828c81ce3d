/* SPDX-License-Identifier: Apache-2.0 */
// What the tasks of a file share, and whether it can come together.
#include "rt_app_program.hpp"

#include <algorithm>

namespace schedtuna::sim::rt_app
{
namespace
{

constexpr std::int64_t MAX_CPU = 4095;
constexpr std::uint32_t PIPE_SIZE = 16;	 // messages; the kernel's PIPE_DEF_BUFFERS

}  // namespace

std::uint32_t File::resource(ResourceKind kind, const Field &name)
{
	auto [entry, is_new] = resources_.try_emplace({kind, name.string()},
						      static_cast<std::uint32_t>(workload.resources.size()));
	if (!is_new)
		return entry->second;
	std::uint32_t size = 0;
	if (kind == ResourceKind::Pipe) {
		auto declared = pipe_sizes.find(name.string());
		size = declared == pipe_sizes.end() ? PIPE_SIZE : declared->second;
	}
	// rt-app makes one condition variable of both.
	auto other = kind == ResourceKind::Condition ? ResourceKind::Suspended : ResourceKind::Condition;
	if ((kind == ResourceKind::Condition || kind == ResourceKind::Suspended)
	    && resources_.contains({other, name.string()}))
		name.fail("\"" + name.string() + "\" is waited for and signalled here, suspended and resumed there");
	workload.resources.push_back({name.string(), kind, size});
	return entry->second;
}

std::uint32_t File::cpu_set(const Field &cpus)
{
	std::vector<CpuId> set;
	for (const Field &cpu : cpus.elements())
		set.push_back(static_cast<CpuId>(cpu.integer(0, MAX_CPU)));
	if (set.empty())
		cpus.fail("names no CPU");
	std::sort(set.begin(), set.end());
	set.erase(std::unique(set.begin(), set.end()), set.end());
	auto [entry, is_new] = cpu_sets_.try_emplace(set, static_cast<std::uint32_t>(workload.cpu_sets.size()));
	if (is_new)
		workload.cpu_sets.push_back(std::move(set));
	return entry->second;
}

void File::add_to_barrier(std::uint32_t object, std::uint32_t nr_tasks, const std::string &task, const Field &event)
{
	workload.resources[object].size += nr_tasks;
	barriers_.emplace(task, event);
}

void File::own_timer(const std::string &ref, const std::string &task, const Field &event)
{
	const std::string &owner = timers_.try_emplace(ref, task).first->second;
	if (owner != task)
		event.fail("timer \"" + ref + "\" is that of task \"" + owner
			   + "\", too: begin its ref with \"unique\"");
}

void File::note(Op op, std::uint32_t object, std::uint32_t mutex, const Field &event)
{
	Use &use = uses_[object];
	bool waits = op == Op::Wait || op == Op::Suspend || op == Op::Read;
	std::optional<Field> &first = waits ? use.waits : use.wakes;
	if (!first)
		first = event;
	if (op != Op::Wait)
		return;
	if (use.mutex != NONE && use.mutex != mutex)
		event.fail("\"" + workload.resources[object].name + "\" is waited for with another mutex elsewhere");
	use.mutex = mutex;
}

void File::check() const
{
	for (const auto &[object, use] : uses_) {
		const Resource &resource = workload.resources[object];
		std::string name = "\"" + resource.name + "\"";
		if (use.waits && !use.wakes)
			use.waits->fail("would wait for ever: nothing "
					+ std::string(resource.kind == ResourceKind::Condition	 ? "signals "
						      : resource.kind == ResourceKind::Suspended ? "resumes "
												 : "writes to ")
					+ name);
		if (resource.kind == ResourceKind::Pipe && !use.waits)
			use.wakes->fail("would wait for ever once the pipe is full: nothing reads from " + name);
	}
	for (const auto &[task, barrier] : barriers_)
		if (started.contains(task))
			barrier.fail("a barrier of a task that is forked or exec'd, so that nothing tells how many to "
				     "wait for");
	for (Resource &resource : workload.resources)
		if (resource.kind == ResourceKind::Barrier)
			resource.size = std::max(resource.size, 1u);  // no task that comes to it is ever started
}

}  // namespace schedtuna::sim::rt_app
