/* add_norm: a sum of two tensors and its layer norm, in one pass over memory.
 *
 * a, b, sum, normed [rows, channels], contiguous. `sum` is a + b, rounded to the format of the numbers; `normed` is the layer
 * norm of what `sum` holds: (sum - mean) / sqrt(variance + eps) * weight + bias over the channels, computed in float32.
 * Without `b` the norm is that of `a`. `sum` may be `a` or `b`; any size may be 0.
 *
 * Returns a status of kernels.h. */
#pragma once

#include <stdint.h>

#include "kernels.h"

typedef struct {
    const void *a, *b;          /* b: NULL for none */
    void *sum, *normed;         /* sum: not looked at without b */
    const float *weight, *bias; /* [channels] */
    int64_t rows, channels;
    float eps;
    int32_t format;  /* SAM2_FLOAT32 or SAM2_BFLOAT16 */
    int32_t threads; /* at most; 1 starts none */
    sam2_parallel parallel; /* threads of a pool that is there; NULL starts some of its own */
} sam2_add_norm;

/* SAM2_UNSUPPORTED where processor or build have no vector instructions for it. */
SAM2_API int sam2_add_norm_cpu(const sam2_add_norm *problem);
