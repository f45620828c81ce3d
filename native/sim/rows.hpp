/* SPDX-License-Identifier: Apache-2.0 */
// Rows, one a task, which are looked at in whatever order tasks run: once they take megabytes they stand in huge pages,
// where the system has some to give. In small ones each look would miss the TLB as well as the caches.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include <sys/mman.h>

namespace schedtuna::sim
{

template <typename T> struct HugePages {
	using value_type = T;
	static constexpr std::size_t PAGE = 2 << 20;

	HugePages() = default;
	template <typename U> HugePages(const HugePages<U> &)
	{
	}
	T *allocate(std::size_t n)
	{
		std::size_t bytes = n * sizeof(T);
		if (bytes < PAGE)
			return std::allocator<T>().allocate(n);
		void *rows = ::operator new(bytes, std::align_val_t(PAGE));
#ifdef MADV_HUGEPAGE
		madvise(rows, bytes / PAGE * PAGE, MADV_HUGEPAGE);  // refused: small ones do, too
#endif
		return static_cast<T *>(rows);
	}
	void deallocate(T *rows, std::size_t n)
	{
		if (n * sizeof(T) < PAGE)
			std::allocator<T>().deallocate(rows, n);
		else
			::operator delete(rows, std::align_val_t(PAGE));
	}
	bool operator==(const HugePages &) const = default;
};

template <typename T> using Rows = std::vector<T, HugePages<T>>;

}  // namespace schedtuna::sim
