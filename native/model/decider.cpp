/* SPDX-License-Identifier: Apache-2.0 */
#include "model/decider.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

namespace schedtuna::model
{

namespace
{
constexpr double LOAD_SCALE = 1000;
constexpr double LARGEST_COUNT = 1 << 30;
constexpr std::size_t CHUNK = 64;  // rows that are decided together where nothing is remembered
}  // namespace

Cache::Cache(std::size_t nr_rows) : nr_sets_(std::bit_ceil(std::max<std::size_t>((nr_rows + WAYS - 1) / WAYS, 1)))
{
	places_.resize(nr_sets_ * WAYS);
}

Cache::Key Cache::key_of(const std::uint16_t *bins, std::size_t nr_bins)
{
	Key key{};
	for (std::size_t at = 0; at < nr_bins; at++)
		key[at / 4] |= std::uint64_t{bins[at]} << (at % 4 * 16);
	return key;
}

Cache::Place *Cache::set_of(const Key &key)
{
	std::uint64_t hash = 0;
	for (const std::uint64_t word : key)
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return places_.data() + (hash >> 32 & (nr_sets_ - 1)) * WAYS;
}

std::optional<std::uint8_t> Cache::find(const Key &key)
{
	Place *set = set_of(key);
	for (std::size_t way = 0; way < WAYS && set[way].is_used; way++) {
		if (set[way].key != key)
			continue;
		nr_hits++;
		const Place found = set[way];
		for (; way; way--)
			set[way] = set[way - 1];
		set[0] = found;
		return found.label;
	}
	nr_misses++;
	return std::nullopt;
}

void Cache::remember(const Key &key, std::uint8_t label)
{
	Place *set = set_of(key);
	std::move_backward(set, set + WAYS - 1, set + WAYS);
	*set = {key, label, true};
}

Decider::Decider(std::shared_ptr<const Runtime> runtime, std::vector<Column> columns, std::size_t cache_rows)
    : runtime_(std::move(runtime)), columns_(std::move(columns))
{
	require(columns_.size() == runtime_->nr_inputs(), "a column for each input");
	if (cache_rows) {
		require(columns_.size() <= Cache::MOST_BINS, "rows of more than 8 bins are not remembered");
		cache_.emplace(cache_rows);
	}
}

template <typename Number> bool Decider::is_number(Number number, Kind kind)
{
	const double value = number;

	// Without branches, so that a compiler may test several at once. Converting is an instruction; the library's
	// rounding would be a call. What is no number is not within bounds either.
	if (kind == Kind::Load)
		return std::abs(value) <= std::numeric_limits<double>::max();
	const bool is_within = (value >= 0) & (value <= LARGEST_COUNT);
	const double clamped = is_within ? value : 0;
	return is_within & (clamped == static_cast<double>(static_cast<std::int32_t>(clamped)));
}

template <typename Number>
void Decider::require_numbers(const Number *rows, std::size_t nr_rows, std::size_t width) const
{
	bool are_numbers = true;
	for (const auto [index, kind] : columns_)
		for (std::size_t at = 0; at < nr_rows; at++)
			are_numbers &= is_number(rows[at * width + index], kind);
	if (are_numbers)
		return;
	for (std::size_t at = 0; at < nr_rows; at++)
		for (const auto [index, kind] : columns_) {
			const Number value = rows[at * width + index];
			if (!std::isfinite(value))
				throw BadNumber(at, index, "is no finite number");
			if (!is_number(value, kind))
				throw BadNumber(at, index, "is no whole number from 0 on");
		}
}

// Column by column: what holds of all its values is looked up once.
template <typename Number>
void Decider::quantise(const Number *rows, std::size_t nr_rows, std::size_t width, std::uint16_t *bins)
{
	const std::size_t nr_inputs = columns_.size();
	for (std::size_t input = 0; input < nr_inputs; input++) {
		const Number *column = rows + columns_[input].index;
		const BinRow row = runtime_->row(input);
		std::uint16_t *out = bins + input;
		if (columns_[input].kind == Kind::Count) {
			for (std::size_t at = 0; at < nr_rows; at++)
				out[at * nr_inputs] = row.bin(static_cast<std::int64_t>(column[at * width]));
			continue;
		}
		std::uint64_t nr_clamped = 0;
		for (std::size_t at = 0; at < nr_rows; at++) {
			const double load = column[at * width];
			nr_clamped += static_cast<std::uint64_t>((load < 0) | (load > 1));
			// Rounded down: it is not negative.
			const double scaled = std::clamp(load, 0.0, 1.0) * LOAD_SCALE + 0.5;
			out[at * nr_inputs] = row.bin(static_cast<std::int64_t>(scaled));
		}
		nr_clamped_ += nr_clamped;
	}
}

void Decider::decide_bins(const std::uint16_t *bins, std::size_t nr_rows, std::uint8_t *labels) const
{
	std::array<std::int32_t, CHUNK * MOST_LOGITS> logits;
	runtime_->logits(bins, nr_rows, logits.data());
	for (std::size_t at = 0; at < nr_rows; at++)
		labels[at] = runtime_->label(logits.data() + at * runtime_->nr_logits());
}

Decider::Cost Decider::measure(std::size_t nr_rounds) const
{
	using Clock = std::chrono::steady_clock;
	const std::size_t nr_inputs = columns_.size();
	std::array<std::uint16_t, CHUNK * MOST_INPUTS> bins{};
	std::array<std::uint8_t, CHUNK> labels{};
	Cache cache(CHUNK * Cache::WAYS);
	Cost best{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
	if (nr_inputs > Cache::MOST_BINS)
		return {0, best.look_up_ns};
	for (std::size_t at = 0; at < CHUNK * nr_inputs; at++)
		bins[at] = static_cast<std::uint16_t>(at * 2654435761U % (runtime_->row(at % nr_inputs).last + 1U));
	for (std::size_t at = 0; at < CHUNK; at++)
		cache.remember(Cache::key_of(bins.data() + at * nr_inputs, nr_inputs), 0);
	const auto per_row = [](Clock::time_point begin, Clock::time_point end) {
		return std::chrono::duration<double, std::nano>(end - begin).count() / CHUNK;
	};
	for (std::size_t round = 0; round < nr_rounds; round++) {
		const auto begin = Clock::now();
		for (std::size_t at = 0; at < CHUNK; at++)
			decide_bins(bins.data() + at * nr_inputs, 1, labels.data() + at);
		const auto middle = Clock::now();
		for (std::size_t at = 0; at < CHUNK; at++)
			labels[at] ^= cache.find(Cache::key_of(bins.data() + at * nr_inputs, nr_inputs)).value_or(1);
		const auto end = Clock::now();
		best.decide_ns = std::min(best.decide_ns, per_row(begin, middle));
		best.look_up_ns = std::min(best.look_up_ns, per_row(middle, end));
	}
	return best;
}

template <typename Number>
void Decider::decide(const Number *rows, std::size_t nr_rows, std::size_t width, std::uint8_t *labels)
{
	const std::size_t nr_inputs = columns_.size();
	for (const auto [index, kind] : columns_)
		require(index < width, "a row is too short");
	require_numbers(rows, nr_rows, width);
	std::array<std::uint16_t, CHUNK * MOST_INPUTS> bins;
	for (std::size_t first = 0; first < nr_rows; first += CHUNK) {
		const std::size_t count = std::min(CHUNK, nr_rows - first);
		quantise(rows + first * width, count, width, bins.data());
		if (!cache_) {
			decide_bins(bins.data(), count, labels + first);
			continue;
		}
		for (std::size_t at = 0; at < count; at++) {
			const std::uint16_t *row = bins.data() + at * nr_inputs;
			const Cache::Key key = Cache::key_of(row, nr_inputs);
			if (const auto known = cache_->find(key)) {
				labels[first + at] = *known;
				continue;
			}
			decide_bins(row, 1, labels + first + at);
			cache_->remember(key, labels[first + at]);
		}
	}
}

template void Decider::decide(const float *, std::size_t, std::size_t, std::uint8_t *);
template void Decider::decide(const double *, std::size_t, std::size_t, std::uint8_t *);

}  // namespace schedtuna::model
