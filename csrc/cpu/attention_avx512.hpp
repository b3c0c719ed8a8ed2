// What both number formats share with 512-bit vectors. Included under the compiler's options for them.
#pragma once

#include <cstdint>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own headers start some results from registers of which any contents will do.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace sam2 {
namespace {

struct Avx512 {
    using Wide = __m512;
    static constexpr int64_t LANES = 16, ROWS = 8, KEYS_AT_ONCE = 64;

    static Wide zero() { return _mm512_setzero_ps(); }
    static Wide load(const float *p) { return _mm512_loadu_ps(p); }
    static void store(float *p, Wide x) { _mm512_storeu_ps(p, x); }
    static Wide max(Wide a, Wide b) { return _mm512_max_ps(a, b); }
    static Wide times(Wide a, Wide b) { return _mm512_mul_ps(a, b); }
    static Wide plus(Wide a, Wide b) { return _mm512_add_ps(a, b); }
    static Wide minus(Wide a, Wide b) { return _mm512_sub_ps(a, b); }
    static Wide fma(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a, b, c); }

    static Wide inverse(Wide x) {
        const __mmask16 some = _mm512_cmp_ps_mask(x, zero(), _CMP_GT_OQ);
        return _mm512_maskz_div_ps(some, _mm512_set1_ps(1.f), x);
    }

    // 2^x for x <= 0, relative error below 3e-7: the nearest whole number apart, the rest by a polynomial.
    static Wide exp2(Wide x) {
        x = _mm512_max_ps(x, _mm512_set1_ps(-126.f));
        const Wide whole = _mm512_roundscale_ps(x, 0), f = _mm512_sub_ps(x, whole);
        Wide y = _mm512_set1_ps(1.54035304e-4f);
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.33335581e-3f));
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(9.61812911e-3f));
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.55041087e-2f));
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.40226507e-1f));
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.93147181e-1f));
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.f));
        return _mm512_scalef_ps(y, whole);
    }

    static Wide everywhere(float x) { return _mm512_set1_ps(x); }

    static __mmask16 mask(int64_t count) { return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1); }

    // 16 x 16 turned over its diagonal: pairs, pairs of pairs, then quarters of registers twice. A call of its own would take the
    // registers through memory.
    [[gnu::always_inline]] static inline void turn16(Wide *r) {
        Wide t[16];
        for (int i = 0; i < 16; i += 2) {
            t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
        }
        for (int i = 0; i < 16; i += 4) {
            r[i] = unpack_low(t[i], t[i + 2]);
            r[i + 1] = unpack_high(t[i], t[i + 2]);
            r[i + 2] = unpack_low(t[i + 1], t[i + 3]);
            r[i + 3] = unpack_high(t[i + 1], t[i + 3]);
        }
        for (int i = 0; i < 4; ++i) {
            t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
            t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
            t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
            t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
        }
        for (int i = 0; i < 8; ++i) {
            r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
            r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        }
    }

    // Up to 16 numbers of the sums of 16 queries, times the inverse of their totals, with queries one below the other.
    [[gnu::always_inline]] static inline void turn_sums(const float *sum, int64_t stride, int64_t count, Wide inverse, Wide *r) {
        for (int64_t i = 0; i < 16; ++i) r[i] = i < count ? times(load(sum + i * stride), inverse) : zero();
        turn16(r);
    }

  private:
    static Wide unpack_low(Wide a, Wide b) {
        return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    }
    static Wide unpack_high(Wide a, Wide b) {
        return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    }
};

}  // namespace
}  // namespace sam2
