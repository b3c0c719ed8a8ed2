/* mix: the last step of a mask decoder. Two levels of fine features are added, go through a GELU, and are mixed to masks.
 *
 * cells   [batch, height, width, 2, 2, 2, 2, channels]: of each cell of a grid its lower or upper, left or right parts, twice
 * skip    the same, or with `skip_image` 0 one for all images
 * mixers  [batch, 4, channels] float32
 * out     [batch, 4, 4 * height, 4 * width] float32, written: the sums over channels, each in its place
 * Sums are float32. Any size may be 0; without channels the masks are 0.
 *
 * Returns a status of kernels.h. */
#pragma once

#include <stdint.h>

#include "kernels.h"

#define SAM2_MIXED_MASKS 4

typedef struct {
    const void *cells, *skip;
    const float *mixers;
    float *out;
    int64_t batch, height, width, channels;
    int64_t skip_image; /* stride from an image to the next one in `skip`, in numbers */
    int32_t format;     /* SAM2_FLOAT32 or SAM2_BFLOAT16, of cells and skip */
    int32_t threads;    /* at most; 1 starts none */
    sam2_parallel parallel; /* threads of a pool that is there; NULL starts some of its own */
} sam2_mix;

/* SAM2_UNSUPPORTED where processor or build have no vector instructions for it. */
SAM2_API int sam2_mix_cpu(const sam2_mix *problem);
