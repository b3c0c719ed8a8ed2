/* attention: softmax(scale * Q K^T) V for many small or few large problems, never holding the matrix of scores.
 *
 * Q      [batch, heads, queries, dim]        K [batch, heads, keys, dim]        V [batch, heads, keys, value_dim]
 * out    [batch, heads, queries, value_dim], written
 * All have one number format. Their last axis is contiguous; the other three have strides of their own, counted in numbers, which
 * may be 0 or of an axis that was cut from a larger one. `out` may not lie over an input.
 *
 * With windows, query_count is the square of their side, key_count too; queries beyond the grid are neither read nor written.
 *
 * Sums, maxima and exponentials are float32; of bfloat16 inputs only the two factors of each product, and the weights of the
 * values, are rounded to bfloat16. Where `keys` is 0, `out` is 0. Any other size may be 0.
 *
 * Returns a status of kernels.h; on another one than SAM2_OK `out` holds nothing of use. */
#pragma once

#include <stdint.h>

#include "kernels.h"

/* Instructions, from the plainest on. AVX2 and AVX512 are for float32, AVX512_BF16 and AMX_BF16 for bfloat16. AMX_SPLIT is for
 * float32: the factors of products are sums of two bfloat16, which keep about 16 bits; everything else is float32. */
enum { SAM2_NO_VECTORS = 0, SAM2_AVX2 = 1, SAM2_AVX512 = 2, SAM2_AVX512_BF16 = 3, SAM2_AMX_BF16 = 4, SAM2_AMX_SPLIT = 5 };

typedef struct {
    void *data;
    int64_t batch, head, row; /* strides, in numbers */
    int64_t line;             /* of windows: from a row of the grid to the one below */
} sam2_rows;

/* Windows of side * side rows, cut from grids without copying; those at the bottom and at the right may reach beyond the grid.
 * Problem (image * down + y) * across + x is the window at (y, x) of the image. `batch` of the rows is then from image to
 * image, `row` from a place of the grid to its right neighbour. */
typedef struct {
    int64_t side;          /* 0: no windows, all rows lie `row` apart */
    int64_t height, width; /* of the grid */
} sam2_windows;

typedef struct {
    sam2_rows queries, keys, values, out; /* the first three are only read */
    int64_t batch, heads, query_count, key_count, dim, value_dim;
    sam2_windows query_windows, key_windows; /* both or none; of `out` and of values too, and as many of each */
    const void *padding_key, *padding_value; /* [heads, dim], [heads, value_dim]: keys and values beyond the grid; NULL: none */
    const int64_t *key_counts; /* [batch], how many keys of each count, none beyond key_count; NULL: all do, as with windows */
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
