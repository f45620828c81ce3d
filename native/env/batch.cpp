/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.hpp"

#include <utility>

namespace schedtuna::env
{

Pool::Pool(unsigned nr_threads) : failures_(std::max(nr_threads, 1u))
{
	for (unsigned part = 1; part < nr_threads; part++)
		threads_.emplace_back([this, part] { serve(part); });
}

Pool::~Pool()
{
	{
		std::lock_guard guard(lock_);
		is_over_ = true;
	}
	begins_.notify_all();
	for (std::thread &thread : threads_)
		thread.join();
}

void Pool::do_part(unsigned part)
{
	std::size_t parts = failures_.size();
	try {
		(*work_)(n_ *part / parts, n_ * (part + 1) / parts);
	} catch (...) {
		failures_[part] = std::current_exception();
	}
}

void Pool::serve(unsigned part)
{
	std::unique_lock guard(lock_);
	for (std::uint64_t done = 0;;) {
		begins_.wait(guard, [&] { return is_over_ || round_ != done; });
		if (is_over_)
			return;
		done = round_;
		guard.unlock();
		do_part(part);
		guard.lock();
		if (--nr_left_ == 0)
			ends_.notify_one();
	}
}

void Pool::run(std::size_t n, const std::function<void(std::size_t, std::size_t)> &work)
{
	if (threads_.empty()) {
		work(0, n);
		return;
	}
	{
		std::lock_guard guard(lock_);
		work_ = &work;
		n_ = n;
		nr_left_ = static_cast<unsigned>(threads_.size());
		round_++;
	}
	begins_.notify_all();
	do_part(0);
	std::unique_lock guard(lock_);
	ends_.wait(guard, [&] { return nr_left_ == 0; });
	for (std::exception_ptr &failure : failures_)
		if (std::exception_ptr first = std::exchange(failure, nullptr)) {
			failures_.assign(failures_.size(), nullptr);
			std::rethrow_exception(first);
		}
}

unsigned threads_for(std::size_t n, unsigned asked, std::size_t per_thread)
{
	unsigned most = asked ? asked : std::max(std::thread::hardware_concurrency(), 1u);
	return asked ? most : static_cast<unsigned>(std::clamp<std::size_t>(n / per_thread, 1, most));
}

}  // namespace schedtuna::env
