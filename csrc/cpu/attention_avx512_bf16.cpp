#include "attention_kinds.hpp"

#if defined(SAM2_X86_VECTORS)
#include <immintrin.h>
// Standard headers first: what is compiled below uses instructions that not every processor has.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")
#endif

#include "attention.hpp"
#include "attention_avx512.hpp"

namespace sam2 {
namespace {

// Words are pairs of bfloat16; the earlier one lies in the lower half.
struct Bfloat16 : Avx512 {
    using Number = uint16_t;
    using Word = uint32_t;

    static __m512bh words(const uint32_t *p) { return (__m512bh)_mm512_loadu_si512(p); }
    using Avx512::everywhere;
    static __m512bh everywhere(const uint32_t *p) { return (__m512bh)_mm512_set1_epi32(static_cast<int>(*p)); }
    static __m512bh key(const uint16_t *p) {
        uint32_t pair;
        std::memcpy(&pair, p, sizeof pair);  // it may lie at any address
        return everywhere(&pair);
    }
    static Wide product(__m512bh a, __m512bh b, Wide c) { return _mm512_dpbf16_ps(c, a, b); }

    static void turn(const uint16_t *const *rows, int64_t from, int64_t count, uint32_t *tile) {
        Wide r[16];
        const __mmask16 some = mask(count);
        for (int i = 0; i < 16; ++i) r[i] = _mm512_castsi512_ps(_mm512_maskz_loadu_epi32(some, rows[i] + from));
        turn16(r);
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(tile + i * 16, _mm512_castps_si512(r[i]));
    }

    static void pair(const uint16_t *first, const uint16_t *second, int64_t count, uint32_t *out) {
        for (int64_t d = 0; d < count; d += 16) {
            const __mmask16 some = mask(count - d);
            const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, first + d));
            const __m512i high =
                second == nullptr ? _mm512_setzero_si512() : _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, second + d));
            _mm512_mask_storeu_epi32(out + d, some, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
    }

    static Wide weights(const float *s, int64_t stride, int64_t count, Wide scale, Wide most, uint32_t *out, int64_t out_stride) {
        Wide even = zero(), odd = zero();
        for (int64_t key = 0; key < count; key += 2) {
            const Wide a = exp2(_mm512_fmsub_ps(load(s + key * stride), scale, most));
            const Wide c = key + 1 < count ? exp2(_mm512_fmsub_ps(load(s + (key + 1) * stride), scale, most)) : zero();
            even = plus(even, a), odd = plus(odd, c);
            _mm512_storeu_si512(out + key / 2 * out_stride, side_by_side(a, c));
        }
        return plus(even, odd);
    }

    static void turn_back(const float *sum, int64_t stride, int64_t count, Wide inverse, uint16_t *const *out, int64_t d,
                          int64_t rows) {
        Wide r[16];
        turn_sums(sum, stride, count, inverse, r);
        for (int64_t i = 0; i < rows; ++i)
            _mm256_mask_storeu_epi16(out[i] + d, mask(count), (__m256i)_mm512_cvtneps_pbh(r[i]));
    }

  private:
    // Rounded to bfloat16, lane by lane in one word.
    static __m512i side_by_side(Wide low, Wide high) {
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        return _mm512_or_si512(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(both)),
                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(both, 1)), 16));
    }
};

}  // namespace

void attend_avx512_bf16(const sam2_attention &problem, int64_t first, int64_t last) {
    attend_by_vectors<Bfloat16>(problem, first, last);
}

}  // namespace sam2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
