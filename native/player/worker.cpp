/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace schedtuna::player
{

using sim::NEVER;
using sim::NONE;
using sim::Op;
using sim::Step;

namespace
{

constexpr std::size_t MAX_NAME = 15;  // TASK_COMM_LEN - 1

// struct sched_attr of include/uapi/linux/sched/types.h; libraries declare it or not, by version.
struct SchedAttr {
	std::uint32_t size, policy;
	std::uint64_t flags;
	std::int32_t nice;
	std::uint32_t priority;
	std::uint64_t runtime, deadline, period;
};

void check(int error, const char *what)
{
	if (error)
		fail(what, error);
}

Counters read_counters(int tid, clockid_t clock)
{
	Counters counters;
	timespec time;
	if (clock_gettime(clock, &time) == 0)
		counters.cpu_time_ns = time.tv_sec * Ns{1'000'000'000} + time.tv_nsec;
	std::string folder = "/proc/self/task/" + std::to_string(tid) + "/";
	Ns ran;
	std::ifstream(folder + "schedstat") >> ran >> counters.run_delay_ns;
	std::ifstream status(folder + "status");
	for (std::string key; status >> key;)
		if (key == "voluntary_ctxt_switches:")
			status >> counters.nr_voluntary;
		else if (key == "nonvoluntary_ctxt_switches:")
			status >> counters.nr_involuntary;
	return counters;
}

}  // namespace

Worker::Worker(Stage &stage, std::uint32_t definition, sim::Key key, Ns start)
    : stage_(stage), definition_(stage.workload_.tasks[definition]), start_(start), key_(key), burner_(stage.burner_)
{
	begin_program(definition_.program);
	latencies_.reserve(1024);
}

void Worker::start()
{
	auto body = [](void *worker) -> void * {
		static_cast<Worker *>(worker)->run();
		return nullptr;
	};
	check(pthread_create(&thread_, nullptr, body, this), "a task can't be started");
}

// A program's own timers and draws begin with it.
void Worker::begin_program(std::uint32_t program)
{
	program_ = &stage_.workload_.programs[program];
	step_ = 0;
	std::fill(std::begin(loops_), std::end(loops_), 0);
	nth_.assign(program_->steps.size(), 0);
	timers_.assign(program_->nr_timers, 0);
}

void Worker::run()
{
	tid_ = gettid();
	pthread_setname_np(pthread_self(), definition_.name.substr(0, MAX_NAME).c_str());
	set_affinity(definition_.cpu_set);
	set_attributes(definition_.policy, definition_.nice, definition_.slice_ns);
	if (start_ == NEVER) {
		born_ = now_ns();
	} else {
		pthread_barrier_wait(&stage_.ready_);
		born_ = stage_.start_ + start_;
		before_ = read_counters(tid_, CLOCK_THREAD_CPUTIME_ID);
		before_.nr_voluntary += sleep_until(born_);
		before_.cpu_time_ns = thread_time_ns();
	}
	while (perform(program_->steps[step_]))
		;
	at_end_ = read_counters(tid_, CLOCK_THREAD_CPUTIME_ID);
	ended_.store(true, std::memory_order_release);
	stage_.ended();
}

Ns Worker::draw(const sim::Amount &amount)
{
	if (amount.shape == sim::Shape::Fixed)
		return amount.a;
	return sim::draw(amount, key_, step_, nth_[step_]++);
}

// As the simulator does, nothing is slept for what has passed.
void Worker::wait_until(Ns when)
{
	if (!sleep_until(when))
		return;
	Ns late = now_ns() - when;
	burner_.correct();
	std::lock_guard guard(latencies_lock_);
	latencies_.push_back(late);
}

bool Worker::sleep_until(Ns when)
{
	if (now_ns() >= when)
		return false;
	timespec time{when / 1'000'000'000, when % 1'000'000'000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR)
		;
	return true;
}

void Worker::loop(const Step &step)
{
	nr_phases_ += step.depth == 0;
	std::uint64_t &passed = loops_[step.depth];
	if (step.amount.a < 0 || static_cast<Ns>(++passed) < step.amount.a) {
		step_ = step.object;
		return;
	}
	passed = 0;
	step_++;
}

bool Worker::perform(const Step &step)
{
	switch (step.op) {
	case Op::Run:
		burner_.burn(draw(step.amount));
		break;
	case Op::Spin: {
		Ns from = now_ns();
		burner_.spin(from + draw(step.amount));
		break;
	}
	case Op::Sleep:
	case Op::Io: {
		Ns from = now_ns();
		wait_until(from + draw(step.amount));
		break;
	}
	case Op::SleepUntil: {
		Ns &timer = timers_[step.object];
		timer += draw(step.amount);
		Ns now = now_ns() - born_;
		if (timer <= now && step.flags & sim::TIMER_RELATIVE)
			timer = now;
		wait_until(born_ + timer);
		break;
	}
	case Op::Yield:
		sched_yield();
		break;
	case Op::Fork:
		stage_.fork(step.object, sim::child_key(key_, step.object, nr_forks_++));
		break;
	case Op::Exec:
		key_ = sim::exec_key(key_);
		born_ = now_ns();
		begin_program(step.object);
		pthread_setname_np(pthread_self(), program_->name.substr(0, MAX_NAME).c_str());
		return true;
	case Op::Exit:
		return false;
	case Op::SetNice:
		set_attributes(policy_, static_cast<int>(step.amount.a), slice_ns_);
		break;
	case Op::SetPolicy:
		set_attributes(static_cast<sim::Policy>(step.amount.a), nice_, slice_ns_);
		break;
	case Op::SetSlice:
		set_attributes(policy_, nice_, step.amount.a);
		break;
	case Op::SetAffinity:
		set_affinity(step.object);
		break;
	case Op::Loop:
		loop(step);
		return true;
	default:
		perform_resource(step);
	}
	step_++;
	return true;
}

void Worker::perform_resource(const Step &step)
{
	Resource &resource = stage_.resources_[step.object];
	char message = 0;
	switch (step.op) {
	case Op::Lock:
		pthread_mutex_lock(&resource.mutex);
		break;
	case Op::Unlock:
		pthread_mutex_unlock(&resource.mutex);
		break;
	case Op::Wait:
		pthread_cond_wait(&resource.condition, &stage_.resources_[step.other].mutex);
		break;
	case Op::Signal:
		pthread_cond_signal(&resource.condition);
		break;
	case Op::Broadcast:
		pthread_cond_broadcast(&resource.condition);
		break;
	case Op::Barrier:
		pthread_barrier_wait(&resource.barrier);
		break;
	case Op::Suspend:
		pthread_mutex_lock(&resource.mutex);
		pthread_cond_wait(&resource.condition, &resource.mutex);
		pthread_mutex_unlock(&resource.mutex);
		break;
	case Op::Resume:
		pthread_mutex_lock(&resource.mutex);
		pthread_cond_broadcast(&resource.condition);
		pthread_mutex_unlock(&resource.mutex);
		break;
	case Op::Read:
		if (read(resource.pipe[0], &message, sizeof message) != sizeof message)
			fail("a pipe can't be read", errno);
		break;
	case Op::Write:
		if (write(resource.pipe[1], &message, sizeof message) != sizeof message)
			fail("a pipe can't be written", errno);
		break;
	default:
		fail("a step that can't be played", EINVAL);
	}
}

void Worker::set_attributes(sim::Policy policy, int nice, Ns slice_ns)
{
	static constexpr std::uint32_t POLICIES[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE};
	SchedAttr attr{}, real{};
	attr.size = sizeof attr;
	attr.policy = POLICIES[static_cast<int>(policy)];
	attr.nice = nice;
	attr.runtime = static_cast<std::uint64_t>(slice_ns);
	// sched_setattr() leaves the nice value of SCHED_IDLE as it was.
	if (syscall(SYS_sched_setattr, 0, &attr, 0)
	    || (policy == sim::Policy::Idle && setpriority(PRIO_PROCESS, 0, nice)))
		fail(definition_.name + ": nice " + std::to_string(nice) + " can't be set", errno);
	if (slice_ns && (syscall(SYS_sched_getattr, 0, &real, sizeof real, 0) || real.runtime != attr.runtime))
		fail(definition_.name + ": this kernel gives tasks no slices of their own: Linux 6.12 and later do", 0);
	policy_ = policy;
	nice_ = nice;
	slice_ns_ = slice_ns;
}

void Worker::set_affinity(std::uint32_t cpu_set)
{
	cpu_set_t cpus = stage_.all_cpus_;
	if (cpu_set != NONE) {
		CPU_ZERO(&cpus);
		for (sim::CpuId cpu : stage_.workload_.cpu_sets[cpu_set])
			if (cpu < CPU_SETSIZE)
				CPU_SET(cpu, &cpus);
	}
	cpu_set_t before;
	check(pthread_getaffinity_np(pthread_self(), sizeof before, &before), "the CPUs can't be read");
	if (!CPU_EQUAL(&before, &cpus))
		check(pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus),
		      "a task's \"cpus\" can't be set: are they all here?");
}

// What the thread did since the start, or since it was forked.
Counters Worker::counters() const
{
	Counters now;
	clockid_t clock;
	if (!ended_.load(std::memory_order_acquire) && pthread_getcpuclockid(thread_, &clock) == 0)
		now = read_counters(tid_, clock);
	if (ended_.load(std::memory_order_acquire))
		now = at_end_;
	return {now.cpu_time_ns - before_.cpu_time_ns, now.run_delay_ns - before_.run_delay_ns,
		now.nr_voluntary - before_.nr_voluntary, now.nr_involuntary - before_.nr_involuntary};
}

void Worker::print(std::string &json) const
{
	Counters done = counters();
	latencies_lock_.lock();
	std::vector<Ns> sorted = latencies_;
	latencies_lock_.unlock();
	std::sort(sorted.begin(), sorted.end());
	auto percentile = [&sorted](std::size_t percent) {  // the smallest that so many do not exceed
		return sorted.empty() ? "null" : std::to_string(sorted[(sorted.size() * percent + 99) / 100 - 1]);
	};
	auto member = [&json](const char *key, const std::string &value) {
		json += std::string(", \"") + key + "\": " + value;
	};
	json += "{\"name\": \"";
	for (char c : definition_.name)
		if (c == '"' || c == '\\')
			(json += '\\') += c;
		else if (static_cast<unsigned char>(c) < ' ')
			json += "\\u00" + std::string(1, "01"[c >> 4]) + "0123456789abcdef"[c & 15];
		else
			json += c;
	json += '"';
	member("ended", ended_ ? "true" : "false");
	member("nr_phases", std::to_string(nr_phases_));
	member("cpu_time_ns", std::to_string(done.cpu_time_ns));
	member("asked_ns", std::to_string(burner_.asked_ns()));
	member("run_delay_ns", std::to_string(done.run_delay_ns));
	member("nr_voluntary_switches", std::to_string(done.nr_voluntary));
	member("nr_involuntary_switches", std::to_string(done.nr_involuntary));
	member("nr_timers", std::to_string(sorted.size()));
	member("timer_latency_p50_ns", percentile(50));
	member("timer_latency_p99_ns", percentile(99));
	member("timer_latency_max_ns", percentile(100));
	json += '}';
}

}  // namespace schedtuna::player
