/* SPDX-License-Identifier: Apache-2.0 */
/* A program without any library: checks a model, and ends by the one system call of Linux that it makes. */
#include "m.h"

#define NR_EXIT 1

void _start(void)
{
	register int code __asm__("r0") = m_check() != 0;
	register int number __asm__("r7") = NR_EXIT;

	__asm__ volatile("svc 0" : : "r"(code), "r"(number) : "memory");
	for (;;)
		;
}
