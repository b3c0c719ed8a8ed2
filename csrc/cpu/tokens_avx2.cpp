#include "tokens_kinds.hpp"

#if defined(SAM2_X86_VECTORS)
#include <immintrin.h>
// Standard headers first: what is compiled below uses instructions that not every processor has.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace sam2 {
namespace {

constexpr int64_t LANES = 8;
using IntVector = __m256i;

[[gnu::always_inline]] inline float total_of(__m256 x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// The lower halves of words, the upper ones of which are 0.
[[gnu::always_inline]] inline __m128i lower_halves(IntVector x) {
    const __m128i low = _mm256_castsi256_si128(x), high = _mm256_extracti128_si256(x, 1);
    return _mm_packus_epi32(low, high);
}

}  // namespace
}  // namespace sam2

#include "tokens.hpp"

namespace sam2 {

void add_norm_avx2(const sam2_add_norm &p, int64_t first, int64_t last, float *near) {
    p.format == SAM2_BFLOAT16 ? add_norm_in<uint16_t>(p, first, last, near) : add_norm_in<float>(p, first, last, near);
}

void halve_avx2(const sam2_halve &p, int64_t first, int64_t last) {
    p.format == SAM2_BFLOAT16 ? halve_lines<uint16_t>(p, first, last) : halve_lines<float>(p, first, last);
}

void mix_avx2(const sam2_mix &p, int64_t first, int64_t last) {
    p.format == SAM2_BFLOAT16 ? mix_lines<uint16_t>(p, first, last) : mix_lines<float>(p, first, last);
}

}  // namespace sam2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
