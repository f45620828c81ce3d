/* SPDX-License-Identifier: Apache-2.0 */
// A C++ function with typed arguments as a program calls it: registers in, one register out, nothing thrown.
#pragma once

#include "core.hpp"
#include "functions.hpp"

#include <exception>
#include <utility>

namespace schedtuna::scx
{

template <auto Function> struct Thunk;

template <typename Result, typename... Arguments, Result (*Function)(Core &, Arguments...)> struct Thunk<Function> {
	static std::uint64_t call(scx_instance *instance, std::uint64_t r1, std::uint64_t r2, std::uint64_t r3,
				  std::uint64_t r4, std::uint64_t r5) noexcept
	{
		Core &core = *static_cast<Core *>(instance->core);
		const std::uint64_t registers[] = {r1, r2, r3, r4, r5};
		try {
			return apply(core, registers, std::index_sequence_for<Arguments...>());
		} catch (const std::exception &error) {
			core.error(std::string("the simulated kernel: ") + error.what());
			return 0;
		}
	}

      private:
	template <std::size_t... I>
	static std::uint64_t apply(Core &core, [[maybe_unused]] const std::uint64_t *registers,
				   std::index_sequence<I...>)
	{
		if constexpr (std::is_void_v<Result>) {
			Function(core, static_cast<Arguments>(registers[I])...);
			return 0;
		} else {  // sign-extended where it has a sign
			return static_cast<std::uint64_t>(Function(core, static_cast<Arguments>(registers[I])...));
		}
	}
};

template <auto Function> inline constexpr scx_code THUNK = &Thunk<Function>::call;

// What needs nothing of a machine that runs one thing at a time: locks, references, RCU.
inline void does_nothing(Core &)
{
}

}  // namespace schedtuna::scx
