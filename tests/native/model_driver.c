/* SPDX-License-Identifier: Apache-2.0 */
/* Reads rows of values, and writes of each its bins, accumulators, logits and decision. */
#include <stdio.h>

#include "m.h"

int main(void)
{
	int64_t values[M_NR_INPUTS];

	while (fread(values, sizeof(values), 1, stdin) == 1) {
		uint16_t bins[M_NR_INPUTS];
		int32_t accumulators[M_NR_ACCUMULATORS], logits[M_NR_LOGITS], decision = m_decide(values);

		m_quantise(values, bins);
		m_accumulate(bins, accumulators);
		m_logits(bins, logits);
		fwrite(bins, sizeof(bins), 1, stdout);
		fwrite(accumulators, sizeof(accumulators), 1, stdout);
		fwrite(logits, sizeof(logits), 1, stdout);
		fwrite(&decision, sizeof(decision), 1, stdout);
	}
	return 0;
}
