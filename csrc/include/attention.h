/* attention: softmax(scale * Q K^T) V for many small or few large problems, never holding the matrix of scores.
 *
 * Q      [batch, heads, queries, dim]        K [batch, heads, keys, dim]        V [batch, heads, keys, value_dim]
 * out    [batch, heads, queries, value_dim], written
 * All have one number format. Their last axis is contiguous; the other three have strides of their own, counted in numbers, which
 * may be 0 or of an axis that was cut from a larger one. `out` may not lie over an input.
 *
 * Sums, maxima and exponentials are float32; of bfloat16 inputs only the two factors of each product, and the weights of the
 * values, are rounded to bfloat16. Where `keys` is 0, `out` is 0. Any other size may be 0.
 *
 * Returns a status of kernels.h; on another one than SAM2_OK `out` holds nothing of use. */
#pragma once

#include <stdint.h>

#include "kernels.h"

enum { SAM2_FLOAT32 = 0, SAM2_BFLOAT16 = 1 };

/* Instructions, from the plainest on. AVX2 and AVX512 are for float32, AVX512_BF16 and AMX_BF16 for bfloat16. AMX_SPLIT is for
 * float32: the factors of products are sums of two bfloat16, which keep about 16 bits; everything else is float32. */
enum { SAM2_NO_VECTORS = 0, SAM2_AVX2 = 1, SAM2_AVX512 = 2, SAM2_AVX512_BF16 = 3, SAM2_AMX_BF16 = 4, SAM2_AMX_SPLIT = 5 };

/* Calls `work(data)` in up to `threads` threads and returns when all are done: GOMP_parallel of an OpenMP runtime. */
typedef void (*sam2_parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    void *data;
    int64_t batch, head, row; /* strides, in numbers */
} sam2_rows;

typedef struct {
    sam2_rows queries, keys, values, out; /* the first three are only read */
    int64_t batch, heads, query_count, key_count, dim, value_dim;
    const int64_t *key_counts; /* [batch], how many keys of each count, none beyond key_count; NULL: all do */
    float scale; /* positive */
    int32_t format;       /* SAM2_FLOAT32 or SAM2_BFLOAT16; the latter wants an even dim */
    int32_t threads;      /* at most; 1 starts none */
    int32_t instructions; /* at most */
    sam2_parallel parallel; /* threads of a pool that is there; NULL starts some of its own */
} sam2_attention;

/* The most that this processor, and this build of the library, can do in a number format; SAM2_NO_VECTORS where it can not at
 * all. The first call tries AMX, where there is any, with a small problem: without the right result AMX is not used. */
SAM2_API int sam2_attention_instructions_cpu(int32_t format);

/* SAM2_UNSUPPORTED where `instructions` leaves nothing that can do it. */
SAM2_API int sam2_attention_cpu(const sam2_attention *problem);
