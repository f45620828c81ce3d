/* SPDX-License-Identifier: Apache-2.0 */
// Cases of native/sim/fair_queue.hpp, by name: test_sim_fair.py runs each. A case prints what was wrong and exits 1.
#include "sim/fair_queue.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>

using namespace schedtuna::sim;

namespace
{
int failures = 0;

void equal(const char *what, std::int64_t got, std::int64_t wanted)
{
	if (got == wanted)
		return;
	failures++;
	std::printf("%s: %lld, not %lld\n", what, static_cast<long long>(got), static_cast<long long>(wanted));
}

std::int64_t pick(std::vector<EntityState> states, QueueState queue = {}, FairParams params = {})
{
	std::size_t index = pick_from_state(states, queue, params);
	return index == SIZE_MAX ? -1 : static_cast<std::int64_t>(index);
}

EntityState waits(Ns vruntime, Ns deadline, std::uint32_t weight = 1024)
{
	return {.vruntime = vruntime, .deadline = deadline, .slice = 1'400'000, .weight = weight};
}

EntityState runs(Ns vruntime, Ns deadline, Ns vprot, std::uint32_t weight = 1024)
{
	EntityState state = waits(vruntime, deadline, weight);
	state.current = true;
	state.vprot = vprot;
	return state;
}

// What records of a kernel's picks can't tell apart.
void edges()
{
	// V = (0 + 0 + 1) / 3: an entity at 0 is eligible, the one at 1 isn't, however early its deadline.
	equal("V is rounded down", pick({waits(0, 50), waits(0, 40), waits(1, 10)}), 1);
	// V = -1/3 rounds to -1, not to 0.
	equal("V is rounded down below 0", pick({waits(0, 10), waits(0, 20), waits(-1, 30)}), 2);
	equal("no lag is enough", pick({waits(7, 50), waits(7, 40)}), 1);
	equal("equal deadlines are FIFO", pick({waits(0, 50), waits(0, 50), waits(0, 50)}), 0);
	equal("the current one loses a tie", pick({waits(0, 50), runs(0, 50, 0)}), 0);
	equal("the current one wins by 1 ns", pick({waits(0, 51), runs(0, 50, 0)}), 1);
	equal("delayed ones are candidates",
	      pick({waits(0, 50), {.vruntime = 0, .deadline = 40, .slice = 1, .delayed = true}}), 1);
	equal("a lone one needs no eligibility", pick({waits(900, 50)}), 0);
	equal("V is weighted", pick({waits(0, 90, 88761), waits(1000, 10, 15)}), 0);
}

void protection()
{
	std::vector<EntityState> states{runs(10, 100, 11), waits(10, 50)};
	equal("protected", pick(states), 0);
	equal("not protected from a shorter slice", pick(states, {.protect = false}), 1);
	states[0].vprot = 10;
	equal("its slice is over", pick(states), 1);
	equal("protection needs eligibility", pick({runs(11, 100, 90), waits(10, 50)}), 1);
	equal("6.16 protects to the deadline", pick({runs(10, 100, 100), waits(10, 50)}, {}, {.version = 616}), 0);
	equal("6.16 knows no other protection", pick({runs(10, 100, 99), waits(10, 50)}, {}, {.version = 616}), 1);
	equal("a buddy goes first", pick({runs(0, 1, 9), waits(0, 2), waits(0, 3)}, {.next = 2}), 2);
	equal("unless it isn't eligible", pick({runs(0, 1, 9), waits(0, 2), waits(4, 3)}, {.next = 2}), 0);
	equal("or the feature is off", pick({runs(0, 1, 9), waits(0, 2), waits(0, 3)}, {.next = 2}, {.pick_buddy = 0}),
	      0);
}

// A virtual time is what 1024 / weight makes of it, short of it by no more than the kernel's inverses are.
void inverse_weights()
{
	auto delta = [](std::uint32_t weight, bool is_task, Ns time) {
		Entity entity;
		entity.set_weight(weight << WEIGHT_SHIFT, is_task);
		return entity.delta_fair(time);
	};
	for (std::uint32_t weight : {88761u, 9548u, 1277u, 1024u, 820u, 335u, 110u, 56u, 45u, 29u, 15u, 3u})
		for (bool is_task : {false, true}) {
			Ns exact = 1'400'000ll * 1024 / weight, error = exact - delta(weight, is_task, 1'400'000);
			equal("close to 1024 / weight", error >= -exact / 10'000 && error <= exact / 10'000, 1);
		}
	// Read from 6.18.44's tables: 2^32 / 56 is 76695844.6, which the table truncates.
	equal("nice 13", delta(56, true, 1'400'000), 25'599'999);
	equal("nice 5", delta(335, true, 1'400'000), 1'400'000ll * (12820798ll * 1024 >> 2) >> 30);
	equal("groups truncate", delta(820, false, 1ll << 32), 5237764ll * 1024);
	equal("nice 0 is exact", delta(1024, true, 1'234'567), 1'234'567);
}

struct Rig {
	FairParams params;
	Entities entities;
	FairQueue queue;

	EntityId add(std::uint32_t weight, Ns slice = 0, bool initial = false)
	{
		EntityId id = static_cast<EntityId>(entities.size());
		entities.emplace_back();
		entities[id].set_weight(weight << WEIGHT_SHIFT, true);
		entities[id].custom_slice = slice != 0;
		entities[id].slice = slice;
		enter(id, initial);
		return id;
	}
	void enter(EntityId id, bool initial = false)
	{
		queue.place(entities, id, params, initial);
		queue.nr_queued++;
		queue.load_weight += entities[id].weight;
		queue.enqueue(entities, id);
		entities[id].on_rq = true;
	}
	void leave(EntityId id)
	{
		queue.update_lag(entities, id, params);
		if (id == queue.curr)
			queue.curr = NONE;
		else
			queue.dequeue(entities, id);
		entities[id].on_rq = false;
		queue.nr_queued--;
		queue.load_weight -= entities[id].weight;
	}
	void switch_to(EntityId id)
	{
		if (queue.curr != NONE)
			queue.enqueue(entities, queue.curr);
		queue.curr = NONE;
		queue.dequeue(entities, id);
		queue.set_protection(entities, id, params);
		queue.curr = id;
	}
	void run(Ns time)
	{
		Entity &running = entities[queue.curr];
		running.vruntime += running.delta_fair(time);
		queue.update_deadline(entities, queue.curr, params);
	}
};

void placement()
{
	Rig rig;
	EntityId a = rig.add(1024), b = rig.add(1024, 0, true);
	Ns first = rig.entities[a].vruntime;
	equal("a queue begins where the kernel's does", first, -(1 << 20));
	equal("a whole slice", rig.entities[a].deadline - first, rig.params.base_slice_ns);
	equal("new tasks have half a slice", rig.entities[b].deadline - first, rig.params.base_slice_ns / 2);
	rig.switch_to(a);
	rig.run(1'000'000);
	equal("V moved by half", rig.queue.avg_vruntime(rig.entities) - first, 500'000);
	rig.leave(b);
	equal("b is owed", rig.entities[b].vlag, 500'000);
	rig.enter(b);
	// Alone with a, V is a's vruntime; placed by an inflated lag, b's lag is what it was.
	equal("lag is kept over a sleep", rig.queue.avg_vruntime(rig.entities) - rig.entities[b].vruntime, 500'000);
	rig.run(50'000'000);
	rig.leave(b);
	equal("the clamp is the longest slice and a tick", rig.entities[b].vlag,
	      rig.params.base_slice_ns + rig.params.tick_ns);
	Rig old;
	old.params.version = 616;
	a = old.add(1024), b = old.add(1024, 3'000'000);
	old.switch_to(a);
	old.run(90'000'000);
	old.leave(b);
	equal("6.16: two slices", old.entities[b].vlag, 6'000'000);
}

void delayed()
{
	Rig rig;
	EntityId a = rig.add(1024), b = rig.add(1024);
	rig.switch_to(a);
	rig.run(2'000'000);
	rig.entities[a].delayed = true;
	rig.switch_to(b);
	Ns before = rig.entities[a].vruntime;
	rig.queue.requeue_delayed(rig.entities, a, rig.params);
	equal("negative lag stays", rig.entities[a].vruntime, before);
	equal("it is awake", rig.entities[a].delayed, 0);
	rig.entities[a].delayed = true;
	rig.run(6'000'000);
	rig.queue.requeue_delayed(rig.entities, a, rig.params);
	equal("positive lag is cut", rig.entities[a].vruntime, rig.queue.avg_vruntime(rig.entities));
}

void new_weight()
{
	Rig rig;
	EntityId a = rig.add(1024), b = rig.add(2048);
	for (EntityId id : {b, a, b, a}) {
		rig.switch_to(id);
		rig.run(id == a ? 5'000'000 : 10'000'000);
	}
	rig.run(600'000);
	Ns lag = rig.queue.avg_vruntime(rig.entities) - rig.entities[a].vruntime;
	Ns deadline = rig.entities[b].deadline - rig.entities[b].vruntime;
	rig.queue.reweight(rig.entities, a, rig.params, 512 << WEIGHT_SHIFT, true);
	equal("lag is of real time: half the weight, twice the virtual lag", rig.entities[a].vlag, 2 * lag);
	equal("the union of lag and protection loses the latter", FairQueue::is_protected(rig.entities[a], rig.params),
	      0);
	rig.queue.reweight(rig.entities, b, rig.params, 1024 << WEIGHT_SHIFT, true);
	equal("so are deadlines", rig.entities[b].deadline - rig.entities[b].vruntime, 2 * deadline);
	equal("sum of weights", static_cast<std::int64_t>(rig.queue.load_weight >> WEIGHT_SHIFT), 1536);
}

std::uint64_t state = 1;

std::uint64_t draw(std::uint64_t below)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return state % below;
}

// Random life of a queue beside the plainest form of the same rules: a list, scanned.
void variants()
{
	const std::uint32_t weights[] = {15, 335, 1024, 1024, 1024, 3121, 88761};
	const Ns slices[] = {0, 0, 0, 100'000, 3'000'000};
	for (std::uint64_t variant = 1; variant <= 300; variant++) {
		state = variant * 0x9e3779b97f4a7c15ull;
		Rig rig;
		std::list<EntityId> queued;  // in order of insertion
		std::vector<EntityId> asleep;
		std::uint64_t most = 2 + draw(variant % 10 ? 12 : 200);
		for (int step = 0; step < 400; step++) {
			Entities &entities = rig.entities;
			FairQueue &queue = rig.queue;
			std::uint64_t what = draw(10);
			if (rig.queue.nr_queued < 2 || (what < 2 && rig.queue.nr_queued < most)) {
				EntityId id;
				if (asleep.size() && draw(2)) {
					id = asleep.back();
					asleep.pop_back();
					rig.enter(id);
				} else {
					id = rig.add(weights[draw(7)], slices[draw(5)], draw(2));
				}
				queued.push_back(id);
				continue;
			}
			__int128 weighted = 0, load = 0;
			Ns shortest = NEVER, longest = 0;
			auto count = [&](EntityId id) {
				weighted += static_cast<__int128>(entities[id].vruntime) * entities[id].load();
				load += entities[id].load();
				shortest = std::min(shortest, entities[id].slice);
				longest = std::max(longest, entities[id].slice);
			};
			for (EntityId id : queued)
				count(id);
			EntityId curr = queue.curr;
			if (curr != NONE)
				count(curr);
			auto eligible = [&](EntityId id) { return entities[id].vruntime * load <= weighted; };
			EntityId best = NONE;
			for (EntityId id : queued)
				if (eligible(id) && (best == NONE || entities[id].deadline < entities[best].deadline))
					best = id;
			bool protect = draw(2);
			if (curr != NONE && eligible(curr)
			    && ((protect && entities[curr].vruntime < entities[curr].vlag) || best == NONE
				|| entities[curr].deadline < entities[best].deadline))
				best = curr;
			equal("pick", queue.pick(entities, rig.params, protect), best);
			equal("shortest slice", queue.min_slice(entities), shortest);
			equal("longest slice", queue.max_slice(entities), longest);
			Ns average = queue.avg_vruntime(entities);
			equal("V", average, static_cast<Ns>(weighted / load - (weighted % load < 0)));
			__int128 lags = 0;
			auto lag = [&](EntityId id) {
				lags += static_cast<__int128>(average - entities[id].vruntime) * entities[id].load();
			};
			for (EntityId id : queued)
				lag(id);
			if (curr != NONE)
				lag(curr);
			equal("lags add up to 0 but for the rounding of V", lags <= 0 && lags > -load, 1);
			if (failures) {
				std::printf("variant %llu, step %d\n", static_cast<unsigned long long>(variant), step);
				return;
			}
			if (what < 4) {
				EntityId id = curr != NONE && draw(2) ? curr : queued.front();
				if (id != curr)
					queued.remove(id);
				rig.leave(id);
				asleep.push_back(id);
			} else if (what == 4 && curr != NONE) {
				queue.set_slice(entities, curr, 200'000 + static_cast<Ns>(draw(3)) * 500'000);
			} else if (what == 5) {
				EntityId id = queued.front();
				queued.remove(id);
				queue.reweight(entities, id, rig.params, weights[draw(7)] << WEIGHT_SHIFT, true);
				queued.push_back(id);
			} else {
				if (best != curr) {
					queued.remove(best);
					if (curr != NONE)
						queued.push_back(curr);
					rig.switch_to(best);
				}
				rig.run(static_cast<Ns>(1 + draw(4'000'000)));
			}
		}
	}
}

const struct {
	const char *name;
	void (*run)();
} CASES[] = {{"edges", edges},	       {"protection", protection}, {"inverse_weights", inverse_weights},
	     {"placement", placement}, {"delayed", delayed},	   {"new_weight", new_weight},
	     {"variants", variants}};
}  // namespace

int main(int argc, char **argv)
{
	for (const auto &one : CASES)
		if (argc == 2 && !std::strcmp(argv[1], one.name))
			return one.run(), failures != 0;
	for (const auto &one : CASES)
		std::puts(one.name);
	return argc == 2;
}
