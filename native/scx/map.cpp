/* SPDX-License-Identifier: Apache-2.0 */
#include "map.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace schedtuna::scx
{

namespace
{

constexpr std::uint64_t BPF_NOEXIST = 1, BPF_EXIST = 2;

std::uint64_t rounded(std::uint64_t bytes)
{
	return (bytes + 7) & ~7ull;
}

}  // namespace

bool is_known_map(std::uint32_t type)
{
	switch (static_cast<MapType>(type)) {
	case MapType::Hash:
	case MapType::Array:
	case MapType::PerfEventArray:
	case MapType::PerCpuHash:
	case MapType::PerCpuArray:
	case MapType::LruHash:
	case MapType::ArrayOfMaps:
	case MapType::HashOfMaps:
	case MapType::Queue:
	case MapType::Stack:
	case MapType::RingBuffer:
	case MapType::TaskStorage:
	case MapType::UserRingBuffer:
	case MapType::CgroupStorage:
	case MapType::Arena:
		return true;
	}
	return false;
}

Map::Map(Block &block, const scx_map &definition, std::uint32_t nr_cpus)
    : type_(static_cast<MapType>(definition.type)), key_size_(definition.key_size), value_size_(definition.value_size),
      max_entries_(definition.max_entries), inner_(definition.inner)
{
	if (type_ == MapType::ArrayOfMaps || type_ == MapType::HashOfMaps)
		value_size_ = 8;  // a reference
	if (!max_entries_)
		max_entries_ = nr_cpus;
	nr_copies_ = is_per_cpu() ? nr_cpus : 1;
	stride_ = rounded(value_size_);
	if (is_hash())
		buckets_.assign(16, END);
	std::uint64_t bytes = 0;
	if (is_array())
		bytes = stride_ * max_entries_ * nr_copies_;
	else if (type_ == MapType::Queue || type_ == MapType::Stack)
		bytes = stride_ * max_entries_;
	if (bytes && !(values_ = block.allocate(bytes)))
		throw std::bad_alloc();
}

std::uint64_t Map::entry_bytes() const
{
	return rounded(key_size_) + stride_ * nr_copies_;
}

std::uint64_t Map::value_of(std::uint32_t entry, std::uint32_t cpu) const
{
	return entries_[entry].address + rounded(key_size_) + (nr_copies_ > 1 ? cpu * stride_ : 0);
}

std::uint32_t Map::hash_of(const std::uint8_t *key) const
{
	std::uint64_t hash = 0;
	for (std::uint32_t i = 0; i < key_size_; i += 8) {
		std::uint64_t word = 0;
		std::memcpy(&word, key + i, std::min<std::uint32_t>(8, key_size_ - i));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	return static_cast<std::uint32_t>(hash);
}

std::uint32_t Map::find(Block &block, const std::uint8_t *key) const
{
	std::uint32_t hash = hash_of(key), at = buckets_[hash & (buckets_.size() - 1)];
	while (at != END
	       && (entries_[at].hash != hash || std::memcmp(block.memory() + entries_[at].address, key, key_size_)))
		at = entries_[at].next;
	return at;
}

void Map::grow()
{
	std::fill(buckets_.begin(), buckets_.end(), END);
	buckets_.resize(buckets_.size() * 2, END);
	for (std::uint32_t i = 0; i < entries_.size(); i++) {
		if (!entries_[i].address)
			continue;
		std::uint32_t &bucket = buckets_[entries_[i].hash & (buckets_.size() - 1)];
		entries_[i].next = bucket;
		bucket = i;
	}
}

std::uint32_t Map::add(Block &block, const std::uint8_t *key)
{
	std::uint64_t address = block.allocate(entry_bytes());
	if (!address)
		return END;
	std::memcpy(block.memory() + address, key, key_size_);
	std::uint32_t at;
	if (free_.empty()) {
		at = static_cast<std::uint32_t>(entries_.size());
		entries_.emplace_back();
	} else {
		at = free_.back();
		free_.pop_back();
	}
	std::uint32_t hash = hash_of(key), &bucket = buckets_[hash & (buckets_.size() - 1)];
	entries_[at] = {address, hash, bucket, END, END};
	bucket = at;
	nr_++;
	if (type_ == MapType::LruHash) {
		entries_[at].older = newest_;
		(newest_ == END ? oldest_ : entries_[newest_].newer) = at;
		newest_ = at;
	}
	if (nr_ > buckets_.size())
		grow();
	return at;
}

void Map::unlink(std::uint32_t at)
{
	Entry &entry = entries_[at];
	(entry.older == END ? oldest_ : entries_[entry.older].newer) = entry.newer;
	(entry.newer == END ? newest_ : entries_[entry.newer].older) = entry.older;
}

void Map::used(std::uint32_t at)
{
	if (type_ != MapType::LruHash || newest_ == at)
		return;
	unlink(at);
	entries_[at].older = newest_;
	entries_[at].newer = END;
	(newest_ == END ? oldest_ : entries_[newest_].newer) = at;
	newest_ = at;
}

void Map::drop(Block &block, std::uint32_t at)
{
	std::uint32_t *link = &buckets_[entries_[at].hash & (buckets_.size() - 1)];
	while (*link != at)
		link = &entries_[*link].next;
	*link = entries_[at].next;
	if (type_ == MapType::LruHash)
		unlink(at);
	block.release(entries_[at].address, entry_bytes());
	entries_[at].address = 0;
	free_.push_back(at);
	nr_--;
}

std::uint64_t Map::lookup(Block &block, const std::uint8_t *key, std::uint32_t cpu)
{
	if (is_array()) {
		std::uint32_t index;
		std::memcpy(&index, key, sizeof(index));
		if (index >= max_entries_)
			return 0;
		std::uint64_t copy = nr_copies_ > 1 ? cpu : 0;
		return values_ + (copy * max_entries_ + index) * stride_;
	}
	if (!is_hash())
		return 0;
	std::uint32_t at = find(block, key);
	if (at == END)
		return 0;
	used(at);
	return value_of(at, cpu);
}

std::int64_t Map::update(Block &block, const std::uint8_t *key, const std::uint8_t *value, std::uint64_t flags,
			 std::uint32_t cpu)
{
	std::uint64_t how = flags & 3;
	if (how == 3)
		return -EINVAL;
	if (is_array()) {
		std::uint64_t address = lookup(block, key, cpu);
		if (!address)
			return -E2BIG;
		if (how == BPF_NOEXIST)
			return -EEXIST;
		std::memcpy(block.memory() + address, value, value_size_);
		return 0;
	}
	if (type_ == MapType::Queue || type_ == MapType::Stack)
		return push(block, value, flags);
	if (!is_hash())
		return -EOPNOTSUPP;
	std::uint32_t at = find(block, key);
	if (at != END && how == BPF_NOEXIST)
		return -EEXIST;
	if (at == END) {
		if (how == BPF_EXIST)
			return -ENOENT;
		if (nr_ >= max_entries_) {
			if (type_ != MapType::LruHash)
				return -E2BIG;
			drop(block, oldest_);
		}
		at = add(block, key);
		if (at == END)
			return -ENOMEM;
	}
	used(at);
	std::memcpy(block.memory() + value_of(at, cpu), value, value_size_);
	return 0;
}

std::int64_t Map::erase(Block &block, const std::uint8_t *key)
{
	if (is_array())
		return -EINVAL;
	if (!is_hash())
		return -EOPNOTSUPP;
	std::uint32_t at = find(block, key);
	if (at == END)
		return -ENOENT;
	drop(block, at);
	return 0;
}

std::int64_t Map::push(Block &block, const std::uint8_t *value, std::uint64_t flags)
{
	if (nr_ >= max_entries_) {
		if (flags != BPF_EXIST)	 // which replaces the oldest
			return -E2BIG;
		head_ = (head_ + 1) % max_entries_;
		nr_--;
	}
	std::uint64_t at = (head_ + nr_++) % max_entries_;
	std::memcpy(block.memory() + values_ + at * stride_, value, value_size_);
	return 0;
}

std::int64_t Map::pop(Block &block, std::uint8_t *value, bool takes)
{
	if (!nr_) {
		std::memset(value, 0, value_size_);
		return -ENOENT;
	}
	std::uint64_t at = type_ == MapType::Queue ? head_ : (head_ + nr_ - 1) % max_entries_;
	std::memcpy(value, block.memory() + values_ + at * stride_, value_size_);
	if (!takes)
		return 0;
	if (type_ == MapType::Queue)
		head_ = (head_ + 1) % max_entries_;
	nr_--;
	return 0;
}

std::uint64_t Map::storage(Block &block, std::uint32_t owner, bool creates, const std::uint8_t *initial)
{
	if (owner >= owned_.size()) {
		if (!creates)
			return 0;
		owned_.resize(owner + 1);
	}
	if (!owned_[owner] && creates) {
		owned_[owner] = block.allocate(stride_);
		if (initial && owned_[owner])
			std::memcpy(block.memory() + owned_[owner], initial, value_size_);
	}
	return owned_[owner];
}

bool Map::erase_storage(Block &block, std::uint32_t owner)
{
	if (owner >= owned_.size() || !owned_[owner])
		return false;
	block.release(owned_[owner], stride_);
	owned_[owner] = 0;
	return true;
}

bool Map::entry(std::uint32_t &nth, std::uint32_t cpu, std::uint64_t &key, std::uint64_t &value) const
{
	if (is_array()) {
		if (nth >= max_entries_)
			return false;
		key = 0;
		value = values_ + ((nr_copies_ > 1 ? std::uint64_t{cpu} * max_entries_ : 0) + nth) * stride_;
		return true;
	}
	while (nth < entries_.size() && !entries_[nth].address)
		nth++;
	if (nth >= entries_.size())
		return false;
	key = entries_[nth].address;
	value = value_of(nth, cpu);
	return true;
}

}  // namespace schedtuna::scx
