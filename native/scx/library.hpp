/* SPDX-License-Identifier: Apache-2.0 */
// A translated object, loaded: what it asks for is looked up by name, once, and refused with a list where it is absent.
#pragma once

#include "constants.hpp"
#include "scx_object.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schedtuna::scx
{

// Operations of struct sched_ext_ops that the core calls.
#define SCHEDTUNA_SCX_OPERATIONS(X) \
	X(select_cpu)               \
	X(enqueue)                  \
	X(dequeue)                  \
	X(dispatch)                 \
	X(tick)                     \
	X(runnable)                 \
	X(running)                  \
	X(stopping)                 \
	X(quiescent)                \
	X(yield)                    \
	X(set_weight)               \
	X(set_cpumask)              \
	X(update_idle)              \
	X(init_task)                \
	X(exit_task)                \
	X(enable)                   \
	X(disable)                  \
	X(cgroup_init)              \
	X(init)                     \
	X(exit)

enum class Operation : std::uint8_t {
#define X(name) name,
	SCHEDTUNA_SCX_OPERATIONS(X)
#undef X
};

inline constexpr std::string_view OPERATION_NAMES[] = {
#define X(name) #name,
	SCHEDTUNA_SCX_OPERATIONS(X)
#undef X
};
inline constexpr std::size_t NR_OPERATIONS = std::size(OPERATION_NAMES);

class Library
{
      public:
	// Open a shared library that exports `scx_object`. Raises BadInput: it is none, of another version, or asks
	// for what the core lacks, with the list.
	static std::shared_ptr<const Library> open(const std::string &path, const Constants &constants);
	// Take an object that somebody else keeps for as long as the library lives.
	Library(const scx_object &object, const Constants &constants);
	Library(const Library &) = delete;
	~Library();

	const scx_object &object() const
	{
		return object_;
	}
	const Constants &constants() const
	{
		return constants_;
	}
	bool has(Operation operation) const
	{
		return operations_[static_cast<std::size_t>(operation)] >= 0;
	}
	std::uint32_t function(Operation operation) const
	{
		return static_cast<std::uint32_t>(operations_[static_cast<std::size_t>(operation)]);
	}
	std::uint64_t member(std::string_view name) const;	// a value of struct sched_ext_ops; 0: none
	const scx_global *global(std::string_view name) const;	// nullptr: there is none
	// Operations that it has and the simulated machine never calls.
	std::vector<std::string> never_called() const;

	std::uint64_t flags = 0;
	std::uint64_t timeout_ns = 0;
	std::uint32_t max_batch = 32;
	bool counts = false;  // which of its blocks run, as it was made to

      private:
	void resolve();

	const scx_object &object_;
	Constants constants_;
	void *handle_ = nullptr;
	std::int64_t operations_[NR_OPERATIONS];
};

}  // namespace schedtuna::scx
