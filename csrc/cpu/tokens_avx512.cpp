#include "tokens_kinds.hpp"

#if defined(SAM2_X86_VECTORS)
#include <immintrin.h>
// Standard headers first: what is compiled below uses instructions that not every processor has.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#endif

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own headers start some results from registers of which any contents will do.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace sam2 {
namespace {

constexpr int64_t LANES = 16;
using IntVector = __m512i;

[[gnu::always_inline]] inline float total_of(__m512 x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// The lower halves of words, the upper ones of which are 0.
[[gnu::always_inline]] inline __m256i lower_halves(IntVector x) {
    return _mm512_cvtepi32_epi16(x);
}

}  // namespace
}  // namespace sam2

#include "tokens.hpp"

namespace sam2 {

void add_norm_avx512(const sam2_add_norm &p, int64_t first, int64_t last, float *near) {
    p.format == SAM2_BFLOAT16 ? add_norm_in<uint16_t>(p, first, last, near) : add_norm_in<float>(p, first, last, near);
}

void halve_avx512(const sam2_halve &p, int64_t first, int64_t last) {
    p.format == SAM2_BFLOAT16 ? halve_lines<uint16_t>(p, first, last) : halve_lines<float>(p, first, last);
}

void mix_avx512(const sam2_mix &p, int64_t first, int64_t last) {
    p.format == SAM2_BFLOAT16 ? mix_lines<uint16_t>(p, first, last) : mix_lines<float>(p, first, last);
}

}  // namespace sam2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
