// What is done to tokens between products: sums with layer norms, and maxima of neighbours.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../include/add_norm.h"
#include "../include/halve.h"
#include "vectors.hpp"

namespace sam2 {
namespace {

// Some rows at once, so that none waits for what it needs next: ROWS from `first` on. `near` holds them as float32, zeros up to
// whole vectors, which WHOLE says that channels are.
template <int ROWS, bool WHOLE, bool ADDS, class Number>
void add_norm_few(const sam2_add_norm &p, int64_t first, float *near) {
    const int64_t channels = p.channels, apart = (channels + LANES - 1) / LANES * LANES;
    const int64_t at = first * channels;
    const auto *a = static_cast<const Number *>(p.a) + at, *b = ADDS ? static_cast<const Number *>(p.b) + at : nullptr;
    auto *sum = ADDS ? static_cast<Number *>(p.sum) + at : nullptr, *normed = static_cast<Number *>(p.normed) + at;
    Floats total[ROWS] = {}, squares[ROWS] = {};
    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t count = WHOLE ? LANES : channels - c;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            Floats x = load(a + r * channels + c, count);
            if constexpr (ADDS) {
                x = rounded(x + load(b + r * channels + c, count), Number{});
                store(sum + r * channels + c, x, count);
            }
            store(near + r * apart + c, x, LANES);
            total[r] += x;
        }
    }
    const float share = 1.f / static_cast<float>(channels);
    float mean[ROWS], scale[ROWS];
    for (int r = 0; r < ROWS; ++r) mean[r] = total_of(total[r]) * share;
    for (int64_t c = 0; c < channels; c += LANES)
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const Floats x = load(near + r * apart + c, LANES) - mean[r];
            squares[r] += x * x;
        }
    for (int r = 0; r < ROWS; ++r) {
        // Beyond the last channel there are zeros, which are as far from the mean as it is from 0.
        const float beyond = static_cast<float>(apart - channels) * mean[r] * mean[r];
        scale[r] = 1.f / std::sqrt(std::max(0.f, total_of(squares[r]) - beyond) * share + p.eps);
    }
    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t count = WHOLE ? LANES : channels - c;
        const Floats weight = load(p.weight + c, count), bias = load(p.bias + c, count);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const Floats x = (load(near + r * apart + c, LANES) - mean[r]) * scale[r] * weight + bias;
            store(normed + r * channels + c, rounded(x, Number{}), count);
        }
    }
}

template <bool WHOLE, bool ADDS, class Number>
void add_norm_rows(const sam2_add_norm &p, int64_t first, int64_t last, float *near) {
    for (; first + ROWS_AT_ONCE <= last; first += ROWS_AT_ONCE)
        add_norm_few<ROWS_AT_ONCE, WHOLE, ADDS, Number>(p, first, near);
    for (; first < last; ++first) add_norm_few<1, WHOLE, ADDS, Number>(p, first, near);
}

template <class Number>
void add_norm_in(const sam2_add_norm &p, int64_t first, int64_t last, float *near) {
    const bool is_whole = p.channels % LANES == 0;
    if (p.b == nullptr)
        is_whole ? add_norm_rows<true, false, Number>(p, first, last, near)
                 : add_norm_rows<false, false, Number>(p, first, last, near);
    else
        is_whole ? add_norm_rows<true, true, Number>(p, first, last, near)
                 : add_norm_rows<false, true, Number>(p, first, last, near);
}

// The larger one; of two, one of which is none, that.
[[gnu::always_inline]] inline Floats larger(Floats most, Floats x) {
    const Words takes = (Words)((x > most) | (x != x));
    return (Floats)(((Words)x & takes) | ((Words)most & ~takes));
}

// Lines `first` to `last` of what comes out, over all images.
template <class Number>
void halve_lines(const sam2_halve &p, int64_t first, int64_t last) {
    const int64_t height = p.height / 2, width = p.width / 2;
    auto *out = static_cast<Number *>(p.out) + first * width * p.channels;
    for (int64_t index = first; index < last; ++index) {
        const auto *line = static_cast<const Number *>(p.in) + index / height * p.image + index % height * 2 * p.line;
        for (int64_t x = 0; x < width; ++x, out += p.channels) {
            const Number *in = line + 2 * x * p.row;
            for (int64_t c = 0; c < p.channels; c += LANES) {
                const int64_t count = p.channels - c;
                Floats most = larger(load(in + c, count), load(in + p.row + c, count));
                most = larger(most, load(in + p.line + c, count));
                store(out + c, larger(most, load(in + p.line + p.row + c, count)), count);
            }
        }
    }
}

}  // namespace
}  // namespace sam2
