// What is done to tokens between products: sums with layer norms, maxima of neighbours, and mixing to masks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../include/add_norm.h"
#include "../include/halve.h"
#include "../include/mix.h"
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

// e to the power of x, which is at most 0; to one in ten million.
[[gnu::always_inline]] inline Floats exp_of(Floats x) {
    constexpr float LOG2_E = 1.4426950408889634f, LOWEST = -126.f, SHIFT = 12582912.f;  // 1.5 * 2^23: adding it rounds
    Floats y = x * LOG2_E;
    const Words is_low = (Words)(y < LOWEST);
    y = (Floats)(((Words)y & ~is_low) | ((Words)(Floats{} + LOWEST) & is_low));
    const Floats whole = (y + SHIFT) - SHIFT, f = y - whole;  // f within a half
    // 2^f by the Taylor series of e^(f ln 2)
    Floats power = f * 1.54035304e-4f + 1.33335581e-3f;
    power = power * f + 9.61812911e-3f;
    power = power * f + 5.55041087e-2f;
    power = power * f + 2.40226507e-1f;
    power = power * f + 6.93147181e-1f;
    power = power * f + 1.f;
    const Ints exponent = __builtin_convertvector(whole, Ints) << 23;
    return (Floats)((Ints)power + exponent);
}

// x times the share of a normal distribution below x (Hendrycks and Gimpel 2016), by formula 7.1.26 of Abramowitz and Stegun,
// whose error is below 1.5e-7.
[[gnu::always_inline]] inline Floats gelu(Floats x) {
    const Words is_negative = (Words)(x < 0);
    const Floats size = (Floats)((Words)x & 0x7fffffffu) * 0.70710678f;
    const Floats t = 1.f / (1.f + 0.3275911f * size);
    Floats tail = t * 1.061405429f - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = tail * t + 0.254829592f;
    tail = 0.5f * tail * t * exp_of(-size * size);
    return x * (Floats)(((Words)tail & is_negative) | ((Words)(1.f - tail) & ~is_negative));
}

// Lines `first` to `last` of cells, over all images.
template <class Number>
void mix_lines(const sam2_mix &p, int64_t first, int64_t last) {
    constexpr int PARTS = 16, MASKS = SAM2_MIXED_MASKS;
    const int64_t channels = p.channels, width = 4 * p.width, plane = 4 * p.height * width;
    const int64_t line = p.width * PARTS * channels;
    for (int64_t index = first; index < last; ++index) {
        const int64_t image = index / p.height, y = index % p.height;
        const auto *cells = static_cast<const Number *>(p.cells) + index * line;
        const auto *skip = static_cast<const Number *>(p.skip) + image * p.skip_image + y * line;
        const float *mixers = p.mixers + image * MASKS * channels;
        float *out = p.out + image * MASKS * plane + 4 * y * width;
        for (int64_t at = 0; at < p.width * PARTS; ++at, cells += channels, skip += channels) {
            Floats total[MASKS] = {};
            for (int64_t c = 0; c < channels; c += LANES) {
                const Floats x = gelu(load(cells + c, channels - c) + load(skip + c, channels - c));
                for (int m = 0; m < MASKS; ++m) total[m] += x * load(mixers + m * channels + c, channels - c);
            }
            // Bits of a part: lower, right, and once more lower, right.
            const int64_t part = at % PARTS, row = (part >> 3 & 1) * 2 + (part >> 1 & 1);
            const int64_t column = at / PARTS * 4 + (part >> 2 & 1) * 2 + (part & 1);
            for (int m = 0; m < MASKS; ++m) out[m * plane + row * width + column] = total_of(total[m]);
        }
    }
}

}  // namespace
}  // namespace sam2
