#include "../include/components.h"

#include <algorithm>
#include <new>

#include "regions.hpp"

static void label_image(const sam2::Regions &regions, int64_t pixels, int32_t *labels, int32_t *areas) {
    std::fill(labels, labels + pixels, 0);
    std::fill(areas, areas + pixels, 0);
    for (size_t i = 0; i < regions.size(); ++i) {
        const sam2::Run &run = regions.run(i);
        const int32_t length = run.end - run.begin;
        std::fill_n(labels + run.start, length, regions.first_pixel(i) + 1);
        std::fill_n(areas + run.start, length, regions.area(i));
    }
}

int sam2_components_cpu(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int32_t *labels, int32_t *areas) try {
    if (sam2::is_too_large(height, width)) return SAM2_TOO_LARGE;
    const int64_t pixels = height * width;
    if (pixels == 0) return SAM2_OK;
    sam2::Regions regions;
    for (int64_t b = 0; b < batch; ++b) {
        regions.find(mask + b * pixels, static_cast<int32_t>(height), static_cast<int32_t>(width), false);
        label_image(regions, pixels, labels + b * pixels, areas + b * pixels);
    }
    return SAM2_OK;
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}
