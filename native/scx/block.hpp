/* SPDX-License-Identifier: Apache-2.0 */
// The memory of one simulated scheduler: all that its programs can reach. A copy is a copy of what is in use.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace schedtuna::scx
{

class Block
{
      public:
	Block() = default;
	Block(const Block &other);
	Block &operator=(const Block &) = delete;
	~Block();

	// Reserve so many bytes, of which those before `first_free` are taken; all are zero. Pages that nobody touches
	// take no memory. Raises std::bad_alloc.
	void open(std::uint64_t limit, std::uint64_t first_free);

	// Zeroed, at a multiple of `alignment` (a power of two, 16 at least); 0: there is no room.
	std::uint64_t allocate(std::uint64_t bytes, std::uint64_t alignment = 16);
	void release(std::uint64_t address, std::uint64_t bytes);

	std::uint8_t *memory() const
	{
		return memory_;
	}
	std::uint64_t limit() const
	{
		return limit_;
	}
	std::uint64_t used() const  // what a copy copies
	{
		return used_;
	}

      private:
	static std::uint64_t rounded(std::uint64_t bytes)
	{
		return (bytes + 15) & ~15ull;
	}

	std::uint8_t *memory_ = nullptr;
	std::uint64_t limit_ = 0, used_ = 0;
	std::map<std::uint64_t, std::vector<std::uint64_t>> free_;  // by size
};

}  // namespace schedtuna::scx
