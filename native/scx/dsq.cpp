/* SPDX-License-Identifier: Apache-2.0 */
#include "dsq.hpp"

namespace schedtuna::scx
{

void Dsq::insert(std::vector<DsqPlace> &places, std::uint32_t self, TaskId id, bool at_head)
{
	DsqPlace &place = places[id];
	place.dsq = self;
	place.by_vtime = false;
	place.seq = ++seq_;
	place.before = at_head ? NONE : last_;
	place.behind = at_head ? first_ : NONE;
	(place.before == NONE ? first_ : places[place.before].behind) = id;
	(place.behind == NONE ? last_ : places[place.behind].before) = id;
	nr_++;
}

void Dsq::insert_by_vtime(std::vector<DsqPlace> &places, std::uint32_t self, TaskId id, std::uint64_t vtime)
{
	DsqPlace &place = places[id];
	place.dsq = self;
	place.by_vtime = true;
	place.vtime = vtime;
	place.seq = ++seq_;
	nr_++;
	Key key{vtime, place.seq, id};
	if (order_.spare.empty()) {
		order_.insert(key);
		return;
	}
	auto node = std::move(order_.spare.back());
	order_.spare.pop_back();
	node.value() = key;
	order_.insert(std::move(node));
}

void Dsq::remove(std::vector<DsqPlace> &places, TaskId id)
{
	DsqPlace &place = places[id];
	if (place.by_vtime) {
		auto first = order_.begin();
		if (first->id == id)
			order_.spare.push_back(order_.extract(first));
		else
			order_.spare.push_back(order_.extract({place.vtime, place.seq, id}));
	} else {
		(place.before == NONE ? first_ : places[place.before].behind) = place.behind;
		(place.behind == NONE ? last_ : places[place.behind].before) = place.before;
	}
	place.dsq = NONE;
	nr_--;
}

TaskId Dsq::next(const std::vector<DsqPlace> &places, TaskId id) const
{
	const DsqPlace &place = places[id];
	if (!place.by_vtime)
		return place.behind != NONE ? place.behind : order_.empty() ? NONE : order_.begin()->id;
	auto behind = order_.upper_bound({place.vtime, place.seq, id});
	return behind == order_.end() ? NONE : behind->id;
}

std::vector<TaskId> Dsq::all(const std::vector<DsqPlace> &places) const
{
	std::vector<TaskId> found;
	for (TaskId id = first_; id != NONE; id = places[id].behind)
		found.push_back(id);
	for (const Key &key : order_)
		found.push_back(key.id);
	return found;
}

}  // namespace schedtuna::scx
