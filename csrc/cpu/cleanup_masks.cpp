#include "../include/cleanup_masks.h"

#include <cstring>
#include <new>

#include "regions.hpp"

int sam2_cleanup_masks_cpu(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int64_t max_hole_area,
                           int64_t max_island_area, uint8_t *cleaned) try {
    if (sam2::is_too_large(height, width)) return SAM2_TOO_LARGE;
    const int64_t pixels = height * width;
    if (pixels == 0) return SAM2_OK;
    sam2::Regions regions;
    for (int64_t b = 0; b < batch; ++b) {
        regions.find(mask + b * pixels, static_cast<int32_t>(height), static_cast<int32_t>(width), true);
        for (size_t i = 0; i < regions.size(); ++i) {  // with background, the runs cover every pixel
            const sam2::Run &run = regions.run(i);
            const bool is_small = regions.area(i) <= (run.value ? max_island_area : max_hole_area);
            std::memset(cleaned + b * pixels + run.start, run.value != is_small, static_cast<size_t>(run.end - run.begin));
        }
    }
    return SAM2_OK;
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}
