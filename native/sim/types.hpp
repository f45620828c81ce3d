/* SPDX-License-Identifier: Apache-2.0 */
// The simulator's words: time, names of tasks and CPUs, sets of CPUs, weights.
//
// Everything is an integer, so that the same seeds give the same bits on every machine, with every compiler and at
// every level of optimisation. Nothing is ordered by an address, and nothing is global.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace schedtuna::sim
{

using Ns = std::int64_t;	// simulated time, from the beginning of the simulation, or a length of time
using TaskId = std::uint32_t;	// in order of creation, from 0
using CpuId = std::uint32_t;	// 0 .. nr_cpus - 1
using GroupId = std::uint32_t;	// 0 is the root group

inline constexpr Ns NEVER = std::numeric_limits<Ns>::max();
inline constexpr Ns LONGEST = Ns{1} << 53;  // of a simulation: 104 days. Virtual time may go on 512 times as fast
inline constexpr std::uint32_t NONE = std::numeric_limits<std::uint32_t>::max();
inline constexpr std::uint32_t ROOT_GROUP = 0;
inline constexpr std::uint32_t NICE_0_WEIGHT = 1024;
inline constexpr std::uint32_t MIN_SHARES = 2, MAX_SHARES = 1 << 18;  // of groups, as the kernel has them

// What a user got wrong, in words that say what to do. The binding turns it into a Python exception.
struct BadInput : std::invalid_argument {
	using std::invalid_argument::invalid_argument;
};

// A scheduler did what the kernel would have ended it for. The simulation can't go on.
struct SchedulerError : std::runtime_error {
	using std::runtime_error::runtime_error;
};

enum class Policy : std::uint8_t { Other, Batch, Idle };

// A set of CPUs. Tasks share them: Machine::cpus(task) is a reference.
class CpuSet
{
      public:
	explicit CpuSet(std::uint32_t nr_cpus = 0, bool all = false) : words_((nr_cpus + 63) / 64, all ? ~0ull : 0)
	{
		if (all && nr_cpus % 64)
			words_.back() = (1ull << nr_cpus % 64) - 1;
	}
	bool has(CpuId cpu) const
	{
		return cpu / 64 < words_.size() && (words_[cpu / 64] >> cpu % 64 & 1);
	}
	void set(CpuId cpu)
	{
		words_[cpu / 64] |= 1ull << cpu % 64;
	}
	void clear(CpuId cpu)
	{
		words_[cpu / 64] &= ~(1ull << cpu % 64);
	}
	// The first CPU of both sets from `from` on, not wrapping around; NONE if there is none.
	CpuId first_of_both(const CpuSet &other, CpuId from = 0) const
	{
		for (std::size_t i = from / 64; i < words_.size() && i < other.words_.size(); i++) {
			std::uint64_t both = words_[i] & other.words_[i];
			if (i == from / 64)
				both &= ~0ull << from % 64;
			if (both)
				return static_cast<CpuId>(i * 64 + static_cast<unsigned>(__builtin_ctzll(both)));
		}
		return NONE;
	}
	std::uint32_t count() const
	{
		std::uint32_t n = 0;
		for (std::uint64_t word : words_)
			n += static_cast<std::uint32_t>(__builtin_popcountll(word));
		return n;
	}
	std::uint32_t count_of_both(const CpuSet &other) const
	{
		std::uint32_t n = 0;
		for (CpuId cpu = first_of_both(other); cpu != NONE; cpu = first_of_both(other, cpu + 1))
			n++;
		return n;
	}
	bool has_one() const  // and no other
	{
		std::uint64_t found = 0;
		for (std::uint64_t word : words_) {
			if (word & (word - 1) || (word && found))
				return false;
			found |= word;
		}
		return found;
	}
	const std::vector<std::uint64_t> &words() const	 // 64 CPUs each, the first in the lowest bit
	{
		return words_;
	}
	bool operator==(const CpuSet &) const = default;

      private:
	std::vector<std::uint64_t> words_;
};

}  // namespace schedtuna::sim
