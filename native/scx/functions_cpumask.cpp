/* SPDX-License-Identifier: Apache-2.0 */
// bpf_cpumask_*: kernel/bpf/cpumask.c.
#include "thunk.hpp"

#include <algorithm>
#include <bit>

namespace schedtuna::scx
{

namespace
{

using u64 = std::uint64_t;
using u32 = std::uint32_t;

u64 create(Core &c)
{
	u64 address = c.block().allocate(sizeof(mirror::bpf_cpumask));
	if (address)
		c.at<mirror::bpf_cpumask>(address).usage = 1;
	return address;
}

u64 acquire(Core &c, u64 m)
{
	c.at<mirror::bpf_cpumask>(m).usage++;
	return m;
}

void release(Core &c, u64 m)
{
	auto &mask = c.at<mirror::bpf_cpumask>(m);
	if (mask.usage && --mask.usage == 0)
		c.block().release(m, sizeof(mirror::bpf_cpumask));
}

bool test(Core &c, u32 cpu, u64 m)
{
	return cpu < c.machine().nr_cpus() && c.mask(m)[cpu / 64] >> cpu % 64 & 1;
}

void set(Core &c, u32 cpu, u64 m)
{
	if (cpu < c.machine().nr_cpus())
		c.mask(m)[cpu / 64] |= 1ull << cpu % 64;
}

void clear(Core &c, u32 cpu, u64 m)
{
	if (cpu < c.machine().nr_cpus())
		c.mask(m)[cpu / 64] &= ~(1ull << cpu % 64);
}

bool test_and_set(Core &c, u32 cpu, u64 m)
{
	bool was = test(c, cpu, m);
	set(c, cpu, m);
	return was;
}

bool test_and_clear(Core &c, u32 cpu, u64 m)
{
	bool was = test(c, cpu, m);
	clear(c, cpu, m);
	return was;
}

void set_all(Core &c, u64 m)
{
	const u64 *all = c.mask(c.all_cpus());
	std::copy(all, all + SCX_MASK_WORDS, c.mask(m));
}

void clear_all(Core &c, u64 m)
{
	u64 *words = c.mask(m);
	std::fill(words, words + SCX_MASK_WORDS, 0);
}

void copy(Core &c, u64 to, u64 from)
{
	const u64 *words = c.mask(from);
	std::copy(words, words + SCX_MASK_WORDS, c.mask(to));
}

template <typename Combine> bool combine(Core &c, u64 to, u64 a, u64 b, Combine how)
{
	u64 any = 0;
	for (u32 i = 0; i < SCX_MASK_WORDS; i++) {
		u64 word = how(c.mask(a)[i], c.mask(b)[i]);
		c.mask(to)[i] = word;
		any |= word;
	}
	return any;
}

bool both(Core &c, u64 to, u64 a, u64 b)
{
	return combine(c, to, a, b, [](u64 x, u64 y) { return x & y; });
}

void either(Core &c, u64 to, u64 a, u64 b)
{
	combine(c, to, a, b, [](u64 x, u64 y) { return x | y; });
}

void one_of(Core &c, u64 to, u64 a, u64 b)
{
	combine(c, to, a, b, [](u64 x, u64 y) { return x ^ y; });
}

// Whether any word of both, so combined, has a bit.
template <typename Combine> bool any(Core &c, u64 a, u64 b, Combine how)
{
	for (u32 i = 0; i < SCX_MASK_WORDS; i++)
		if (how(c.mask(a)[i], c.mask(b)[i]))
			return true;
	return false;
}

bool equal(Core &c, u64 a, u64 b)
{
	return !any(c, a, b, [](u64 x, u64 y) { return x ^ y; });
}

bool intersects(Core &c, u64 a, u64 b)
{
	return any(c, a, b, [](u64 x, u64 y) { return x & y; });
}

bool subset(Core &c, u64 a, u64 b)
{
	return !any(c, a, b, [](u64 x, u64 y) { return x & ~y; });
}

bool empty(Core &c, u64 m)
{
	return !any(c, m, m, [](u64 x, u64) { return x; });
}

bool full(Core &c, u64 m)
{
	return subset(c, c.all_cpus(), m);
}

u32 weight(Core &c, u64 m)
{
	u32 n = 0;
	for (u32 i = 0; i < SCX_MASK_WORDS; i++)
		n += static_cast<u32>(std::popcount(c.mask(m)[i]));
	return n;
}

// The first bit of the words, from a CPU on; as the kernel: the number of CPUs where there is none.
u32 first_of(Core &c, const u64 *words, u32 from = 0)
{
	for (u32 cpu = from; cpu < c.machine().nr_cpus(); cpu++)
		if (words[cpu / 64] >> cpu % 64 & 1)
			return cpu;
	return c.machine().nr_cpus();
}

u32 first(Core &c, u64 m)
{
	return first_of(c, c.mask(m));
}

u32 first_zero(Core &c, u64 m)
{
	u64 words[SCX_MASK_WORDS];
	for (u32 i = 0; i < SCX_MASK_WORDS; i++)
		words[i] = ~c.mask(m)[i];
	return first_of(c, words);
}

u32 first_and(Core &c, u64 a, u64 b)
{
	u64 words[SCX_MASK_WORDS];
	for (u32 i = 0; i < SCX_MASK_WORDS; i++)
		words[i] = c.mask(a)[i] & c.mask(b)[i];
	return first_of(c, words);
}

u32 distribute(Core &c, u64 m)
{
	std::int64_t cpu = c.pick_any_cpu(c.mask(m));
	return cpu < 0 ? c.machine().nr_cpus() : static_cast<u32>(cpu);
}

u32 and_distribute(Core &c, u64 a, u64 b)
{
	u64 words[SCX_MASK_WORDS];
	for (u32 i = 0; i < SCX_MASK_WORDS; i++)
		words[i] = c.mask(a)[i] & c.mask(b)[i];
	std::int64_t cpu = c.pick_any_cpu(words);
	return cpu < 0 ? c.machine().nr_cpus() : static_cast<u32>(cpu);
}

constexpr FunctionRow ROWS[] = {
	{"bpf_cpumask_create", THUNK<create>},
	{"bpf_cpumask_acquire", THUNK<acquire>},
	{"bpf_cpumask_release", THUNK<release>},
	{"bpf_cpumask_first", THUNK<first>},
	{"bpf_cpumask_first_zero", THUNK<first_zero>},
	{"bpf_cpumask_first_and", THUNK<first_and>},
	{"bpf_cpumask_set_cpu", THUNK<set>},
	{"bpf_cpumask_clear_cpu", THUNK<clear>},
	{"bpf_cpumask_test_cpu", THUNK<test>},
	{"bpf_cpumask_test_and_set_cpu", THUNK<test_and_set>},
	{"bpf_cpumask_test_and_clear_cpu", THUNK<test_and_clear>},
	{"bpf_cpumask_setall", THUNK<set_all>},
	{"bpf_cpumask_clear", THUNK<clear_all>},
	{"bpf_cpumask_and", THUNK<both>},
	{"bpf_cpumask_or", THUNK<either>},
	{"bpf_cpumask_xor", THUNK<one_of>},
	{"bpf_cpumask_equal", THUNK<equal>},
	{"bpf_cpumask_intersects", THUNK<intersects>},
	{"bpf_cpumask_subset", THUNK<subset>},
	{"bpf_cpumask_empty", THUNK<empty>},
	{"bpf_cpumask_full", THUNK<full>},
	{"bpf_cpumask_copy", THUNK<copy>},
	{"bpf_cpumask_any_distribute", THUNK<distribute>},
	{"bpf_cpumask_any_and_distribute", THUNK<and_distribute>},
	{"bpf_cpumask_weight", THUNK<weight>},
};

}  // namespace

std::span<const FunctionRow> cpumask_functions()
{
	return ROWS;
}

}  // namespace schedtuna::scx
