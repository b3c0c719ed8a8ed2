// Runs the attention kernel over many shapes, layouts and thread counts, and compares with double precision:
//     g++ -fsanitize=address,undefined -include amx_on_host.h attention_driver.cpp ../../csrc/cpu/*.cpp -lpthread
//
// Inputs end right before a page that may not be touched, which also catches what vector instructions read too much.
// Prints how many problems each kind solved; ends with a message at the first wrong one.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "../../csrc/include/attention.h"
#include "guarded_numbers.hpp"

namespace {

// Strides of [batch, heads, rows, width], with heads outside or inside of rows, rows further apart, or one for all.
struct Layout {
    sam2_rows rows;
    int64_t count;  // numbers that are there
};
Layout layout(int64_t batch, int64_t heads, int64_t count, int64_t width, bool may_repeat) {
    const int64_t apart = width + one_of({0, 0, 1, 6});
    sam2_rows rows{};
    switch (one_of({0, 1, 2})) {
        case 0: rows = {nullptr, heads * count * apart, count * apart, apart, 0}; break;
        case 1: rows = {nullptr, heads * count * apart, apart, heads * apart, 0}; break;
        default: rows = {nullptr, apart, batch * apart, batch * heads * apart, 0}; break;
    }
    if (may_repeat && dice() % 4 == 0) (dice() % 2 ? rows.batch : rows.head) = 0;
    if (may_repeat && dice() % 8 == 0) rows.row = 0;
    const bool is_empty = batch * heads * count * width == 0;
    const int64_t last = (batch - 1) * rows.batch + (heads - 1) * rows.head + (count - 1) * rows.row + width;
    return {rows, is_empty ? 0 : last};
}

void in_threads(void (*work)(void *), void *data, unsigned threads, unsigned) {
    std::vector<std::thread> others;
    for (unsigned i = 1; i < threads; ++i) others.emplace_back(work, data);
    work(data);
    for (std::thread &other : others) other.join();
}

template <class Number>
const Number *row_of(const sam2_rows &rows, int64_t batch, int64_t head, int64_t row) {
    return static_cast<const Number *>(rows.data) + batch * rows.batch + head * rows.head + row * rows.row;
}

template <class Number>
std::vector<double> expected_row(const sam2_attention &p, int64_t batch, int64_t head, int64_t query) {
    const int64_t keys = p.key_counts == nullptr ? p.key_count : p.key_counts[batch];
    std::vector<double> scores(static_cast<size_t>(keys)), sums(static_cast<size_t>(p.value_dim));
    double most = -INFINITY, total = 0;
    for (int64_t key = 0; key < keys; ++key) {
        double &score = scores[static_cast<size_t>(key)];
        for (int64_t d = 0; d < p.dim; ++d)
            score += double(widened(row_of<Number>(p.queries, batch, head, query)[d])) *
                     widened(row_of<Number>(p.keys, batch, head, key)[d]);
        most = std::max(most, score *= p.scale);
    }
    for (int64_t key = 0; key < keys; ++key) {
        const double weight = std::exp(scores[static_cast<size_t>(key)] - most);
        total += weight;
        for (int64_t d = 0; d < p.value_dim; ++d)
            sums[static_cast<size_t>(d)] += weight * widened(row_of<Number>(p.values, batch, head, key)[d]);
    }
    for (double &sum : sums) sum = total > 0 ? sum / total : 0;
    return sums;
}

template <class Number>
void compare(const sam2_attention &p, double tolerance) {
    for (int64_t batch = 0; batch < p.batch; ++batch)
        for (int64_t head = 0; head < p.heads; ++head)
            for (int64_t query = 0; query < p.query_count; ++query) {
                const std::vector<double> expected = expected_row<Number>(p, batch, head, query);
                for (int64_t d = 0; d < p.value_dim; ++d) {
                    const double got = widened(row_of<Number>(p.out, batch, head, query)[d]);
                    const double want = expected[static_cast<size_t>(d)];
                    if (std::fabs(got - want) <= tolerance * (1 + std::fabs(want))) continue;
                    std::printf("kind %d: %g, expected %g at [%d, %d, %d, %d] for %d keys of %d numbers\n",
                                int(p.instructions), got, want, int(batch), int(head), int(query), int(d),
                                int(p.key_count), int(p.dim));
                    std::exit(1);
                }
            }
}

// What lies between the rows of the result stays as it was.
template <class Number>
void expect_untouched(const sam2_attention &p, const Layout &out, const std::vector<Number> &before) {
    std::vector<char> is_written(before.size());
    for (int64_t i = 0; i < p.batch * p.heads * p.query_count; ++i) {
        const int64_t batch = i / (p.heads * p.query_count), head = i / p.query_count % p.heads, query = i % p.query_count;
        const int64_t at = batch * out.rows.batch + head * out.rows.head + query * out.rows.row;
        std::fill_n(is_written.begin() + at, p.value_dim, 1);
    }
    for (size_t i = 0; i < before.size(); ++i) {
        if (is_written[i] || std::memcmp(&before[i], static_cast<const Number *>(p.out.data) + i, sizeof(Number)) == 0) continue;
        std::printf("kind %d wrote beside a row\n", int(p.instructions));
        std::exit(1);
    }
}

template <class Number>
void solve_one(int32_t format, int32_t instructions, double tolerance) {
    sam2_attention p{};
    p.batch = one_of({0, 1, 1, 2, 3}), p.heads = one_of({1, 2}), p.format = format, p.instructions = instructions;
    p.query_count = one_of({0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 65});
    p.key_count = one_of({0, 1, 2, 16, 17, 31, 33, 64, 191, 193, 400});
    p.dim = one_of({2, 4, 6, 14, 16, 18, 30, 32, 34, 64, 100});
    p.value_dim = one_of({0, 1, 3, 8, 15, 16, 17, 20, 32, 33, 64});
    if (format == SAM2_FLOAT32 && dice() % 4 == 0) p.dim += 1;
    p.scale = 1 / std::sqrt(float(p.dim)), p.threads = int32_t(one_of({1, 3})), p.parallel = dice() % 2 ? in_threads : nullptr;
    const Layout q = layout(p.batch, p.heads, p.query_count, p.dim, true), k = layout(p.batch, p.heads, p.key_count, p.dim, true),
                 v = layout(p.batch, p.heads, p.key_count, p.value_dim, true),
                 o = layout(p.batch, p.heads, p.query_count, p.value_dim, false);
    const Numbers<Number> queries(q.count), keys(k.count), values(v.count), out(o.count);
    p.queries = q.rows, p.keys = k.rows, p.values = v.rows, p.out = o.rows;
    p.queries.data = queries.data, p.keys.data = keys.data, p.values.data = values.data, p.out.data = out.data;
    std::vector<int64_t> counts(static_cast<size_t>(p.batch));
    for (int64_t &count : counts) count = static_cast<int64_t>(dice() % static_cast<uint64_t>(p.key_count + 1));
    if (dice() % 3 == 0) p.key_counts = counts.data();
    const std::vector<Number> before(out.data, out.data + o.count);
    if (sam2_attention_cpu(&p) != SAM2_OK) std::printf("kind %d gave no result\n", int(instructions)), std::exit(1);
    compare<Number>(p, tolerance);
    expect_untouched(p, o, before);
}

// Images [height, width, heads, numbers], places further apart than their numbers are.
struct Grid {
    int64_t images, height, width, heads, numbers, apart;
    Grid(int64_t images, int64_t height, int64_t width, int64_t heads, int64_t numbers)
        : images(images), height(height), width(width), heads(heads), numbers(numbers), apart(heads * numbers + one_of({0, 1, 6})) {}
    int64_t at(int64_t image, int64_t y, int64_t x, int64_t head) const {
        return ((image * height + y) * width + x) * apart + head * numbers;
    }
    int64_t count() const { return images == 0 ? 0 : at(images - 1, height - 1, width - 1, heads - 1) + numbers; }
    sam2_rows rows(void *data) const { return {data, height * width * apart, numbers, apart, width * apart}; }
};

// The rows of one head in one window, one behind the other; `padding` stands for those beyond the grid, null for none.
template <class Number>
std::vector<Number> rows_of(const Grid &grid, const Number *data, int64_t image, int64_t top, int64_t left, int64_t side,
                            int64_t head, const Number *padding) {
    std::vector<Number> rows;
    for (int64_t y = top; y < top + side; ++y)
        for (int64_t x = left; x < left + side; ++x) {
            const bool is_inside = y < grid.height && x < grid.width;
            const Number *row = is_inside ? data + grid.at(image, y, x, head) : padding;
            if (row != nullptr) rows.insert(rows.end(), row, row + grid.numbers);
        }
    return rows;
}

template <class Number>
void solve_windows(int32_t format, int32_t instructions, double tolerance) {
    const bool halved = dice() % 2;
    const int64_t step = halved ? 2 : 1, side = step * one_of({1, 2, 3, 5, 7}), own_side = side / step;
    const int64_t images = one_of({0, 1, 2}), heads = one_of({1, 2}), dim = one_of({2, 6, 16, 34, 48}), width = one_of({1, 8, 20, 48});
    const int64_t lines = step * one_of({1, 3, 4, 9}), columns = step * one_of({1, 2, 7, 8});
    const Grid q(images, lines / step, columns / step, heads, dim), k(images, lines, columns, heads, dim),
        v(images, lines, columns, heads, width), o(images, lines / step, columns / step, heads, width);
    const Numbers<Number> queries(q.count()), keys(k.count()), values(v.count()), out(o.count()), key(heads * dim), value(heads * width);
    const bool pads = dice() % 4 != 0;
    sam2_attention p{};
    const int64_t down = (lines + side - 1) / side, across = (columns + side - 1) / side;
    p.batch = images * down * across, p.heads = heads, p.query_count = own_side * own_side, p.key_count = side * side;
    p.dim = dim, p.value_dim = width, p.scale = 1 / std::sqrt(float(dim)), p.format = format, p.instructions = instructions;
    p.threads = int32_t(one_of({1, 3})), p.parallel = dice() % 2 ? in_threads : nullptr;
    p.queries = q.rows(queries.data), p.keys = k.rows(keys.data), p.values = v.rows(values.data), p.out = o.rows(out.data);
    p.query_windows = {own_side, q.height, q.width}, p.key_windows = {side, lines, columns};
    if (pads) p.padding_key = key.data, p.padding_value = value.data;
    std::vector<Number> expected_out(out.data, out.data + o.count());
    if (sam2_attention_cpu(&p) != SAM2_OK) std::printf("kind %d gave no result\n", int(instructions)), std::exit(1);
    for (int64_t problem = 0; problem < p.batch * heads; ++problem) {
        const int64_t window = problem / heads, head = problem % heads, image = window / (down * across);
        const int64_t y = window / across % down, x = window % across;
        auto near_queries = rows_of<Number>(q, queries.data, image, y * own_side, x * own_side, own_side, head, nullptr);
        auto near_keys = rows_of(k, keys.data, image, y * side, x * side, side, head, pads ? key.data + head * dim : nullptr);
        auto near_values = rows_of(v, values.data, image, y * side, x * side, side, head, pads ? value.data + head * width : nullptr);
        auto near_out = rows_of<Number>(o, out.data, image, y * own_side, x * own_side, own_side, head, nullptr);
        sam2_attention one{};
        one.batch = one.heads = 1, one.dim = dim, one.value_dim = width, one.scale = p.scale, one.instructions = instructions;
        one.query_count = int64_t(near_queries.size()) / dim, one.key_count = int64_t(near_keys.size()) / dim;
        one.queries = {near_queries.data(), 0, 0, dim, 0}, one.keys = {near_keys.data(), 0, 0, dim, 0};
        one.values = {near_values.data(), 0, 0, width, 0}, one.out = {near_out.data(), 0, 0, width, 0};
        compare<Number>(one, tolerance);
    }
    for (int64_t i = 0; i < o.count(); ++i) {  // what lies between the places stays as it was
        if (i % o.apart < heads * width) continue;
        if (std::memcmp(&expected_out[size_t(i)], out.data + i, sizeof(Number)) != 0)
            std::printf("kind %d wrote beside a place\n", int(instructions)), std::exit(1);
    }
}

template <class Number>
void solve(int count, int32_t format, std::initializer_list<int32_t> kinds, double tolerance) {
    for (const int32_t instructions : kinds) {
        if (sam2_attention_instructions_cpu(format) < instructions) continue;
        for (int i = 0; i < count; ++i) {
            solve_one<Number>(format, instructions, tolerance);
            solve_windows<Number>(format, instructions, tolerance);
        }
        std::printf("kind %d: %d\n", int(instructions), count);
    }
}

}  // namespace

int main(int, char **arguments) {
    const int count = std::atoi(arguments[1]);
    solve<float>(count, SAM2_FLOAT32, {SAM2_AVX2, SAM2_AVX512}, 1e-5);
    solve<float>(count, SAM2_FLOAT32, {SAM2_AMX_SPLIT}, 1e-4);
    solve<uint16_t>(count, SAM2_BFLOAT16, {SAM2_AVX512_BF16, SAM2_AMX_BF16}, 0.02);
}
