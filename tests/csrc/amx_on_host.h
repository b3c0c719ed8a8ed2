// Enough of AMX to run csrc/cpu/attention_amx.cpp where there is none:
//     g++ -shared -fPIC -std=c++17 -include amx_on_host.h csrc/cpu/*.cpp
//
// Every thread has eight tiles in plain memory. A product follows Intel's description of TDPBF16PS: the even and the odd numbers
// of a row are summed apart, from zero, by fused float32 products; both sums are added, then added to the tile; what is below the
// smallest normal float32 counts as zero, on the way in and out. A tile that is used without being configured ends the program,
// and so does a thread that ends with tiles in use.
//
// The environment variable AMX_ON_HOST_IS_WRONG makes a processor whose products leave out the last word of every row.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define SAM2_AMX_ON_HOST 1

namespace amx_on_host {

constexpr int ROWS = 16, WORDS = 16;

struct Shape {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
static_assert(sizeof(Shape) == 64, "as the instruction reads it");

[[noreturn]] inline void fail(const char *what) {
    std::fprintf(stderr, "AMX on the host: %s\n", what);
    std::abort();
}

struct State {
    bool is_configured = false;
    float tiles[8][ROWS][WORDS];
    ~State() {
        if (is_configured) fail("a thread ended without _tile_release()");
    }
};
inline thread_local State state;
inline const int is_wrong = std::getenv("AMX_ON_HOST_IS_WRONG") != nullptr ? 1 : 0;

inline float (&tile(int index))[ROWS][WORDS] {
    if (!state.is_configured) fail("a tile was used before _tile_loadconfig(...)");
    return state.tiles[index];
}

inline void load_shape(const void *from) {
    Shape shape;
    std::memcpy(&shape, from, sizeof shape);
    if (shape.palette != 1 || shape.start_row != 0) fail("not palette 1 from row 0 on");
    for (int i = 0; i < 16; ++i) {
        const bool is_used = i < 8;
        // Only whole tiles are carried out here; the processor itself refuses more than eight.
        if (shape.rows[i] != (is_used ? ROWS : 0) || shape.row_bytes[i] != (is_used ? 64 : 0)) fail("not eight whole tiles");
    }
    std::memset(state.tiles, 0, sizeof state.tiles);
    state.is_configured = true;
}

inline void release() { state.is_configured = false; }
inline void zero(int index) { std::memset(tile(index), 0, sizeof tile(index)); }

inline void load(int index, const void *from, int64_t stride) {
    auto &rows = tile(index);
    for (int r = 0; r < ROWS; ++r) std::memcpy(rows[r], static_cast<const char *>(from) + r * stride, 64);
}

inline void store(int index, void *to, int64_t stride) {
    auto &rows = tile(index);
    for (int r = 0; r < ROWS; ++r) std::memcpy(static_cast<char *>(to) + r * stride, rows[r], 64);
}

inline float without_denormals(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.f, x) : x; }

// Half 0 is the lower one of each word.
inline float bfloat16_of(float word, int half) {
    uint32_t bits;
    std::memcpy(&bits, &word, sizeof bits);
    bits = half == 0 ? bits << 16 : bits & 0xffff0000u;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return without_denormals(value);
}

#if defined(__clang__)
__attribute__((target("avx512f,avx512dq,fma")))
#else
__attribute__((target("avx512f,avx512dq,fma"), optimize("O3")))
#endif
inline void multiply(int sum, int left, int right) {
    auto &c = tile(sum), &a = tile(left), &b = tile(right);
    float halves[2][WORDS][WORDS];
    for (int h = 0; h < 2; ++h)
        for (int k = 0; k < WORDS; ++k)
            for (int n = 0; n < WORDS; ++n) halves[h][k][n] = bfloat16_of(b[k][n], h);
    for (int m = 0; m < ROWS; ++m) {
        float sums[2][WORDS] = {};
        for (int h = 0; h < 2; ++h)
            for (int k = 0; k < WORDS - is_wrong; ++k) {
                const float factor = bfloat16_of(a[m][k], h);
                for (int n = 0; n < WORDS; ++n)
                    sums[h][n] = without_denormals(__builtin_fmaf(factor, halves[h][k][n], sums[h][n]));
            }
        for (int n = 0; n < WORDS; ++n)
            c[m][n] = without_denormals(without_denormals(c[m][n]) + without_denormals(sums[0][n] + sums[1][n]));
    }
}

}  // namespace amx_on_host

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) amx_on_host::load_shape(from)
#define _tile_release() amx_on_host::release()
#define _tile_zero(index) amx_on_host::zero(index)
#define _tile_loadd(index, from, stride) amx_on_host::load(index, from, stride)
#define _tile_stored(index, to, stride) amx_on_host::store(index, to, stride)
#define _tile_dpbf16ps(sum, left, right) amx_on_host::multiply(sum, left, right)
