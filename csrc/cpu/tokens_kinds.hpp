// Sums with layer norms, maxima of neighbours and mixing to masks, of one set of vector instructions each.
#pragma once

#include <cstdint>

#include "../include/add_norm.h"
#include "../include/halve.h"
#include "../include/mix.h"
#include "processor.hpp"

namespace sam2 {

constexpr int ROWS_AT_ONCE = 2;

// Rows `first` to `last`; `near` has room for so many, each of whole vectors of up to 16.
using AddNorm = void (*)(const sam2_add_norm &problem, int64_t first, int64_t last, float *near);
void add_norm_avx2(const sam2_add_norm &problem, int64_t first, int64_t last, float *near);
void add_norm_avx512(const sam2_add_norm &problem, int64_t first, int64_t last, float *near);

// Lines `first` to `last` of what comes out, over all images.
using Halve = void (*)(const sam2_halve &problem, int64_t first, int64_t last);
void halve_avx2(const sam2_halve &problem, int64_t first, int64_t last);
void halve_avx512(const sam2_halve &problem, int64_t first, int64_t last);

// Lines `first` to `last` of cells, over all images.
using Mix = void (*)(const sam2_mix &problem, int64_t first, int64_t last);
void mix_avx2(const sam2_mix &problem, int64_t first, int64_t last);
void mix_avx512(const sam2_mix &problem, int64_t first, int64_t last);

}  // namespace sam2
