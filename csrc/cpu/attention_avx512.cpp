#include "attention_kinds.hpp"

#if defined(SAM2_X86_VECTORS)
#include <immintrin.h>
// Standard headers first: what is compiled below uses instructions that not every processor has.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#endif

#include "attention.hpp"
#include "attention_avx512.hpp"

namespace sam2 {
namespace {

struct Float32 : Avx512 {
    using Number = float;
    using Word = float;

    static Wide words(const float *p) { return _mm512_load_ps(p); }
    static Wide key(const float *p) { return everywhere(p); }
    using Avx512::everywhere;
    static Wide everywhere(const float *p) { return _mm512_set1_ps(*p); }
    static Wide product(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a, b, c); }

    static void turn(const float *const *rows, int64_t from, int64_t count, float *tile) {
        Wide r[16];
        const __mmask16 some = mask(count);
        for (int i = 0; i < 16; ++i) r[i] = _mm512_maskz_loadu_ps(some, rows[i] + from);
        turn16(r);
        for (int i = 0; i < 16; ++i) _mm512_storeu_ps(tile + i * 16, r[i]);
    }

    static void pair(const float *only, const float *, int64_t count, float *out) { std::copy_n(only, count, out); }

    static Wide weights(const float *s, int64_t stride, int64_t count, Wide scale, Wide most, float *out, int64_t out_stride) {
        Wide even = zero(), odd = zero();
        int64_t key = 0;
        for (; key + 1 < count; key += 2) {
            const Wide a = exp2(_mm512_fmsub_ps(load(s + key * stride), scale, most));
            const Wide c = exp2(_mm512_fmsub_ps(load(s + (key + 1) * stride), scale, most));
            even = plus(even, a), odd = plus(odd, c);
            store(out + key * out_stride, a), store(out + (key + 1) * out_stride, c);
        }
        for (; key < count; ++key) {
            const Wide a = exp2(_mm512_fmsub_ps(load(s + key * stride), scale, most));
            even = plus(even, a);
            store(out + key * out_stride, a);
        }
        return plus(even, odd);
    }

    static void turn_back(const float *sum, int64_t stride, int64_t count, Wide inverse, float *const *out, int64_t d,
                          int64_t rows) {
        Wide r[16];
        turn_sums(sum, stride, count, inverse, r);
        for (int64_t i = 0; i < rows; ++i) _mm512_mask_storeu_ps(out[i] + d, mask(count), r[i]);
    }
};

}  // namespace

void attend_avx512(const sam2_attention &problem, int64_t first, int64_t last) {
    attend_by_vectors<Float32>(problem, first, last);
}

}  // namespace sam2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
