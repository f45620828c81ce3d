/* SPDX-License-Identifier: Apache-2.0 */
#include "rt_app_program.hpp"

namespace schedtuna::sim
{
namespace rt_app
{
namespace
{

constexpr std::int64_t MAX_TASKS = 1'000'000;
constexpr std::int64_t MAX_US = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t MAX_S = 1'000'000;
constexpr std::int64_t MAX_WEIGHT = 10'000;  // CGROUP_WEIGHT_MAX
constexpr std::size_t MAX_PATH = 255;
constexpr std::int64_t MAX_PIPE = 256;	// pages in /proc/sys/fs/pipe-max-size

class Reader
{
      public:
	Reader(const Source &source, const JsonValue &root) : root_(source, root, "", ""), file_(workload_)
	{
	}
	Workload read();

      private:
	Workload workload_;
	Field root_;
	File file_;
	Policy default_policy_ = Policy::Other;
	std::map<std::string, GroupId> groups_;

	void read_global(const Field &global);
	void read_resources(const Field &resources);
	void read_groups(const Field &groups);
	GroupId group(const Field &field, const std::string &path);
	void read_tasks(const Field &tasks);
	void read_task(const Field &task, std::uint32_t nr_instances);
};

Workload Reader::read()
{
	root_.allow({"tasks", "global", "resources", "taskgroups"});
	if (auto global = root_.find("global"))
		read_global(*global);
	if (auto resources = root_.find("resources"))
		read_resources(*resources);
	if (auto groups = root_.find("taskgroups"))
		read_groups(*groups);
	read_tasks(root_.required("tasks"));
	file_.check();
	return std::move(workload_);
}

void Reader::read_global(const Field &global)
{
	// Where rt-app writes what, and how it gets to know how fast the CPU is: nothing here.
	global.allow({"duration", "calibration", "default_policy", "pi_enabled", "lock_pages", "logdir", "log_basename",
		      "log_size", "ftrace", "gnuplot", "io_device", "mem_buffer_size", "cumulative_slack"});
	if (auto duration = global.find("duration")) {
		std::int64_t seconds = duration->integer(-1, MAX_S, " seconds");
		if (seconds == 0)
			duration->fail("must be -1 (until all tasks have ended) or how many seconds, not 0");
		if (seconds > 0)
			workload_.duration_ns = seconds * 1'000'000'000;
	}
	if (auto policy = global.find("default_policy"))
		default_policy_ = read_policy(*policy);
	if (auto pi = global.find("pi_enabled"); pi && pi->boolean())
		pi->fail("priority inheritance is not simulated: leave it out");
}

void Reader::read_resources(const Field &resources)
{
	for (const Field &resource : resources.members()) {
		resource.allow({"type", "capacity"});
		Field type = resource.required("type");
		auto capacity = resource.find("capacity");
		if (type.string() == "pipe") {
			type.extension("pipes");
			if (!capacity)
				continue;
			std::int64_t size = capacity->integer(1, MAX_PIPE, " messages");
			if (size & (size - 1))
				capacity->fail("must be a power of two, as the kernel's pipes are");
			file_.pipe_sizes[resource.key()] = static_cast<std::uint32_t>(size);
		} else if (type.string() != "mutex" && type.string() != "wait" && type.string() != "barrier"
			   && type.string() != "timer") {
			type.fail("must be mutex, wait, barrier, timer or pipe");
		} else if (capacity) {
			capacity->fail("pipes alone have one");
		}
	}
}

// "/a/b": its parents come into being with it.
GroupId Reader::group(const Field &field, const std::string &path)
{
	if (path == "/" || path.empty())
		return ROOT_GROUP;
	if (auto known = groups_.find(path); known != groups_.end())
		return known->second;
	std::size_t slash = path.rfind('/');
	std::string last = path.substr(slash == std::string::npos ? 0 : slash + 1);
	if (path.size() > MAX_PATH)
		field.fail("longer than " + std::to_string(MAX_PATH) + " bytes");
	if (path[0] != '/' || last.empty() || last == "." || last == "..")
		field.fail("\"" + path + "\" is no group: write \"/name\" or \"/parent/name\"");
	GroupId parent = group(field, path.substr(0, slash));
	auto id = static_cast<GroupId>(workload_.groups.size());
	workload_.groups.push_back({path, parent, NICE_0_WEIGHT});
	return groups_[path] = id;
}

void Reader::read_groups(const Field &groups)
{
	groups.extension("taskgroups");
	for (const Field &field : groups.members()) {
		GroupId id = group(field, field.key());
		if (id == ROOT_GROUP)
			field.fail("the root group has no weight");
		field.allow({"cpu_weight"});
		if (auto weight = field.find("cpu_weight"))
			workload_.groups[id].shares = shares_of(
				static_cast<std::uint32_t>(weight->integer(1, MAX_WEIGHT)));
	}
}

void Reader::read_tasks(const Field &tasks)
{
	std::vector<std::pair<Field, std::uint32_t>> all;
	std::int64_t nr_definitions = 0;
	bool starts = false;
	for (const Field &task : tasks.members()) {
		auto instance = task.find("instance");
		auto nr_instances = static_cast<std::uint32_t>(instance ? instance->integer(0, MAX_TASKS) : 1);
		starts |= nr_instances > 0;
		file_.targets[task.key()] = {static_cast<std::uint32_t>(all.size()),
					     static_cast<std::uint32_t>(nr_definitions)};
		nr_definitions += std::max(nr_instances, 1u);
		if (nr_definitions > MAX_TASKS)
			task.fail("more than " + std::to_string(MAX_TASKS) + " tasks");
		all.emplace_back(task, nr_instances);
	}
	if (!starts)
		tasks.fail("no task is started");
	for (const auto &[task, nr_instances] : all)
		read_task(task, nr_instances);
}

void Reader::read_task(const Field &task, std::uint32_t nr_instances)
{
	TaskDef definition;
	definition.name = task.key();
	definition.program = static_cast<std::uint32_t>(workload_.programs.size());
	Scheduling scheduling = read_scheduling(task);
	definition.policy = scheduling.policy.value_or(default_policy_);
	definition.nice = scheduling.nice.value_or(0);
	definition.slice_ns = scheduling.slice_ns.value_or(0);
	if (auto cpus = task.find("cpus"))
		definition.cpu_set = file_.cpu_set(*cpus);
	if (auto group_path = task.find("taskgroup")) {
		group_path->extension("taskgroup");
		definition.group = group(*group_path, group_path->string());
	}
	if (auto delay = task.find("delay"))
		definition.start_ns = delay->integer(0, MAX_US, " microseconds") * 1'000;
	if (nr_instances == 0)
		definition.start_ns = NEVER;
	workload_.programs.push_back(read_program(file_, task, nr_instances));
	workload_.tasks.insert(workload_.tasks.end(), std::max(nr_instances, 1u), definition);
}

}  // namespace
}  // namespace rt_app

Workload parse_rt_app(std::string_view text, const std::string &name, Dialect dialect)
{
	rt_app::Source source{name, dialect};
	JsonValue root = parse_json(text, name);
	return rt_app::Reader(source, root).read();
}

}  // namespace schedtuna::sim
