/* SPDX-License-Identifier: Apache-2.0 */
// The Gittins index policy: the least mean turnaround that is possible on one CPU without knowing how long a burst is,
// but knowing how long bursts are in general (J. Gittins, "Multi-armed Bandit Allocation Indices", 1989; for queues:
// S. Aalto, U. Ayesta, R. Righter, "On the Gittins index in the M/G/1 queue", Queueing Systems 63, 2009).
//
// How long bursts are is learned from those that have ended, in bins of a quarter of an octave. The rank of a burst
// that has run for `a` is the least, over spans d, of
//	E[min(S - a, d) | S > a] / P(S - a <= d | S > a)
#include "ranked.hpp"
#include "registry.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace schedtuna::sim
{

namespace
{

constexpr std::size_t NR_BINS = 4 * 48;	 // to 2^49 ns, over six days
constexpr std::uint64_t FEW = 32;	 // bursts; before that the rank is what a burst has attained, as in LAS

std::size_t bin_of(Ns length)
{
	std::uint64_t n = static_cast<std::uint64_t>(std::max<Ns>(length, 4));
	unsigned octave = static_cast<unsigned>(std::bit_width(n)) - 3;
	return std::min<std::size_t>(4 * octave + (n >> octave & 3), NR_BINS - 1);
}

Ns beginning_of(std::size_t bin)
{
	return static_cast<Ns>(4 + bin % 4) << bin / 4;
}

class Gittins final : public RankedScheduler
{
      public:
	explicit Gittins(Ns quantum_ns) : quantum_ns_(quantum_ns)
	{
	}
	std::string_view name() const override
	{
		return "gittins";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Gittins>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		quantum_ns_ = values[0] * 1000;
		return true;
	}

      protected:
	Ns rank(const Machine &m, TaskId id) const override
	{
		Ns attained = clock_.attained_ns(m, id);
		return nr_ended_ < FEW ? attained : ranks_[bin_of(attained)];
	}
	Ns slice_ns(const Machine &, TaskId) const override
	{
		return quantum_ns_;
	}
	bool preempts(EnqueueReason) const override
	{
		return true;
	}
	void burst_begins(Machine &m, TaskId id) override
	{
		clock_.begin(m, id);
	}
	void burst_ends(Machine &m, TaskId id) override
	{
		ended_[bin_of(clock_.attained_ns(m, id))]++;
		nr_ended_++;
		if (nr_ended_ == next_update_) {
			next_update_ += nr_ended_ / 4;
			update_ranks();
		}
	}

      private:
	void update_ranks();

	Ns quantum_ns_;
	BurstClock clock_;
	std::array<std::uint64_t, NR_BINS> ended_{};
	std::array<Ns, NR_BINS> ranks_{};
	std::uint64_t nr_ended_ = 0, next_update_ = FEW;
};

// Within a bin, bursts end at its middle.
void Gittins::update_ranks()
{
	using Wide = unsigned __int128;
	for (std::size_t from = 0; from < NR_BINS; from++) {
		Ns attained = beginning_of(from), best = NEVER;
		Wide spent = 0;
		std::uint64_t ended = 0, alive = 0;
		for (std::size_t bin = from; bin < NR_BINS; bin++)
			alive += ended_[bin];
		for (std::size_t bin = from; bin + 1 < NR_BINS && alive; bin++) {
			Ns middle = (beginning_of(bin) + beginning_of(bin + 1)) / 2;
			spent += static_cast<Wide>(middle - attained) * ended_[bin];
			ended += ended_[bin];
			alive -= ended_[bin];
			if (ended) {
				Wide all = spent + static_cast<Wide>(beginning_of(bin + 1) - attained) * alive;
				best = std::min(best, static_cast<Ns>(all / ended));
			}
		}
		// Longer than anything yet: behind the others, the least attained first.
		ranks_[from] = best == NEVER ? NEVER / 2 + attained / 4 : best;
	}
}

constexpr Parameter PARAMETERS[] = {
	{"quantum_us", ParameterKind::Integer, 1000, 1, 1'000'000,
	 "how long a task runs before it is compared with those that wait, us"},
};

}  // namespace

extern const SchedulerRow GITTINS;
const SchedulerRow GITTINS{
	"gittins", "whoever is likeliest to be done soon, by the lengths of all bursts before", PARAMETERS,
	[](Values values) -> std::unique_ptr<Scheduler> { return std::make_unique<Gittins>(values[0] * 1000); }};

}  // namespace schedtuna::sim
