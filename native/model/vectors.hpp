/* SPDX-License-Identifier: Apache-2.0 */
// Which vector instructions computing may use: what the processor has, or less where a test asks for it. Functions
// that use them carry the attribute; all others are compiled for every processor.
#ifndef SCHEDTUNA_MODEL_VECTORS_HPP
#define SCHEDTUNA_MODEL_VECTORS_HPP

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#define SCHEDTUNA_X86 1
// GCC 12 takes what its own header leaves undefined for a fault of whoever calls it (its bug 105593).
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#define SCHEDTUNA_AVX2 __attribute__((target("avx2")))
#define SCHEDTUNA_AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))
#endif

namespace schedtuna::model
{

enum class Vectors : std::uint8_t { Portable, Avx2, Avx512 };  // Avx512: with VNNI

// Whether this processor has them.
bool has(Vectors vectors);

// The widest that it has.
Vectors best_vectors();

}  // namespace schedtuna::model

#endif
