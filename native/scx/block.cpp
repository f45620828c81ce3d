/* SPDX-License-Identifier: Apache-2.0 */
#include "block.hpp"

#include "scx_object.h"

#include <cstring>
#include <new>
#include <sys/mman.h>

namespace schedtuna::scx
{

void Block::open(std::uint64_t limit, std::uint64_t first_free)
{
	void *found = mmap(nullptr, limit + SCX_SLACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (found == MAP_FAILED)
		throw std::bad_alloc();
	memory_ = static_cast<std::uint8_t *>(found);
	limit_ = limit;
	used_ = first_free;
}

Block::Block(const Block &other)
{
	if (!other.memory_)
		return;
	open(other.limit_, other.used_);
	free_ = other.free_;
	std::memcpy(memory_ + SCX_STACK, other.memory_ + SCX_STACK, used_ - SCX_STACK);
}

Block::~Block()
{
	if (memory_)
		munmap(memory_, limit_ + SCX_SLACK);
}

std::uint64_t Block::allocate(std::uint64_t bytes, std::uint64_t alignment)
{
	bytes = rounded(bytes);
	if (alignment <= 16) {
		auto found = free_.find(bytes);
		if (found != free_.end() && !found->second.empty()) {
			std::uint64_t address = found->second.back();
			found->second.pop_back();
			std::memset(memory_ + address, 0, bytes);
			return address;
		}
	}
	std::uint64_t address = (used_ + alignment - 1) & ~(alignment - 1);
	if (address > limit_ || bytes > limit_ - address)
		return 0;
	used_ = address + bytes;
	return address;
}

void Block::release(std::uint64_t address, std::uint64_t bytes)
{
	free_[rounded(bytes)].push_back(address);
}

}  // namespace schedtuna::scx
