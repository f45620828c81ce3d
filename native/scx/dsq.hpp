/* SPDX-License-Identifier: Apache-2.0 */
// A dispatch queue: in FIFO order through the tasks, or in the order of virtual time. A task is in one of them at most.
#pragma once

#include "sim/types.hpp"

#include <set>
#include <vector>

namespace schedtuna::scx
{

using sim::CpuId;
using sim::NONE;
using sim::Ns;
using sim::TaskId;

// Where a task is queued, and its neighbours.
struct DsqPlace {
	std::uint32_t dsq = NONE;
	TaskId before = NONE, behind = NONE;
	bool by_vtime = false;
	std::uint64_t vtime = 0;
	std::uint64_t seq = 0;	// of its insertion, in that queue
};

class Dsq
{
      public:
	Dsq(std::uint64_t id, CpuId cpu) : id_(id), cpu_(cpu)
	{
	}
	std::uint64_t id() const
	{
		return id_;
	}
	CpuId cpu() const  // whose local one it is; NONE
	{
		return cpu_;
	}
	std::uint32_t nr() const
	{
		return nr_;
	}
	bool has_fifo() const
	{
		return first_ != NONE;
	}
	bool has_vtime() const
	{
		return !order_.empty();
	}
	std::uint64_t last_seq() const	// of an insertion
	{
		return seq_;
	}
	void insert(std::vector<DsqPlace> &places, std::uint32_t self, TaskId id, bool at_head);
	void insert_by_vtime(std::vector<DsqPlace> &places, std::uint32_t self, TaskId id, std::uint64_t vtime);
	void remove(std::vector<DsqPlace> &places, TaskId id);
	// In order: those in the order of virtual time stand behind the others, of which there are none, as a rule.
	TaskId first() const
	{
		return first_ != NONE ? first_ : order_.empty() ? NONE : order_.begin()->id;
	}
	TaskId next(const std::vector<DsqPlace> &places, TaskId id) const;
	std::vector<TaskId> all(const std::vector<DsqPlace> &places) const;

      private:
	struct Key {
		std::uint64_t vtime, seq;
		TaskId id;
	};
	struct Before {	 // time_before64(), then in order of arrival
		bool operator()(const Key &a, const Key &b) const
		{
			auto ahead = static_cast<std::int64_t>(a.vtime - b.vtime);
			return ahead ? ahead < 0 : a.seq < b.seq;
		}
	};
	// A set whose nodes are used again: a queue allocates as often as it grows.
	class Order : public std::set<Key, Before>
	{
	      public:
		Order() = default;
		Order(const Order &other) : std::set<Key, Before>(other)
		{
		}
		Order(Order &&) = default;
		Order &operator=(Order &&) = default;
		std::vector<node_type> spare;
	};

	std::uint64_t id_;
	CpuId cpu_;
	std::uint32_t nr_ = 0;
	std::uint64_t seq_ = 0;
	TaskId first_ = NONE, last_ = NONE;
	Order order_;
};

}  // namespace schedtuna::scx
