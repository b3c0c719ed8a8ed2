/* halve: the maximum over 2 x 2 places of grids whose channels lie side by side.
 *
 * in  [batch, height, width, channels], the last axis contiguous, strides of their own for the others, counted in numbers
 * out [batch, height / 2, width / 2, channels], contiguous, written; a last odd line or column is left out
 * Where a number is not one (NaN), so is the maximum. Any size may be 0.
 *
 * Returns a status of kernels.h. */
#pragma once

#include <stdint.h>

#include "kernels.h"

typedef struct {
    const void *in;
    void *out;
    int64_t batch, height, width, channels;
    int64_t image, line, row; /* strides: to the next image, the line below, the right neighbour */
    int32_t format;  /* SAM2_FLOAT32 or SAM2_BFLOAT16 */
    int32_t threads; /* at most; 1 starts none */
    sam2_parallel parallel; /* threads of a pool that is there; NULL starts some of its own */
} sam2_halve;

/* SAM2_UNSUPPORTED where processor or build have no vector instructions for it. */
SAM2_API int sam2_halve_cpu(const sam2_halve *problem);
