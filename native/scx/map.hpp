/* SPDX-License-Identifier: Apache-2.0 */
// BPF's maps. Their values lie in the block, where programs hold pointers to them; what finds them does not.
#pragma once

#include "block.hpp"
#include "scx_object.h"

#include <string>
#include <vector>

namespace schedtuna::scx
{

enum class MapType : std::uint32_t {
	Hash = 1,
	Array = 2,
	PerfEventArray = 4,
	PerCpuHash = 5,
	PerCpuArray = 6,
	LruHash = 9,
	ArrayOfMaps = 12,
	HashOfMaps = 13,
	Queue = 22,
	Stack = 23,
	RingBuffer = 27,
	TaskStorage = 29,
	UserRingBuffer = 31,
	CgroupStorage = 32,
	Arena = 33,
};

bool is_known_map(std::uint32_t type);

class Map
{
      public:
	// Raises std::bad_alloc: the block has no room for it.
	Map(Block &block, const scx_map &definition, std::uint32_t nr_cpus);

	MapType type() const
	{
		return type_;
	}
	std::uint32_t key_size() const
	{
		return key_size_;
	}
	std::uint32_t value_size() const
	{
		return value_size_;
	}
	std::uint32_t max_entries() const
	{
		return max_entries_;
	}
	std::int32_t inner() const
	{
		return inner_;
	}
	std::uint64_t values() const  // where an array's begin
	{
		return values_;
	}
	bool is_hash() const
	{
		return type_ == MapType::Hash || type_ == MapType::LruHash || type_ == MapType::PerCpuHash
		       || type_ == MapType::HashOfMaps;
	}
	bool is_array() const
	{
		return type_ == MapType::Array || type_ == MapType::PerCpuArray || type_ == MapType::ArrayOfMaps;
	}
	bool is_per_cpu() const
	{
		return type_ == MapType::PerCpuArray || type_ == MapType::PerCpuHash;
	}

	// The address of a key's value, of that CPU's copy if there is one for each; 0: there is none.
	std::uint64_t lookup(Block &block, const std::uint8_t *key, std::uint32_t cpu);
	// As the kernel: 0, or the negated errno.
	std::int64_t update(Block &block, const std::uint8_t *key, const std::uint8_t *value, std::uint64_t flags,
			    std::uint32_t cpu);
	std::int64_t erase(Block &block, const std::uint8_t *key);
	std::int64_t push(Block &block, const std::uint8_t *value, std::uint64_t flags);
	std::int64_t pop(Block &block, std::uint8_t *value, bool takes);
	// Of a task or a group, by its number.
	std::uint64_t storage(Block &block, std::uint32_t owner, bool creates, const std::uint8_t *initial);
	bool erase_storage(Block &block, std::uint32_t owner);
	// The nth entry in no particular order: the addresses of its key (0: an array's is n) and value; false: no
	// more.
	bool entry(std::uint32_t &nth, std::uint32_t cpu, std::uint64_t &key, std::uint64_t &value) const;

      private:
	struct Entry {
		std::uint64_t address = 0;  // of its key, behind which the value stands; 0: it is free
		std::uint32_t hash = 0, next = 0, older = 0, newer = 0;
	};
	static constexpr std::uint32_t END = ~0u;

	std::uint32_t hash_of(const std::uint8_t *key) const;
	std::uint32_t find(Block &block, const std::uint8_t *key) const;
	std::uint32_t add(Block &block, const std::uint8_t *key);
	void grow();
	void drop(Block &block, std::uint32_t entry);
	void used(std::uint32_t entry);	 // LRU: it is the newest
	void unlink(std::uint32_t entry);
	std::uint64_t value_of(std::uint32_t entry, std::uint32_t cpu) const;
	std::uint64_t entry_bytes() const;

	MapType type_;
	std::uint32_t key_size_, value_size_, max_entries_, nr_copies_;
	std::uint64_t stride_;	// of a value
	std::int32_t inner_;
	std::uint64_t values_ = 0;
	std::uint32_t head_ = 0, nr_ = 0;  // of a queue; entries of a hash
	std::vector<Entry> entries_;	   // of a hash
	std::vector<std::uint32_t> buckets_, free_;
	std::uint32_t oldest_ = END, newest_ = END;
	std::vector<std::uint64_t> owned_;  // storage: by owner
};

}  // namespace schedtuna::scx
