#include "attention_kinds.hpp"

#if defined(SAM2_X86_VECTORS)
#include <immintrin.h>
// Standard headers first: what is compiled below uses instructions that not every processor has.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "attention.hpp"

namespace sam2 {
namespace {

struct Float32 {
    using Number = float;
    using Word = float;
    using Wide = __m256;
    static constexpr int64_t LANES = 8, ROWS = 6, KEYS_AT_ONCE = 192;

    static Wide zero() { return _mm256_setzero_ps(); }
    static Wide load(const float *p) { return _mm256_loadu_ps(p); }
    static void store(float *p, Wide x) { _mm256_storeu_ps(p, x); }
    static Wide words(const float *p) { return _mm256_load_ps(p); }
    static Wide key(const float *p) { return everywhere(p); }
    static Wide everywhere(const float *p) { return _mm256_broadcast_ss(p); }
    static Wide everywhere(float x) { return _mm256_set1_ps(x); }
    static Wide product(Wide a, Wide b, Wide c) { return _mm256_fmadd_ps(a, b, c); }
    static Wide max(Wide a, Wide b) { return _mm256_max_ps(a, b); }
    static Wide times(Wide a, Wide b) { return _mm256_mul_ps(a, b); }
    static Wide plus(Wide a, Wide b) { return _mm256_add_ps(a, b); }
    static Wide minus(Wide a, Wide b) { return _mm256_sub_ps(a, b); }
    static Wide fma(Wide a, Wide b, Wide c) { return _mm256_fmadd_ps(a, b, c); }

    static Wide inverse(Wide x) {
        const Wide some = _mm256_cmp_ps(x, zero(), _CMP_GT_OQ);
        return _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(1.f), x));
    }

    // 2^x for x <= 0, as in attention_avx512.hpp.
    static Wide exp2(Wide x) {
        x = _mm256_max_ps(x, _mm256_set1_ps(-126.f));
        const Wide whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm256_sub_ps(x, whole);
        Wide y = _mm256_set1_ps(1.54035304e-4f);
        y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(1.33335581e-3f));
        y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(9.61812911e-3f));
        y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(5.55041087e-2f));
        y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(2.40226507e-1f));
        y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(6.93147181e-1f));
        y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(1.f));
        const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), exponent));
    }

    static void turn(const float *const *rows, int64_t from, int64_t count, float *tile) {
        Wide r[8];
        const __m256i some = mask(count);
        for (int i = 0; i < 8; ++i) r[i] = _mm256_maskload_ps(rows[i] + from, some);
        turn8(r);
        for (int i = 0; i < 8; ++i) _mm256_storeu_ps(tile + i * 8, r[i]);
    }

    static void pair(const float *only, const float *, int64_t count, float *out) { std::copy_n(only, count, out); }

    static Wide weights(const float *s, int64_t stride, int64_t count, Wide scale, Wide most, float *out, int64_t out_stride) {
        Wide sum = zero();
        for (int64_t key = 0; key < count; ++key) {
            const Wide a = exp2(_mm256_fmsub_ps(load(s + key * stride), scale, most));
            sum = plus(sum, a);
            store(out + key * out_stride, a);
        }
        return sum;
    }

    static void turn_back(const float *sum, int64_t stride, int64_t count, Wide inverse, float *const *out, int64_t d,
                          int64_t rows) {
        Wide r[8];
        for (int64_t i = 0; i < 8; ++i) r[i] = i < count ? times(load(sum + i * stride), inverse) : zero();
        turn8(r);
        for (int64_t i = 0; i < rows; ++i) _mm256_maskstore_ps(out[i] + d, mask(count), r[i]);
    }

  private:
    static __m256i mask(int64_t count) {
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count < 8 ? count : 8)), lanes);
    }

    static void turn8(Wide *r) {
        Wide t[8];
        for (int i = 0; i < 8; i += 2) {
            t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        }
        for (int i = 0; i < 8; i += 4) {
            r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
            r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
            r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
            r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
        }
        for (int i = 0; i < 4; ++i) {
            t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
            t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
        }
        for (int i = 0; i < 8; ++i) r[i] = t[i];
    }
};

}  // namespace

void attend_avx2(const sam2_attention &problem, int64_t first, int64_t last) {
    attend_by_vectors<Float32>(problem, first, last);
}

}  // namespace sam2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
