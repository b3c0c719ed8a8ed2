// Attention by AMX: tiles of 16 rows of 64 bytes, whose products are 16 x 16 float32 from 32 pairs of bfloat16 each.
//
// As in attention.hpp, S' = K Q' and O' = V' P'. A product takes its left side row by row and its right side in words of two
// rows: so keys are tiles as they lie, values are turned once a chunk, queries are turned into words as for the vector
// instructions, and weights are words as they are made. Two by two tiles are summed up at a time: 32 keys, or 32 numbers of the
// values, and the 32 queries of a block.
//
// float32 is multiplied as the sum of two bfloat16, high and low: three products, without the one of both low parts.
#include "attention_kinds.hpp"

#if defined(SAM2_X86_TILES)
#include <immintrin.h>
// Standard headers first: what is compiled below uses instructions that not every processor has.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,amx-tile,amx-bf16")
#endif

#include "attention.hpp"
#include "attention_avx512.hpp"

namespace sam2 {
namespace {

constexpr int64_t SIDE = 16;          // rows of a tile, words of a row
constexpr int64_t TILE = SIDE * SIDE;  // words
constexpr int64_t DEPTH = 2 * SIDE;   // bfloat16 of a row

constexpr int64_t padded(int64_t count) { return (count + DEPTH - 1) / DEPTH * DEPTH; }

// What was stored before this is in memory, where tiles are loaded from: GCC does not know that they read it.
inline void everything_is_stored() { __asm__ volatile("" ::: "memory"); }

// Eight whole tiles for this thread, while it lives.
class Tiles {
  public:
    Tiles() {
        struct alignas(64) {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        static_assert(sizeof shape == 64, "as the instruction reads it");
        std::fill_n(shape.row_bytes, 8, uint16_t{64});
        std::fill_n(shape.rows, 8, uint8_t{SIDE});
        // GCC takes the instruction for one that reads only some of this.
        __asm__ volatile("" : : "r"(&shape) : "memory");
        _tile_loadconfig(&shape);
    }
    ~Tiles() { _tile_release(); }
    Tiles(const Tiles &) = delete;
    Tiles &operator=(const Tiles &) = delete;
};

// What the two number formats share.
struct Tiled : Avx512 {
    static constexpr int64_t KEYS_AT_ONCE = 192;
    using Word = uint32_t;

    // (even, odd) of two sets of 16 float32, rounded to bfloat16, the even one in the lower half of each word.
    static __m512i words_of(Wide even, Wide odd) {
        const __m512i low_then_high = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                                       23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        return _mm512_permutexvar_epi16(low_then_high, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
    }
    static Wide even_of(__m512i words) { return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16)); }
    static Wide odd_of(__m512i words) {
        return _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
    }

    // 2^(scale * s - most) of `count` keys, given two by two to `put`; returns their sum.
    template <class Put>
    static Wide weights_of(const float *s, int64_t stride, int64_t count, Wide scale, Wide most, Put put) {
        Wide even = zero(), odd = zero();
        for (int64_t key = 0; key < count; key += 2) {
            const Wide a = exp2(_mm512_fmsub_ps(load(s + key * stride), scale, most));
            const Wide c = key + 1 < count ? exp2(_mm512_fmsub_ps(load(s + (key + 1) * stride), scale, most)) : zero();
            even = plus(even, a), odd = plus(odd, c);
            put(key / 2, a, c);
        }
        return plus(even, odd);
    }
};

struct Bfloat16 : Tiled {
    using Number = uint16_t;
    static constexpr int PARTS = 1, PRODUCTS = 1;

    // Up to 32 numbers, and zeros up to 32, as bfloat16.
    static void fetch(const uint16_t *p, int64_t count, __m512i *parts) {
        parts[0] = _mm512_maskz_loadu_epi16(count >= 32 ? 0xffffffff : static_cast<__mmask32>((1u << count) - 1), p);
    }

    static Wide weights(const float *s, int64_t stride, int64_t count, Wide scale, Wide most, uint32_t *out, int64_t out_stride) {
        return weights_of(s, stride, count, scale, most, [=](int64_t pair, Wide a, Wide c) {
            _mm512_storeu_si512(out + pair * out_stride, words_of(a, c));
        });
    }

    static void turn_back(const float *sum, int64_t stride, int64_t count, Wide inverse, uint16_t *const *out, int64_t d,
                          int64_t rows) {
        Wide r[16];
        turn_sums(sum, stride, count, inverse, r);
        for (int64_t i = 0; i < rows; ++i)
            _mm256_mask_storeu_epi16(out[i] + d, mask(count), (__m256i)_mm512_cvtneps_pbh(r[i]));
    }
};

struct Split : Tiled {
    using Number = float;
    static constexpr int PARTS = 2, PRODUCTS = 3;

    static void fetch(const float *p, int64_t count, __m512i *parts) {
        const Wide low = _mm512_maskz_loadu_ps(mask(count), p);
        const Wide high = _mm512_maskz_loadu_ps(mask(std::max<int64_t>(0, count - 16)), p + 16);
        parts[0] = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        const Wide rest_of_low = minus(low, widened(_mm512_castsi512_si256(parts[0])));
        const Wide rest_of_high = minus(high, widened(_mm512_extracti64x4_epi64(parts[0], 1)));
        parts[1] = (__m512i)_mm512_cvtne2ps_pbh(rest_of_high, rest_of_low);
    }

    static Wide weights(const float *s, int64_t stride, int64_t count, Wide scale, Wide most, uint32_t *out, int64_t out_stride) {
        return weights_of(s, stride, count, scale, most, [=](int64_t pair, Wide a, Wide c) {
            const __m512i words = words_of(a, c), rest = words_of(minus(a, even_of(words)), minus(c, odd_of(words)));
            _mm512_storeu_si512(out + pair * out_stride, words);
            _mm512_storeu_si512(out + (KEYS_AT_ONCE / 2 + pair) * out_stride, rest);
        });
    }

    static void turn_back(const float *sum, int64_t stride, int64_t count, Wide inverse, float *const *out, int64_t d,
                          int64_t rows) {
        Wide r[16];
        turn_sums(sum, stride, count, inverse, r);
        for (int64_t i = 0; i < rows; ++i) _mm512_mask_storeu_ps(out[i] + d, mask(count), r[i]);
    }

  private:
    static Wide widened(__m256i numbers) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16)); }
};

// Products by tiles. Sizes are padded with zeros to whole pairs of tiles.
template <class V>
class TileWalk : public Softmax<V> {
    using Base = Softmax<V>;
    using typename Base::Number, typename Base::Wide;
    using Base::p, Base::scores, Base::sum, Base::value_rows, Base::weights, Base::weigh;

  public:
    using Base::BLOCK, Base::KEYS_AT_ONCE, Base::LANES, Base::chunk;

    TileWalk(const sam2_attention &problem, int64_t blocks)
        : Base(problem, blocks, padded(problem.value_dim), V::PARTS * KEYS_AT_ONCE / 2),
          steps(padded(p.dim) / DEPTH),
          keys_of_part(chunk() * steps * SIDE),
          values_of_part(chunk() / 2 * value_rows),
          queries(aligned<uint32_t>(blocks * queries_of_block())),
          near_keys(aligned<uint32_t>(V::PARTS * keys_of_part)),
          near_values(aligned<uint32_t>(V::PARTS * values_of_part)) {}

    // [BLOCK, dim] -> [parts, words, BLOCK]; rows beyond the last repeat it.
    void turn_queries(const Rows<const Number> &q, int64_t block, int64_t b) {
        uint32_t *out = queries.get() + b * queries_of_block();
        for (int64_t half = 0; half < BLOCK; half += LANES)
            for (int64_t step = 0; step < steps; ++step) {
                __m512i rows[SIDE][V::PARTS];
                for (int64_t i = 0; i < SIDE; ++i) {
                    const Number *row = q.at(std::min(block * BLOCK + half + i, q.count - 1));
                    V::fetch(row + step * DEPTH, p.dim - step * DEPTH, rows[i]);
                }
                for (int part = 0; part < V::PARTS; ++part)
                    turn_tile(rows, part, out + ((part * steps + step) * SIDE) * BLOCK + half, BLOCK);
            }
    }

    // Keys and values of a chunk as tiles, one behind the other; keys beyond the last, up to whole pairs of tiles, are zeros.
    void fetch(const Rows<const Number> &k, const Rows<const Number> &v, int64_t from, int64_t until) {
        const int64_t end = from + padded(until - from);
        for (int64_t key = from; key < end; ++key) {
            for (int64_t step = 0; step < steps; ++step) {
                __m512i parts[V::PARTS] = {};
                if (key < until) V::fetch(k.or_beyond(key) + step * DEPTH, p.dim - step * DEPTH, parts);
                uint32_t *out = key_tiles(0, key - from) + step * TILE + (key - from) % SIDE * SIDE;
                for (int part = 0; part < V::PARTS; ++part) _mm512_store_si512(out + part * keys_of_part, parts[part]);
            }
        }
        for (int64_t key = from; key < end; key += DEPTH)
            for (int64_t d = 0; d < value_rows; d += DEPTH) turn_values(v, key, until, d, key - from);
    }

    // `count` keys, the first of which is the `key`th of the chunk.
    void attend(int64_t b, int64_t key, int64_t count) {
        const uint32_t *turned = queries.get() + b * queries_of_block();
        everything_is_stored();
        for (int64_t row = 0; row < count; row += DEPTH) score(key + row, turned, scores.get() + row * BLOCK);
        float less[BLOCK];
        weigh(b, count, less);
        const int64_t some = (count + 1) / 2, all = padded(count) / 2;
        for (int part = 0; part < V::PARTS; ++part)
            std::fill_n(weights.get() + (part * KEYS_AT_ONCE / 2 + some) * BLOCK, (all - some) * BLOCK, 0);
        shrink(sum(b), less);
        everything_is_stored();
        for (int64_t d = 0; d < value_rows; d += DEPTH) add(d, key, padded(count), sum(b) + d * BLOCK);
    }

  private:
    int64_t queries_of_block() const { return V::PARTS * steps * SIDE * BLOCK; }

    // The tiles of 16 keys: one for each 32 numbers.
    uint32_t *key_tiles(int part, int64_t key) const { return near_keys.get() + part * keys_of_part + key / SIDE * steps * TILE; }

    // The tiles of 16 numbers of the values: one for each 32 keys.
    uint32_t *value_tiles(int part, int64_t d, int64_t key) const {
        return near_values.get() + part * values_of_part + (d / SIDE * (chunk() / DEPTH) + key / DEPTH) * TILE;
    }

    // One part of 16 rows of 16 words, turned.
    static void turn_tile(const __m512i (&rows)[SIDE][V::PARTS], int part, uint32_t *out, int64_t stride) {
        Wide r[SIDE];
        for (int64_t i = 0; i < SIDE; ++i) r[i] = _mm512_castsi512_ps(rows[i][part]);
        V::turn16(r);
        for (int64_t i = 0; i < SIDE; ++i) _mm512_store_si512(out + i * stride, _mm512_castps_si512(r[i]));
    }

    // 32 numbers of the values of 32 keys -> two tiles with a row for each number. Pairs of keys become words on the way.
    void turn_values(const Rows<const Number> &v, int64_t key, int64_t until, int64_t d, int64_t near) {
        const __m512i lower = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,  //
                                               39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
        const __m512i upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
        __m512i first[SIDE][V::PARTS], second[SIDE][V::PARTS];
        for (int64_t i = 0; i < SIDE; ++i) {
            __m512i even[V::PARTS] = {}, odd[V::PARTS] = {};
            const int64_t pair = key + 2 * i;
            if (pair < until) V::fetch(v.or_beyond(pair) + d, p.value_dim - d, even);
            if (pair + 1 < until) V::fetch(v.or_beyond(pair + 1) + d, p.value_dim - d, odd);
            for (int part = 0; part < V::PARTS; ++part) {
                first[i][part] = _mm512_permutex2var_epi16(even[part], lower, odd[part]);
                second[i][part] = _mm512_permutex2var_epi16(even[part], upper, odd[part]);
            }
        }
        for (int part = 0; part < V::PARTS; ++part) {
            turn_tile(first, part, value_tiles(part, d, near), SIDE);
            turn_tile(second, part, value_tiles(part, d + SIDE, near), SIDE);
        }
    }

    // The sums that earlier keys left, on the new reference.
    void shrink(float *sums, const float *less) const {
        const Wide left = V::load(less), right = V::load(less + LANES), one = V::everywhere(1.f);
        if (_mm512_cmpeq_epi32_mask(_mm512_castps_si512(left), _mm512_castps_si512(one)) == 0xffff &&
            _mm512_cmpeq_epi32_mask(_mm512_castps_si512(right), _mm512_castps_si512(one)) == 0xffff)
            return;
        for (int64_t d = 0; d < value_rows; ++d, sums += BLOCK) {
            V::store(sums, V::times(V::load(sums), left));
            V::store(sums + LANES, V::times(V::load(sums + LANES), right));
        }
    }

    // Tiles 0 to 3 are sums, 4 and 5 the left side, 6 and 7 the right.
    static void multiply(const uint32_t *upper, const uint32_t *lower, const uint32_t *right) {
        _tile_loadd(4, upper, SIDE * 4);
        _tile_loadd(5, lower, SIDE * 4);
        _tile_loadd(6, right, BLOCK * 4);
        _tile_loadd(7, right + LANES, BLOCK * 4);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }

    static void store(float *out) {
        _tile_stored(0, out, BLOCK * 4);
        _tile_stored(1, out + LANES, BLOCK * 4);
        _tile_stored(2, out + SIDE * BLOCK, BLOCK * 4);
        _tile_stored(3, out + SIDE * BLOCK + LANES, BLOCK * 4);
    }

    // Parts of the left and the right side of a product: high and high, high and low, low and high.
    static int left_part(int product) { return product == 2 ? 1 : 0; }
    static int right_part(int product) { return product == 1 ? 1 : 0; }

    // Scores of 32 keys and all queries of a block.
    void score(int64_t key, const uint32_t *turned, float *out) const {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int product = 0; product < V::PRODUCTS; ++product) {
            const uint32_t *k = key_tiles(left_part(product), key), *q = turned + right_part(product) * steps * SIDE * BLOCK;
            for (int64_t step = 0; step < steps; ++step)
                multiply(k + step * TILE, k + (steps + step) * TILE, q + step * SIDE * BLOCK);
        }
        store(out);
    }

    // To 32 numbers of the sums of all queries of a block, the weighted values of `count` keys.
    void add(int64_t d, int64_t key, int64_t count, float *sums) const {
        _tile_loadd(0, sums, BLOCK * 4);
        _tile_loadd(1, sums + LANES, BLOCK * 4);
        _tile_loadd(2, sums + SIDE * BLOCK, BLOCK * 4);
        _tile_loadd(3, sums + SIDE * BLOCK + LANES, BLOCK * 4);
        for (int product = 0; product < V::PRODUCTS; ++product) {
            const uint32_t *upper = value_tiles(left_part(product), d, key);
            const uint32_t *lower = value_tiles(left_part(product), d + SIDE, key);
            const uint32_t *weight = weights.get() + right_part(product) * KEYS_AT_ONCE / 2 * BLOCK;
            for (int64_t step = 0; step < count / DEPTH; ++step)
                multiply(upper + step * TILE, lower + step * TILE, weight + step * SIDE * BLOCK);
        }
        store(sums);
    }

    const int64_t steps;  // tiles side by side that hold all numbers of a key
    const int64_t keys_of_part, values_of_part;  // words
    std::unique_ptr<uint32_t[], Freed> queries, near_keys, near_values;
};

}  // namespace

void attend_amx_bf16(const sam2_attention &problem, int64_t first, int64_t last) {
    const Tiles tiles;
    attend_blocks<TileWalk<Bfloat16>, uint16_t>(problem, first, last);
}

void attend_amx_split(const sam2_attention &problem, int64_t first, int64_t last) {
    const Tiles tiles;
    attend_blocks<TileWalk<Split>, float>(problem, first, last);
}

}  // namespace sam2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
