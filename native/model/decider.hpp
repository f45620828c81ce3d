/* SPDX-License-Identifier: Apache-2.0 */
// Decisions about migrations: numbers as callers have them in, labels out; what was decided before is remembered.
#ifndef SCHEDTUNA_MODEL_DECIDER_HPP
#define SCHEDTUNA_MODEL_DECIDER_HPP

#include "model/runtime.hpp"

#include <array>
#include <optional>

namespace schedtuna::model
{

// Rows of bins and their labels. A row has one set of places; of those of a set, the least recently used gives way.
class Cache
{
      public:
	static constexpr std::size_t WAYS = 8;
	static constexpr std::size_t MOST_BINS = 8;
	using Key = std::array<std::uint64_t, MOST_BINS / 4>;

	explicit Cache(std::size_t nr_rows);  // rounded up to a power of two, at least one set

	static Key key_of(const std::uint16_t *bins, std::size_t nr_bins);
	std::optional<std::uint8_t> find(const Key &key);
	void remember(const Key &key, std::uint8_t label);

	std::uint64_t nr_hits = 0, nr_misses = 0;

      private:
	struct Place {
		Key key;
		std::uint8_t label;
		bool is_used;
	};

	Place *set_of(const Key &key);

	std::vector<Place> places_;  // of each set the most recently used first
	std::size_t nr_sets_;
};

enum class Kind : std::uint8_t { Count, Load };

// Where an input is in a caller's row.
struct Column {
	std::size_t index;
	Kind kind;
};

struct BadNumber : std::invalid_argument {
	BadNumber(std::size_t row_, std::size_t column_, const char *what)
	    : std::invalid_argument(what), row(row_), column(column_)
	{
	}
	std::size_t row, column;
};

class Decider
{
      public:
	Decider(std::shared_ptr<const Runtime> runtime, std::vector<Column> columns, std::size_t cache_rows);

	// Labels of rows of `width` numbers; throws BadNumber before anything is decided.
	template <typename Number>
	void decide(const Number *rows, std::size_t nr_rows, std::size_t width, std::uint8_t *labels);

	// What a row costs here, decided by itself or looked up where it is remembered: the best of some rounds.
	struct Cost {
		double decide_ns, look_up_ns;
	};
	Cost measure(std::size_t nr_rounds) const;

	std::uint64_t nr_clamped() const
	{
		return nr_clamped_;
	}
	const std::optional<Cache> &cache() const
	{
		return cache_;
	}

      private:
	template <typename Number> static bool is_number(Number number, Kind kind);
	template <typename Number>
	void require_numbers(const Number *rows, std::size_t nr_rows, std::size_t width) const;
	template <typename Number>
	void quantise(const Number *rows, std::size_t nr_rows, std::size_t width, std::uint16_t *bins);
	void decide_bins(const std::uint16_t *bins, std::size_t nr_rows, std::uint8_t *labels) const;

	std::shared_ptr<const Runtime> runtime_;
	std::vector<Column> columns_;
	std::optional<Cache> cache_;
	std::uint64_t nr_clamped_ = 0;
};

}  // namespace schedtuna::model

#endif
