/* SPDX-License-Identifier: Apache-2.0 */
// What a loader did with an object before the kernel took its scheduler, as it was seen in a guest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace schedtuna::scx
{

// An entry of a map; of per-CPU maps for every CPU.
struct MapSetting {
	std::string map;
	std::vector<std::uint8_t> key, value;
};

// Bytes that it wrote: at an address of the block or, where there is a pointer, so many bytes behind what the guest's
// address is here.
struct LoaderWrite {
	std::uint64_t pointer = 0, offset = 0;
	std::vector<std::uint8_t> bytes;
};

// A program of type `syscall` that it ran. Words of `context` that are in `pointers` are addresses of the guest's
// arena; those of `left` that are in `left_pointers`, too, where the program put them.
struct ProgramRun {
	std::uint32_t function = 0;
	std::int32_t returned = 0;
	std::vector<LoaderWrite> before;  // what was written since the one before
	std::vector<std::uint8_t> context, left;
	std::vector<std::uint64_t> pointers, left_pointers;
};

struct Prepared {
	std::vector<LoaderWrite> sections, after;
	std::vector<MapSetting> entries;
	std::vector<ProgramRun> runs;
	std::optional<std::uint64_t> flags, timeout_ms, max_batch;  // of struct sched_ext_ops
	std::vector<std::string> absent;			    // operations that it took out
};

}  // namespace schedtuna::scx
