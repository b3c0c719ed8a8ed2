// Attention over blocks of keys with a running softmax, for one set of vector instructions.
//
// Everything is turned around: S' = K Q' and O' = V' P', with queries side by side in vector registers. So keys and values are
// read as they lie, one number (or one pair of bfloat16) at a time for all queries of a block, and maxima and sums over keys
// are plain vector operations. What is turned are the queries, once, and the result, once.
//
// What differs between number formats and instructions is a class of functions, see attention_avx512.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "../include/attention.h"

namespace sam2 {
namespace {  // of each file its own: none may use what was compiled for another's instructions

constexpr float LOWEST = -1e30f;         // stands for minus infinity where differences are formed
constexpr float LOG2_E = 1.4426950408889634f;
constexpr int64_t CHUNK_BYTES = 400000;  // keys and values that stay in the second cache while all blocks of queries pass

struct Freed {
    void operator()(void *p) const { std::free(p); }
};

// Memory for `count` numbers, aligned for every vector.
template <class T>
std::unique_ptr<T[], Freed> aligned(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    void *p = std::aligned_alloc(64, std::max<size_t>(bytes, 64));
    if (p == nullptr) throw std::bad_alloc();
    return std::unique_ptr<T[], Freed>(static_cast<T *>(p));
}

// The rows of one problem and head: `row` apart, or those of a window, from left to right and from top to bottom.
template <class Number>
struct Rows {
    Number *start = nullptr;
    int64_t row = 0, count = 0;       // of rows, without those beyond a grid
    int64_t line = 0, across = 0;     // of a window: distance of its lines, and rows of one
    const Number *beyond = nullptr;   // what rows beyond the grid are

    Rows(const sam2_rows &rows, int64_t batch, int64_t head, int64_t count) : row(rows.row), count(count) {
        // Without any number there may be no address either, from which no other may be reckoned.
        if (rows.data != nullptr) start = static_cast<Number *>(rows.data) + batch * rows.batch + head * rows.head;
    }

    Rows(const sam2_rows &rows, const sam2_windows &windows, int64_t batch, int64_t head) : row(rows.row), line(rows.line) {
        const int64_t columns = (windows.width + windows.side - 1) / windows.side;
        const int64_t lines = (windows.height + windows.side - 1) / windows.side;
        const int64_t left = batch % columns * windows.side, top = batch / columns % lines * windows.side;
        across = std::min(windows.side, windows.width - left);
        count = across * std::min(windows.side, windows.height - top);
        start = static_cast<Number *>(rows.data) + batch / (columns * lines) * rows.batch + head * rows.head;
        start += top * line + left * row;
    }

    Number *at(int64_t index) const {
        if (across == 0) return start + index * row;
        const auto y = static_cast<uint32_t>(index) / static_cast<uint32_t>(across);  // half as long as with 64 bits
        return start + y * line + (index - y * across) * row;
    }

    const Number *or_beyond(int64_t index) const { return index < count ? at(index) : beyond; }
};

// The running softmax of blocks of queries of one head, two vectors wide; what multiplies is derived from it.
template <class V>
class Softmax {
  public:
    using Number = typename V::Number;  // of the inputs
    static constexpr int64_t LANES = V::LANES, BLOCK = 2 * LANES;
    static constexpr int64_t KEYS_AT_ONCE = V::KEYS_AT_ONCE;  // their scores stay in the first cache, or near it

    // As if no key had been seen.
    void start(int64_t b) {
        std::fill_n(highest.get() + b * BLOCK, BLOCK, LOWEST);
        std::fill_n(totals.get() + b * BLOCK, BLOCK, 0.f);
        std::fill_n(sum(b), value_rows * BLOCK, 0.f);
    }

    // Sums over totals, turned back, to where they belong.
    void write(const Rows<Number> &out, int64_t block, int64_t b) {
        const float *total = totals.get() + b * BLOCK;
        for (int64_t half = 0; half < BLOCK; half += LANES) {
            const Wide inverse = V::inverse(V::load(total + half));  // 0 where there was no key
            const int64_t first = block * BLOCK + half, rows = std::min(LANES, out.count - first);
            Number *to[LANES];
            for (int64_t i = 0; i < rows; ++i) to[i] = out.at(first + i);
            for (int64_t d = 0; d < p.value_dim && rows > 0; d += LANES)
                V::turn_back(sum(b) + d * BLOCK + half, BLOCK, std::min(LANES, p.value_dim - d), inverse, to, d, rows);
        }
    }

    // Keys that all blocks go through before the next ones; a multiple of KEYS_AT_ONCE.
    int64_t chunk() const {
        const int64_t bytes = (p.dim + p.value_dim) * static_cast<int64_t>(sizeof(Number));
        const int64_t all = (p.key_count + KEYS_AT_ONCE - 1) / KEYS_AT_ONCE;
        const int64_t fit = CHUNK_BYTES / std::max<int64_t>(1, bytes) / KEYS_AT_ONCE;
        return std::clamp<int64_t>(fit, 1, std::max<int64_t>(1, all)) * KEYS_AT_ONCE;
    }

  protected:
    using Word = typename V::Word;      // what is multiplied at a time: one float, or a pair of bfloat16
    using Wide = typename V::Wide;

    // `value_rows` and `weight_words`: numbers of a sum, and words of the weights, of one query.
    Softmax(const sam2_attention &problem, int64_t blocks, int64_t value_rows, int64_t weight_words)
        : p(problem),
          value_rows(value_rows),
          sums(aligned<float>(blocks * value_rows * BLOCK)),
          highest(aligned<float>(blocks * BLOCK)),
          totals(aligned<float>(blocks * BLOCK)),
          scores(aligned<float>(KEYS_AT_ONCE * BLOCK)),
          weights(aligned<Word>(weight_words * BLOCK)) {}

    float *sum(int64_t b) const { return sums.get() + b * value_rows * BLOCK; }

    // Scores to weights, with the highest score so far as reference; `shrink` is what earlier sums are to be multiplied with.
    void weigh(int64_t b, int64_t count, float *shrink) {
        const Wide scale = V::everywhere(p.scale * LOG2_E);
        for (int64_t half = 0; half < BLOCK; half += LANES) {
            const float *s = scores.get() + half;
            float *most = highest.get() + b * BLOCK + half, *total = totals.get() + b * BLOCK + half;
            Wide m = V::load(s), n = m;
            for (int64_t key = 1; key + 1 < count; key += 2) {
                m = V::max(m, V::load(s + key * BLOCK));
                n = V::max(n, V::load(s + (key + 1) * BLOCK));
            }
            m = V::max(m, V::load(s + (count - 1) * BLOCK));
            const Wide before = V::load(most), now = V::max(before, V::times(V::max(m, n), scale));
            const Wide sum = V::weights(s, BLOCK, count, scale, now, weights.get() + half, BLOCK);
            const Wide less = V::exp2(V::minus(before, now));
            V::store(total, V::fma(V::load(total), less, sum));
            V::store(most, now);
            V::store(shrink + half, less);
        }
    }

    const sam2_attention &p;
    const int64_t value_rows;
    std::unique_ptr<float[], Freed> sums, highest, totals, scores;
    std::unique_ptr<Word[], Freed> weights;
};

// Products by vector instructions: every number of a key, or of a value, with all queries of a block.
template <class V>
class Walk : public Softmax<V> {
    using Base = Softmax<V>;
    using typename Base::Number, typename Base::Word, typename Base::Wide;
    using Base::p, Base::scores, Base::sum, Base::weights, Base::weigh;
    static constexpr int64_t ROWS = V::ROWS, PAIR = sizeof(Word) / sizeof(Number);

  public:
    using Base::BLOCK, Base::KEYS_AT_ONCE, Base::LANES, Base::chunk;

    Walk(const sam2_attention &problem, int64_t blocks)
        : Base(problem, blocks, problem.value_dim, KEYS_AT_ONCE / PAIR),
          words((p.dim + PAIR - 1) / PAIR),
          queries(aligned<Word>(blocks * words * BLOCK)),
          near_keys(aligned<Number>(chunk() * p.dim)),
          near_values(aligned<Word>(chunk() / PAIR * p.value_dim)) {}

    // [BLOCK, dim] -> [words, BLOCK]; rows beyond the last repeat it.
    void turn_queries(const Rows<const Number> &q, int64_t block, int64_t b) {
        Word *out = queries.get() + b * words * BLOCK;
        for (int64_t half = 0; half < BLOCK; half += LANES) {
            const Number *rows[LANES];
            for (int64_t i = 0; i < LANES; ++i) rows[i] = q.at(std::min(block * BLOCK + half + i, q.count - 1));
            for (int64_t w = 0; w < words; w += LANES) {
                Word tile[LANES * LANES];
                const int64_t count = std::min(LANES, words - w);
                V::turn(rows, w * PAIR, count, tile);
                for (int64_t i = 0; i < count; ++i) std::copy_n(tile + i * LANES, LANES, out + (w + i) * BLOCK + half);
            }
        }
    }

    // Keys and values of a chunk close together: where they lie, they may be thousands of bytes apart and fight for the same
    // lines of the cache. Values of bfloat16 are paired by key on the way; an odd last key pairs with zeros.
    void fetch(const Rows<const Number> &k, const Rows<const Number> &v, int64_t from, int64_t until) {
        for (int64_t key = from; key < until; ++key)
            std::copy_n(k.or_beyond(key), p.dim, near_keys.get() + (key - from) * p.dim);
        for (int64_t key = from; key < until; key += PAIR)
            V::pair(v.or_beyond(key), key + 1 < until ? v.or_beyond(key + 1) : nullptr, p.value_dim,
                    near_values.get() + (key - from) / PAIR * p.value_dim);
    }

    // `count` keys, the first of which is the `key`th of the chunk.
    void attend(int64_t b, int64_t key, int64_t count) {
        const Number *k = near_keys.get() + key * p.dim;
        const Word *turned = queries.get() + b * words * BLOCK, *v = near_values.get() + key / PAIR * p.value_dim;
        int64_t row = 0;
        for (; row + ROWS <= count; row += ROWS) score<ROWS>(k + row * p.dim, turned, scores.get() + row * BLOCK);
        rest_of_scores(count - row, k + row * p.dim, turned, scores.get() + row * BLOCK);
        float shrink[BLOCK];
        weigh(b, count, shrink);
        const int64_t steps = (count + PAIR - 1) / PAIR;
        int64_t d = 0;
        for (; d + ROWS <= p.value_dim; d += ROWS) add<ROWS>(v + d, steps, shrink, sum(b) + d * BLOCK);
        rest_of_sums(p.value_dim - d, v + d, steps, shrink, sum(b) + d * BLOCK);
    }

  private:
    // Scores of R keys and all queries of a block.
    template <int R>
    void score(const Number *k, const Word *turned, float *out) const {
        Wide left[R], right[R];
        for (int r = 0; r < R; ++r) left[r] = right[r] = V::zero();
        const Number *rows[R];
        for (int r = 0; r < R; ++r) rows[r] = k + r * p.dim;
        for (int64_t w = 0; w < words; ++w) {
            const auto a = V::words(turned + w * BLOCK), c = V::words(turned + w * BLOCK + LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                const auto one = V::key(rows[r] + w * PAIR);
                left[r] = V::product(one, a, left[r]);
                right[r] = V::product(one, c, right[r]);
            }
        }
        for (int r = 0; r < R; ++r) V::store(out + r * BLOCK, left[r]), V::store(out + r * BLOCK + LANES, right[r]);
    }

    void rest_of_scores(int64_t rows, const Number *k, const Word *turned, float *out) const {
        switch (rows) {
            case 1: return score<1>(k, turned, out);
            case 2: return score<2>(k, turned, out);
            case 3: return score<3>(k, turned, out);
            case 4: return score<4>(k, turned, out);
            case 5: return score<5>(k, turned, out);
            case 6: return score<6>(k, turned, out);
            case 7: return score<7>(k, turned, out);
            default: return;
        }
    }

    // R numbers of the sums of all queries of a block: shrunk, then the weighted values of `steps` keys added.
    template <int R>
    void add(const Word *values, int64_t steps, const float *shrink, float *sum) const {
        Wide left[R], right[R];
        const Wide less_left = V::load(shrink), less_right = V::load(shrink + LANES);
        for (int r = 0; r < R; ++r) {
            left[r] = V::times(V::load(sum + r * BLOCK), less_left);
            right[r] = V::times(V::load(sum + r * BLOCK + LANES), less_right);
        }
        const Word *weight = weights.get();
        for (int64_t step = 0; step < steps; ++step, weight += BLOCK, values += p.value_dim) {
            const auto a = V::words(weight), c = V::words(weight + LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                const auto one = V::everywhere(values + r);
                left[r] = V::product(one, a, left[r]);
                right[r] = V::product(one, c, right[r]);
            }
        }
        for (int r = 0; r < R; ++r) V::store(sum + r * BLOCK, left[r]), V::store(sum + r * BLOCK + LANES, right[r]);
    }

    void rest_of_sums(int64_t rows, const Word *values, int64_t steps, const float *shrink, float *sum) const {
        switch (rows) {
            case 1: return add<1>(values, steps, shrink, sum);
            case 2: return add<2>(values, steps, shrink, sum);
            case 3: return add<3>(values, steps, shrink, sum);
            case 4: return add<4>(values, steps, shrink, sum);
            case 5: return add<5>(values, steps, shrink, sum);
            case 6: return add<6>(values, steps, shrink, sum);
            case 7: return add<7>(values, steps, shrink, sum);
            default: return;
        }
    }

    const int64_t words;
    std::unique_ptr<Word[], Freed> queries;
    std::unique_ptr<Number[], Freed> near_keys;
    std::unique_ptr<Word[], Freed> near_values;
};

// Where one problem and head lies.
template <class Number>
struct Head {
    Rows<const Number> queries, keys, values;
    Rows<Number> out;
    int64_t key_count;

    static Head of(const sam2_attention &p, int64_t batch, int64_t head) {
        if (p.key_windows.side > 0) return in_window(p, batch, head);
        const int64_t keys = p.key_counts == nullptr ? p.key_count : std::min(p.key_counts[batch], p.key_count);
        return {{p.queries, batch, head, p.query_count}, {p.keys, batch, head, keys}, {p.values, batch, head, keys},
                {p.out, batch, head, p.query_count}, keys};
    }

  private:
    static Head in_window(const sam2_attention &p, int64_t batch, int64_t head) {
        Head h{{p.queries, p.query_windows, batch, head}, {p.keys, p.key_windows, batch, head},
               {p.values, p.key_windows, batch, head}, {p.out, p.query_windows, batch, head}, p.key_count};
        if (p.padding_key == nullptr) {
            h.key_count = h.keys.count;
        } else {
            h.keys.beyond = static_cast<const Number *>(p.padding_key) + head * p.dim;
            h.values.beyond = static_cast<const Number *>(p.padding_value) + head * p.value_dim;
        }
        return h;
    }
};

// Some blocks of one head: every chunk of keys is fetched once for all of them.
template <class Number, class AnyWalk>
void attend_head(AnyWalk &walk, const Head<Number> &head, int64_t first_block, int64_t blocks) {
    const int64_t all_blocks = (head.queries.count + AnyWalk::BLOCK - 1) / AnyWalk::BLOCK;
    blocks = std::min(blocks, all_blocks - first_block);
    if (blocks <= 0) return;  // all of them are beyond the grid
    for (int64_t b = 0; b < blocks; ++b) {
        walk.turn_queries(head.queries, first_block + b, b);
        walk.start(b);
    }
    const int64_t chunk = walk.chunk();
    for (int64_t from = 0; from < head.key_count; from += chunk) {
        const int64_t until = std::min(head.key_count, from + chunk);
        walk.fetch(head.keys, head.values, from, until);
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t key = from; key < until; key += AnyWalk::KEYS_AT_ONCE)
                walk.attend(b, key - from, std::min(AnyWalk::KEYS_AT_ONCE, until - key));
    }
    for (int64_t b = 0; b < blocks; ++b) walk.write(head.out, first_block + b, b);
}

// Blocks `first` to `last` of all batches and heads, in this thread.
template <class AnyWalk, class Number>
void attend_blocks(const sam2_attention &problem, int64_t first, int64_t last) {
    const int64_t a_head = (problem.query_count + AnyWalk::BLOCK - 1) / AnyWalk::BLOCK;
    AnyWalk walk(problem, std::min(a_head, last - first));
    while (first < last) {
        const int64_t head = first / a_head, block = first % a_head, count = std::min(a_head - block, last - first);
        attend_head(walk, Head<Number>::of(problem, head / problem.heads, head % problem.heads), block, count);
        first += count;
    }
}

template <class V>
void attend_by_vectors(const sam2_attention &problem, int64_t first, int64_t last) {
    attend_blocks<Walk<V>, typename V::Number>(problem, first, last);
}

}  // namespace
}  // namespace sam2
