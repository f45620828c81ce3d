/* SPDX-License-Identifier: Apache-2.0 */
#include "pick_binding.hpp"
#include "sched_pick.h"
#include "sim/fair_queue.hpp"

#include <algorithm>
#include <cstring>

namespace nb = nanobind;

namespace schedtuna::sim
{
namespace
{

// Rows of Picks.queues and Picks.candidates: virtual times are relative to their queue's. One index per pick.
nb::bytes pick_from_states(nb::bytes queues, nb::bytes candidates)
{
	std::size_t nr_picks = queues.size() / sizeof(sched_pick), left = candidates.size() / sizeof(sched_candidate);
	const char *row = candidates.c_str();
	std::vector<std::uint32_t> found(nr_picks);
	std::vector<EntityState> states;
	for (std::size_t i = 0; i < nr_picks; i++) {
		sched_pick pick;
		std::memcpy(&pick, queues.c_str() + i * sizeof pick, sizeof pick);
		if (pick.nr_candidates > left)
			throw BadInput("there are fewer candidates than the picks tell of");
		left -= pick.nr_candidates;
		states.assign(pick.nr_candidates, {});
		QueueState queue;
		for (std::size_t place = 0; place < states.size(); place++, row += sizeof(sched_candidate)) {
			sched_candidate from;
			std::memcpy(&from, row, sizeof from);
			states[place] = {static_cast<Ns>(from.vruntime),
					 static_cast<Ns>(from.deadline),
					 static_cast<Ns>(from.slice_ns),
					 static_cast<Ns>(from.vprot),
					 from.weight,
					 (from.flags & CANDIDATE_DELAYED) != 0,
					 (from.flags & CANDIDATE_PREV) != 0};
			if (from.flags & CANDIDATE_BUDDY)
				queue.next = place;
		}
		found[i] = static_cast<std::uint32_t>(
			std::min(pick_from_state(states, queue, FairParams{}), states.size()));
	}
	return nb::bytes(found.data(), found.size() * sizeof found[0]);
}

}  // namespace

void bind_picks(nb::module_ &m)
{
	m.def("pick_from_states", &pick_from_states, nb::arg("queues"), nb::arg("candidates"));
}

}  // namespace schedtuna::sim
