/* components: 8-connected regions of foreground pixels, numbered, with their areas.
 *
 * mask    [batch, height, width] uint8, contiguous; nonzero is foreground
 * labels  [batch, height, width] int32, contiguous, written: 0 for background, else 1 + the raster index (y * width + x) of the
 *         first pixel of the region that the pixel belongs to. So a label depends on the region alone, not on threads or devices.
 * areas   [batch, height, width] int32, contiguous, written: pixels in that region; 0 for background
 *
 * Any size may be 0. Returns a status of kernels.h; on another one than SAM2_OK the outputs hold nothing of use. */
#pragma once

#include <stdint.h>

#include "kernels.h"

SAM2_API int sam2_components_cpu(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int32_t *labels, int32_t *areas);

/* All pointers are device memory of the current device; everything runs on `stream` and nothing waits for it.
 * `workspace` has sam2_components_cuda_workspace(...) bytes, aligned to 4. */
SAM2_API int64_t sam2_components_cuda_workspace(int64_t batch, int64_t height, int64_t width);
SAM2_API int sam2_components_cuda(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int32_t *labels, int32_t *areas,
                                  void *workspace, void *stream);
