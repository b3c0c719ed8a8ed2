// Runs sums with norms, maxima of neighbours, mixing to masks and rounding to 8 bits over many shapes, with all instructions that the processor
// has, and compares with double precision:
//     g++ -fsanitize=address,undefined tokens_driver.cpp ../../csrc/cpu/tokens*.cpp ../../csrc/cpu/quantise.cpp -lpthread
//
// Inputs and outputs end right before a page that may not be touched. Ends with a message at the first wrong number.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../csrc/cpu/tokens_kinds.hpp"
#include "../../csrc/include/quantise.h"
#include "guarded_numbers.hpp"

namespace {

void check(const char *what, double found, double wanted, double tolerance) {
    if (std::abs(found - wanted) <= tolerance * (1 + std::abs(wanted))) return;
    std::printf("%s: %g instead of %g\n", what, found, wanted);
    std::exit(1);
}

template <class Number>
struct Format;
template <>
struct Format<float> {
    static constexpr int32_t name = SAM2_FLOAT32;
    static constexpr double tolerance = 1e-5;
};
template <>
struct Format<uint16_t> {
    static constexpr int32_t name = SAM2_BFLOAT16;
    static constexpr double tolerance = 1e-2;
};

template <class Number>
void add_norm(int64_t rows, int64_t channels, bool adds) {
    Numbers<Number> a(rows * channels), b(rows * channels), sum(rows * channels), normed(rows * channels);
    Numbers<float> weight(channels), bias(channels);
    sam2_add_norm p{a.data,      adds ? b.data : nullptr, sum.data, normed.data, weight.data, bias.data, rows, channels, 1e-6f,
                    Format<Number>::name, 3, nullptr};
    const auto look = [&] {
        for (int64_t row = 0; row < rows; ++row) {
            std::vector<double> x;
            for (int64_t i = row * channels; i < (row + 1) * channels; ++i) {
                x.push_back(adds ? widened(sum.data[i]) : widened(a.data[i]));
                if (adds) check("sum", x.back(), double{widened(a.data[i])} + widened(b.data[i]), Format<Number>::tolerance);
            }
            double mean = 0, variance = 0;
            for (double value : x) mean += value / double(channels);
            for (double value : x) variance += (value - mean) * (value - mean) / double(channels);
            for (int64_t c = 0; c < channels; ++c)
                check("norm", widened(normed.data[row * channels + c]),
                      (x[size_t(c)] - mean) / std::sqrt(variance + p.eps) * weight.data[c] + bias.data[c],
                      Format<Number>::tolerance * 10);
        }
    };
    if (sam2_add_norm_cpu(&p) != SAM2_OK) std::exit(2);
    look();
    std::vector<float> near(size_t(channels + 15) * sam2::ROWS_AT_ONCE);
    sam2::add_norm_avx2(p, 0, rows, near.data());
    look();
}

template <class Number>
void halve(int64_t batch, int64_t height, int64_t width, int64_t channels) {
    const int64_t row = channels + one_of({0, 3}), line = width * row + one_of({0, 5}), image = height * line;
    Numbers<Number> in(batch * height * width * channels == 0 ? 0 : (batch - 1) * image + (height - 1) * line + (width - 1) * row + channels);
    Numbers<Number> out(batch * (height / 2) * (width / 2) * channels);
    sam2_halve p{in.data, out.data, batch, height, width, channels, image, line, row, Format<Number>::name, 3, nullptr};
    const auto look = [&] {
        const Number *found = out.data;
        for (int64_t n = 0; n < batch; ++n)
            for (int64_t y = 0; y + 1 < height; y += 2)
                for (int64_t x = 0; x + 1 < width; x += 2)
                    for (int64_t c = 0; c < channels; ++c, ++found) {
                        const Number *at = in.data + n * image + y * line + x * row + c;
                        const double most = std::max({widened(at[0]), widened(at[row]), widened(at[line]), widened(at[line + row])});
                        check("maximum", widened(*found), most, 0);
                    }
    };
    if (sam2_halve_cpu(&p) != SAM2_OK) std::exit(2);
    look();
    if (out.data == nullptr) return;
    sam2::halve_avx2(p, 0, batch * (height / 2));
    look();
}

template <class Number>
void mix(int64_t batch, int64_t height, int64_t width, int64_t channels) {
    const int64_t image = height * width * 16 * channels, shared = one_of({0, 1});
    Numbers<Number> cells(batch * image), skip(shared ? image : batch * image);
    Numbers<float> mixers(batch * 4 * channels), out(batch * 4 * height * width * 16);
    sam2_mix p{cells.data, skip.data, mixers.data, out.data, batch, height, width, channels, shared ? 0 : image,
               Format<Number>::name, 3, nullptr};
    const auto look = [&] {
        for (int64_t n = 0; n < batch; ++n)
            for (int64_t mask = 0; mask < 4; ++mask)
                for (int64_t row = 0; row < 4 * height; ++row)
                    for (int64_t column = 0; column < 4 * width; ++column) {
                        const int64_t part = row / 2 % 2 * 8 + column / 2 % 2 * 4 + row % 2 * 2 + column % 2;
                        const int64_t at = ((row / 4 * width + column / 4) * 16 + part) * channels;
                        double wanted = 0, size = 0;
                        for (int64_t c = 0; c < channels; ++c) {
                            const double x = double{widened(cells.data[n * image + at + c])} +
                                             widened(skip.data[(shared ? 0 : n * image) + at + c]);
                            const double term = x * 0.5 * std::erfc(-x / std::sqrt(2.)) * mixers.data[(n * 4 + mask) * channels + c];
                            wanted += term, size += std::abs(term);
                        }
                        check("mask", out.data[((n * 4 + mask) * 4 * height + row) * 4 * width + column], wanted, 1e-5 * (1 + size));
                    }
    };
    if (sam2_mix_cpu(&p) != SAM2_OK) std::exit(2);
    look();
    if (out.data == nullptr) return;
    sam2::mix_avx2(p, 0, batch * height);
    look();
}

void quantise(int64_t count) {
    Numbers<uint16_t> numbers(count);
    Numbers<uint16_t> room((count + 1) / 2);
    auto *out = reinterpret_cast<uint8_t *>(room.data) + count % 2;
    float step = 0;
    if (sam2_quantise_cpu(numbers.data, count, 3, nullptr, out, &step) != SAM2_OK) std::exit(2);
    for (int64_t i = 0; i < count; ++i) check("8 bits", step * (int(out[i]) - 128), widened(numbers.data[i]), 0.51 * step + 1e-6);
}

}  // namespace

int main(int, char **arguments) {
    const int times = std::atoi(arguments[1]);
    for (int i = 0; i < times; ++i) {
        const int64_t rows = one_of({0, 1, 2, 3, 17, 64}), channels = one_of({1, 5, 8, 15, 16, 17, 96, 100, 257});
        add_norm<float>(rows, channels, i % 2 == 0);
        add_norm<uint16_t>(rows, channels, i % 2 == 0);
        halve<float>(one_of({0, 1, 2}), one_of({1, 2, 7, 8}), one_of({1, 2, 5, 14}), channels);
        halve<uint16_t>(one_of({0, 1, 2}), one_of({1, 2, 7, 8}), one_of({1, 2, 5, 14}), channels);
        mix<float>(one_of({0, 1, 2}), one_of({0, 1, 3}), one_of({0, 1, 2}), channels);
        mix<uint16_t>(one_of({0, 1, 2}), one_of({0, 1, 3}), one_of({0, 1, 2}), channels);
        quantise(one_of({0, 1, 7, 63, 1000, 70000}));
    }
    std::printf("%d times\n", times);
    return 0;
}
