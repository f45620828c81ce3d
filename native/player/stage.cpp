/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.hpp"

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace schedtuna::player
{

using sim::NEVER;
using sim::ResourceKind;

namespace
{

// From when the last thread is made until all of them start: each has to set itself up before.
constexpr Ns SETUP_NS = 20'000'000, SETUP_PER_TASK_NS = 200'000;

}  // namespace

void fail(const std::string &what, int error)
{
	std::string text = "schedtuna-player: " + what + (error ? std::string(": ") + std::strerror(error) : "") + "\n";
	std::fputs(text.c_str(), stderr);
	_exit(1);
}

Stage::Stage(const sim::Workload &workload, std::uint64_t seed)
    : workload_(workload), seed_(seed), burner_(Burner::calibrated()), resources_(workload.resources.size())
{
	if (sched_getaffinity(0, sizeof all_cpus_, &all_cpus_))
		fail("the CPUs can't be read", errno);
	for (std::size_t i = 0; i < resources_.size(); i++)
		open_resource(workload.resources[i], resources_[i]);
}

void Stage::open_resource(const sim::Resource &resource, Resource &real)
{
	switch (resource.kind) {
	case ResourceKind::Mutex:
	case ResourceKind::Condition:
	case ResourceKind::Suspended:
		pthread_mutex_init(&real.mutex, nullptr);
		pthread_cond_init(&real.condition, nullptr);
		break;
	case ResourceKind::Barrier:
		pthread_barrier_init(&real.barrier, nullptr, resource.size);
		break;
	case ResourceKind::Pipe:
		// In packet mode each message takes one of the pipe's pages, so that it holds as many as were asked
		// for.
		if (pipe2(real.pipe, O_DIRECT | O_CLOEXEC))
			fail("pipe " + resource.name + " can't be made", errno);
		if (fcntl(real.pipe[1], F_SETPIPE_SZ, static_cast<int>(resource.size) * getpagesize()) < 0)
			fail("pipe " + resource.name + " can't hold " + std::to_string(resource.size) + " messages",
			     errno);
	}
}

void Stage::fork(std::uint32_t definition, sim::Key key)
{
	std::lock_guard guard(lock_);
	nr_live_++;
	workers_.emplace_back(*this, definition, key, NEVER).start();
}

void Stage::ended()
{
	std::lock_guard guard(lock_);
	if (--nr_live_ == 0)
		all_ended_.notify_one();
}

std::string Stage::play()
{
	std::unique_lock guard(lock_);
	for (std::uint32_t i = 0; i < workload_.tasks.size(); i++)
		if (workload_.tasks[i].start_ns != NEVER)
			workers_.emplace_back(*this, i, sim::root_key(seed_, i), workload_.tasks[i].start_ns);
	nr_live_ = static_cast<std::uint32_t>(workers_.size());
	pthread_barrier_init(&ready_, nullptr, nr_live_ + 1);
	for (Worker &worker : workers_)
		worker.start();
	start_ = now_ns() + SETUP_NS + SETUP_PER_TASK_NS * nr_live_;
	guard.unlock();
	pthread_barrier_wait(&ready_);
	guard.lock();
	auto all_ended = [this] { return nr_live_ == 0; };
	if (workload_.duration_ns == NEVER)
		all_ended_.wait(guard, all_ended);
	else
		all_ended_.wait_until(
			guard,
			std::chrono::steady_clock::time_point(std::chrono::nanoseconds(start_ + workload_.duration_ns)),
			all_ended);
	std::string json = "{\"seed\": " + std::to_string(seed_) + ", \"start_ns\": " + std::to_string(start_)
			   + ", \"elapsed_ns\": " + std::to_string(now_ns() - start_) + ", \"tasks\": [";
	for (const Worker &worker : workers_) {
		json += json.back() == '[' ? "\n  " : ",\n  ";
		worker.print(json);
	}
	return json + "\n]}\n";
}

}  // namespace schedtuna::player
