/* SPDX-License-Identifier: Apache-2.0 */
#include "random.hpp"

#include <algorithm>
#include <array>

namespace schedtuna::sim
{

using u128 = unsigned __int128;
using i128 = __int128;

namespace fixed
{

constexpr std::int64_t ONE = 1ll << BITS;
constexpr std::int64_t LN2 = 195103586505167;  // ln(2) * 2^48
constexpr int TABLE_BITS = 8;

// log2 of 1 + i / 256 bit by bit (squaring), then times ln(2).
constexpr auto log_table()
{
	std::array<std::int64_t, 1 << TABLE_BITS> table{};
	for (std::uint64_t i = 0; i < table.size(); i++) {
		std::uint64_t x = (table.size() + i) << (62 - TABLE_BITS);  // in [1, 2), 62 bits after the point
		std::uint64_t log2 = 0;
		for (int bit = 0; bit < 60; bit++) {
			u128 square = static_cast<u128>(x) * x >> 62;
			log2 <<= 1;
			if (square >> 63) {
				log2 |= 1;
				square >>= 1;
			}
			x = static_cast<std::uint64_t>(square);
		}
		table[i] = static_cast<std::int64_t>(static_cast<u128>(log2) * static_cast<u128>(LN2) >> 60);
	}
	return table;
}
constexpr auto LOG_TABLE = log_table();

static std::int64_t times(std::int64_t a, std::int64_t b)
{
	return static_cast<std::int64_t>(static_cast<i128>(a) * b >> BITS);
}

std::int64_t minus_log(std::uint64_t u)
{
	int zeros = __builtin_clzll(u);
	std::uint64_t mantissa = u << zeros;  // in [1, 2), 63 bits after the point
	std::uint64_t i = (mantissa >> (63 - TABLE_BITS)) & ((1 << TABLE_BITS) - 1);
	std::uint64_t base = ((1ull << TABLE_BITS) + i) << (63 - TABLE_BITS);
	// r = mantissa / base - 1 < 2^-8, then five terms of ln(1 + r)
	std::uint64_t reciprocal = (1ull << 63) / ((1ull << TABLE_BITS) + i);
	auto r = static_cast<std::int64_t>(static_cast<u128>(mantissa - base) * reciprocal
					   >> (126 - TABLE_BITS - BITS));
	std::int64_t r2 = times(r, r), r3 = times(r2, r), r4 = times(r3, r), r5 = times(r4, r);
	return (zeros + 1) * LN2 - LOG_TABLE[i] - (r - r2 / 2 + r3 / 3 - r4 / 4 + r5 / 5);
}

std::uint64_t scaled_exp(Ns a, std::int64_t x)
{
	std::int64_t twos = x / LN2 - (x % LN2 < 0);
	std::int64_t rest = x - twos * LN2;  // in [0, ln 2)
	std::int64_t power = ONE;
	for (int n = 15; n; n--)
		power = ONE + times(power, rest) / n;
	if (a == 0 || twos < -BITS - 63)
		return 0;
	auto product = static_cast<u128>(a) * static_cast<u128>(power);	 // below 2^112
	if (twos >= 64)
		return NEVER;
	std::int64_t shift = BITS - twos;
	if (shift >= 0)
		product = shift < 128 ? product >> shift : 0;
	else if (product >> (63 + shift))
		return NEVER;
	else
		product <<= -shift;
	return product > static_cast<u128>(NEVER) ? NEVER : static_cast<std::uint64_t>(product);
}

}  // namespace fixed

namespace
{

// The numbers of one draw, one after the other.
class Stream
{
      public:
	explicit Stream(std::uint64_t key) : state_(key)
	{
	}
	std::uint64_t next()
	{
		state_ += 0x9e3779b97f4a7c15;
		return mix(state_);
	}
	// -ln of a number in (0, 1].
	std::int64_t exponential()
	{
		std::uint64_t u = next();
		return u ? fixed::minus_log(u) : 64 * fixed::LN2;
	}

      private:
	std::uint64_t state_;
};

std::uint64_t below(std::uint64_t u, std::uint64_t limit)
{
	return static_cast<std::uint64_t>(static_cast<u128>(u) * limit >> 64);
}

Ns times(Ns a, std::int64_t fixed_point)
{
	i128 product = static_cast<i128>(a) * fixed_point >> fixed::BITS;
	return product > NEVER ? NEVER : static_cast<Ns>(product);
}

std::uint64_t square_root(u128 x)
{
	std::uint64_t root = 0;
	for (std::uint64_t bit = 1ull << 63; bit; bit >>= 1)
		if (static_cast<u128>(root | bit) * (root | bit) <= x)
			root |= bit;
	return root;
}

// A standard normal by Marsaglia's polar method.
std::int64_t normal(Stream &stream)
{
	for (;;) {
		std::int64_t u = static_cast<std::int64_t>(stream.next()) >> 16;  // [-1, 1), 47 bits after the point
		std::int64_t v = static_cast<std::int64_t>(stream.next()) >> 16;
		u128 s = static_cast<u128>(static_cast<i128>(u) * u) + static_cast<u128>(static_cast<i128>(v) * v);
		if (s == 0 || s >> 94)
			continue;
		auto s64 = static_cast<std::uint64_t>(s >> 30);	 // 64 bits after the point
		if (s64 == 0)
			continue;
		auto ratio = (static_cast<u128>(2 * fixed::minus_log(s64)) << 64) / s64;  // BITS after the point
		std::uint64_t root = square_root(ratio << fixed::BITS);
		return static_cast<std::int64_t>(static_cast<i128>(u) * root >> 47);
	}
}

}  // namespace

Ns draw(const Amount &amount, Key key, std::uint32_t step, std::uint64_t nth)
{
	if (amount.shape == Shape::Fixed)
		return amount.a;
	Stream stream(mix(mix(key ^ step) + nth));
	switch (amount.shape) {
	case Shape::Fixed:
		break;
	case Shape::Uniform:
		return amount.a
		       + static_cast<Ns>(below(stream.next(), static_cast<std::uint64_t>(amount.b - amount.a) + 1));
	case Shape::Exponential:
		return times(amount.a, stream.exponential());
	case Shape::Erlang: {
		std::int64_t sum = 0;
		for (Ns stage = 0; stage < amount.b; stage++)
			sum += stream.exponential() / amount.b;
		return times(amount.a, sum);
	}
	case Shape::Lognormal: {
		i128 x = static_cast<i128>(normal(stream)) * amount.b / 1000;
		return static_cast<Ns>(fixed::scaled_exp(amount.a, static_cast<std::int64_t>(x)));
	}
	case Shape::Pareto: {
		i128 x = static_cast<i128>(stream.exponential()) * 1000 / amount.b;
		i128 most = static_cast<i128>(64) << fixed::BITS;
		auto value = fixed::scaled_exp(amount.a, static_cast<std::int64_t>(std::min(x, most)));
		return std::min(static_cast<Ns>(value), amount.c);
	}
	case Shape::Hyper: {
		bool second = static_cast<Ns>(below(stream.next(), 1000)) < amount.c;
		return times(second ? amount.b : amount.a, stream.exponential());
	}
	}
	return amount.a;
}

void check_amount(const Amount &amount, const std::string &where)
{
	auto demand = [&where](bool holds, const char *what) {
		if (!holds)
			throw BadInput(where + ": " + what);
	};
	demand(amount.a >= 0 && amount.b >= 0 && amount.c >= 0, "an amount can't be negative");
	switch (amount.shape) {
	case Shape::Fixed:
	case Shape::Exponential:
		break;
	case Shape::Uniform:
		demand(amount.b >= amount.a, "the greatest amount of a uniform one is below the smallest");
		break;
	case Shape::Erlang:
		demand(amount.b >= 1 && amount.b <= 1000, "an Erlang amount has 1 to 1000 stages");
		break;
	case Shape::Lognormal:
		demand(amount.b <= 5000, "sigma of a lognormal amount is at most 5");
		break;
	case Shape::Pareto:
		demand(amount.b >= 100 && amount.b <= 1000000, "the tail index of a Pareto amount is 0.1 to 1000");
		demand(amount.c >= amount.a, "the greatest amount of a Pareto one is below the smallest");
		break;
	case Shape::Hyper:
		demand(amount.c <= 1000, "the probability of a hyperexponential amount's second mean is above 1");
		break;
	}
}

}  // namespace schedtuna::sim
