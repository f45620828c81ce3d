/* SPDX-License-Identifier: Apache-2.0 */
// The simulated sched_ext around a scheduler that is written by hand (scx_by_hand.c). Run by test_scx_core.py.
#include "scx/scheduler.hpp"
#include "sim_cases.hpp"

#include <cmath>
#include <thread>

using namespace schedtuna::scx;

extern "C" const struct scx_object scx_object;

namespace
{

constexpr std::uint64_t GOLDEN = 0x12ad937c544497ed;

std::shared_ptr<const Library> library()
{
	return std::make_shared<const Library>(scx_object, Constants{});
}

std::unique_ptr<Scheduler> by_hand(std::vector<GlobalSetting> settings = {})
{
	return std::make_unique<BpfScheduler>(library(), std::move(settings), std::vector<MapSetting>{}, 1);
}

GlobalSetting setting(const char *name, std::uint64_t value, std::size_t size)
{
	GlobalSetting made{name, std::vector<std::uint8_t>(size)};
	std::memcpy(made.value.data(), &value, size);
	return made;
}

Workload hogs(std::initializer_list<int> nices)
{
	Workload w;
	for (int nice : nices) {
		add_task(w, "hog" + std::to_string(w.tasks.size()), {run(3600'000 * MS)});
		w.tasks.back().nice = static_cast<std::int8_t>(nice);
	}
	return w;
}

Simulation simulated(const Workload &w, std::uint32_t cpus, std::vector<GlobalSetting> settings = {})
{
	return Simulation({cpus, 0, 1}, free_of_cost(), w, by_hand(std::move(settings)), {1, 1});
}

std::string end_of(Simulation &s, Ns until)
{
	try {
		s.run(until);
	} catch (const SchedulerError &error) {
		return error.what();
	}
	return "";
}

// Its virtual time goes as slowly as the weight is large: nice 5 has 335 of 1024, of which the cgroup's units keep 33.
void shares_follow_weights()
{
	Simulation s = simulated(hogs({0, 0, 0, 0, 5, 5, 5, 5}), 1);
	s.run(60'000 * MS);
	double heavy = 0, light = 0;
	for (TaskId id = 0; id < 8; id++)
		(id < 4 ? heavy : light) += static_cast<double>(s.cpu_time_ns(id));
	equal("all time is used", heavy + light, 60'000 * MS);
	check("weights are followed", std::abs(light / heavy - 0.33) < 0.01);
}

// A slice is judged at ticks of 4 ms: 20 ms is five of them.
void slices_end_at_ticks()
{
	Simulation s = simulated(hogs({0, 0}), 1);
	s.set_traced(true);
	s.run(2000 * MS);
	std::vector<sched_event> switches = switches_of(s);
	equal("switches", switches.size(), 1 + 2000 / 20);
	Simulation shorter = simulated(hogs({0, 0}), 1, {setting("slice_ns", 8 * MS, 8)});
	shorter.set_traced(true);
	shorter.run(2000 * MS);
	equal("switches with slices of 8 ms", switches_of(shorter).size(), 1 + 2000 / 8);
}

// Where nothing waits, a task runs on, and the scheduler hears nothing of it.
void who_is_alone_runs_on()
{
	Simulation s = simulated(hogs({0}), 2);
	s.run(1000 * MS);
	equal("switches", s.totals().nr_switches, 1);
	equal("CPU time", s.cpu_time_ns(0), 1000 * MS);
}

void idle_cpus_are_found()
{
	Workload w;
	for (int i = 0; i < 4; i++)
		add_task(w, "sleeper", {run(1 * MS), sleep_for(9 * MS), loop(0, -1)});
	Simulation s = simulated(w, 4);
	s.run(1000 * MS);
	for (TaskId id = 0; id < 4; id++)
		check("nobody waits", s.cpu_time_ns(id) >= 99 * MS);
	equal("idle", s.totals().idle_ns, 4 * 1000 * MS - 400 * MS);
}

// pick_idle_cpu_in_node() and scx_select_cpu_dfl(), on two caches of two cores of two threads.
void whole_cores_and_siblings_come_first()
{
	Workload w;
	add_task(w, "sleeper", {sleep_for(3600'000 * MS)});
	Simulation s({8, 4, 2}, free_of_cost(), w, make_scheduler("fair"), {1, 1});
	s.run(1 * MS);
	Core core(library(), {}, {}, 1);
	core.enter(s);
	core.load();
	core.add_task(0, false);
	for (CpuId busy : {0, 2})
		s.test_and_clear_idle(busy);
	equal("the first CPU of a whole core", core.pick_idle_cpu(core.allowed(0), 0), 4);
	for (CpuId busy : {5, 6, 7})
		s.test_and_clear_idle(busy);
	equal("the previous CPU's other thread", core.select_idle_cpu(2, 0, core.allowed(0), 0), 3);
	equal("another one of the cache", core.select_idle_cpu(2, 0, core.allowed(0), 0), 1);
	equal("none is left", core.pick_idle_cpu(core.allowed(0), 0), -16);  // EBUSY
	equal("any", core.pick_any_cpu(core.allowed(0)), 2);
}

void fifo_is_a_setting()
{
	Simulation s = simulated(hogs({0, 5}), 1, {setting("fifo_sched", 1, 1)});
	s.run(2000 * MS);
	equal("the heavy one", s.cpu_time_ns(0), 1000 * MS);
	equal("the light one", s.cpu_time_ns(1), 1000 * MS);
}

// With one CPU there is nothing to select: the first task is enqueued, too.
void its_error_ends_the_run()
{
	Simulation s = simulated(hogs({0, 0}), 1, {setting("fails", 1, 1)});
	same("words", end_of(s, 1000 * MS),
	     "BPF scheduler \"by_hand\" disabled (scx_bpf_error): pid 1 is one too many");
}

void forks_go_on_alike()
{
	for (std::uint32_t n : {9u, 33u}) {
		Simulation s({3, 0, 1}, Costs{}, mixed_load(n), by_hand(), {n, n});
		s.run(137 * MS);
		Simulation forked(s);
		s.run(900 * MS);
		forked.run(900 * MS);
		check("a fork is alike", alike(s, forked));
	}
}

void random_loads_keep_the_invariants()
{
	for (std::uint64_t seed = 0; seed < 40; seed++) {
		std::uint32_t cpus = 1 + seed % 5;
		Simulation s({cpus, 0, 1}, Costs{}, random_load(seed), by_hand(), {seed, seed});
		s.run(200 * MS);
		Simulation again({cpus, 0, 1}, Costs{}, random_load(seed), by_hand(), {seed, seed});
		again.run(200 * MS);
		check("the same seed is the same run", alike(s, again));
	}
}

// If the model changes, so does this: CHANGELOG.md says it.
void same_bits_as_before()
{
	Simulation s({4, 2, 1}, Costs{}, mixed_load(40), by_hand(), {7, 7});
	s.run(700 * MS);
	equal("hash", s.totals().hash, GOLDEN);
}

void threads_do_not_matter()
{
	std::uint64_t hashes[2][8];
	for (std::uint32_t threads : {1u, 4u}) {
		std::vector<std::thread> all;
		for (std::uint32_t thread = 0; thread < threads; thread++)
			all.emplace_back([&, thread] {
				for (std::uint32_t i = thread; i < 8; i += threads) {
					Simulation s({2, 0, 1}, Costs{}, mixed_load(12), by_hand(), {i, i});
					s.run(300 * MS);
					hashes[threads > 1][i] = s.totals().hash;
				}
			});
		for (std::thread &thread : all)
			thread.join();
	}
	check("the same on one thread and on four", !std::memcmp(hashes[0], hashes[1], sizeof(hashes[0])));
}

void it_takes_over_and_is_taken_over()
{
	Simulation s = machine(mixed_load(16), 2, "fair");
	s.run(100 * MS);
	s.swap(by_hand());
	s.run(1500 * MS);
	same("who is in charge", std::string(s.scheduler().name()), "by_hand");
	s.swap(make_scheduler("fair"));
	s.run(2000 * MS);
	same("who is in charge then", std::string(s.scheduler().name()), "fair");
}

void what_is_absent_is_named()
{
	struct scx_object object = ::scx_object;
	std::vector<scx_call> calls(object.calls, object.calls + object.nr_calls);
	calls[1].name = "scx_bpf_foresee";
	object.calls = calls.data();
	try {
		Library library(object, Constants{});
		check("an absent function is refused", false);
	} catch (const BadInput &error) {
		same("words", error.what(),
		     "by_hand needs what the simulated kernel lacks: the functions scx_bpf_foresee");
	}
	object = ::scx_object;
	object.abi++;
	raises<BadInput>("another version is refused", [&] { Library library(object, Constants{}); });
}

constexpr Case CASES[] = {
	{"shares_follow_weights", shares_follow_weights},
	{"slices_end_at_ticks", slices_end_at_ticks},
	{"who_is_alone_runs_on", who_is_alone_runs_on},
	{"idle_cpus_are_found", idle_cpus_are_found},
	{"whole_cores_and_siblings_come_first", whole_cores_and_siblings_come_first},
	{"fifo_is_a_setting", fifo_is_a_setting},
	{"its_error_ends_the_run", its_error_ends_the_run},
	{"forks_go_on_alike", forks_go_on_alike},
	{"random_loads_keep_the_invariants", random_loads_keep_the_invariants},
	{"same_bits_as_before", same_bits_as_before},
	{"threads_do_not_matter", threads_do_not_matter},
	{"it_takes_over_and_is_taken_over", it_takes_over_and_is_taken_over},
	{"what_is_absent_is_named", what_is_absent_is_named},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
