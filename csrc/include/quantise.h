/* quantise: bfloat16 numbers as 8-bit ones, all with one step.
 *
 * numbers  [count] bfloat16, contiguous, finite
 * out      [count] uint8, written: 128 + numbers / step, rounded, so that 0 is 128 and the range is 1 to 255
 * step     written: the largest absolute number / 127, or a tiny number where all are 0
 *
 * `count` may be 0. Returns a status of kernels.h. */
#pragma once

#include <stdint.h>

#include "attention.h"

SAM2_API int sam2_quantise_cpu(const uint16_t *numbers, int64_t count, int32_t threads, sam2_parallel parallel, uint8_t *out,
                               float *step);
