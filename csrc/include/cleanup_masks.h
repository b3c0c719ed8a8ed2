/* cleanup_masks: small holes filled and small islands removed, in one pass.
 *
 * mask     [batch, height, width] uint8, contiguous; nonzero is foreground
 * cleaned  [batch, height, width] uint8, contiguous, written: 0 or 1; must not overlap `mask`
 *
 * A hole is an 8-connected region of background with at most max_hole_area pixels, an island one of foreground with at most
 * max_island_area; a limit of 0 leaves that kind alone. Both are found in the given mask, so the order does not matter.
 *
 * Any size may be 0. Returns a status of kernels.h; on another one than SAM2_OK the output holds nothing of use. */
#pragma once

#include <stdint.h>

#include "kernels.h"

SAM2_API int sam2_cleanup_masks_cpu(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int64_t max_hole_area,
                                    int64_t max_island_area, uint8_t *cleaned);

/* All pointers are device memory of the current device; everything runs on `stream` and nothing waits for it.
 * `workspace` has sam2_cleanup_masks_cuda_workspace(...) bytes, aligned to 4. */
SAM2_API int64_t sam2_cleanup_masks_cuda_workspace(int64_t batch, int64_t height, int64_t width);
SAM2_API int sam2_cleanup_masks_cuda(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int64_t max_hole_area,
                                     int64_t max_island_area, uint8_t *cleaned, void *workspace, void *stream);
