/* SPDX-License-Identifier: Apache-2.0 */
#include "model/vectors.hpp"

namespace schedtuna::model
{

bool has(Vectors vectors)
{
	if (vectors == Vectors::Portable)
		return true;
#ifdef SCHEDTUNA_X86
	if (vectors == Vectors::Avx2)
		return __builtin_cpu_supports("avx2");
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
	       && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
	return false;
#endif
}

Vectors best_vectors()
{
	if (has(Vectors::Avx512))
		return Vectors::Avx512;
	return has(Vectors::Avx2) ? Vectors::Avx2 : Vectors::Portable;
}

}  // namespace schedtuna::model
