/* SPDX-License-Identifier: Apache-2.0 */
// Random amounts by key, never by order: whoever asks, and whenever, the same key has the same amount.
//
// Integers only, so that the simulator and the player draw the same bursts on every machine and with every compiler.
// Logarithms and exponentials are fixed-point with 48 bits after the point; a logarithm is off by less than
// 2^-43, an exponential by less than 10^-12 of itself.
#pragma once

#include "workload.hpp"

namespace schedtuna::sim
{

using Key = std::uint64_t;

// One round of splitmix64.
constexpr std::uint64_t mix(std::uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

// A task's path: the definitions and counts of the forks that led to it.
constexpr Key root_key(std::uint64_t seed, std::uint32_t definition)
{
	return mix(mix(seed) ^ definition);
}
constexpr Key child_key(Key parent, std::uint32_t definition, std::uint32_t nth_fork)
{
	return mix(mix(parent + 1) ^ (static_cast<std::uint64_t>(definition) << 32 | nth_fork));
}
// After Exec the task goes on with another program, whose steps have the same numbers.
constexpr Key exec_key(Key before)
{
	return mix(before + 2);
}

// An amount as the step draws it when it is reached for the nth time (from 0). At least 0.
Ns draw(const Amount &amount, Key key, std::uint32_t step, std::uint64_t nth);

// What an amount may be. Raises BadInput that begins with `where`.
void check_amount(const Amount &amount, const std::string &where);

namespace fixed
{
inline constexpr int BITS = 48;
std::int64_t minus_log(std::uint64_t u);	 // -ln(u / 2^64), u > 0
std::uint64_t scaled_exp(Ns a, std::int64_t x);	 // a * e^x, at most NEVER
}  // namespace fixed

}  // namespace schedtuna::sim
