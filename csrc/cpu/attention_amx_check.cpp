// Whether AMX can be used; compiled without any special instruction, since it runs everywhere.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>

#include "attention_kinds.hpp"

#if defined(SAM2_X86_TILES)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

#if defined(SAM2_AMX_ON_HOST)  // tests/csrc/amx_on_host.h: plain code stands for the tiles
bool has_amx() { return sam2::has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#else
constexpr unsigned AMX_BF16 = 1u << 22, AMX_TILE = 1u << 24;  // in edx of leaf 7
constexpr unsigned OSXSAVE = 1u << 27;                        // in ecx of leaf 1
constexpr unsigned TILE_STATE = 3u << 17;                     // what the system keeps of a thread: shapes and contents of tiles
constexpr long ASK_FOR_STATE = 0x1023, TILE_CONTENTS = 18;    // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA

// Linux keeps the contents of tiles for processes only that asked for it; it says no where a signal stack is too small for them.
bool has_amx() {
    unsigned a, b, c, d;
    if (!sam2::has_avx512() || !__builtin_cpu_supports("avx512bf16")) return false;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & OSXSAVE) == 0) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & AMX_BF16) == 0 || (d & AMX_TILE) == 0) return false;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILE_STATE) == TILE_STATE && syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_CONTENTS) == 0;
}
#endif

// Sizes that are no multiples of a tile's, and more keys than are weighed at once.
constexpr int64_t QUERIES = 37, KEYS = 231, DIM = 42, VALUE_DIM = 35;

float number_of(float value, float) { return value; }
uint16_t number_of(float value, uint16_t) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<uint16_t>(bits >> 16);
}
float value_of(float number) { return number; }
float value_of(uint16_t number) {
    const uint32_t bits = uint32_t{number} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class Number>
void fill(Number *out, int64_t count, uint32_t seed) {
    for (int64_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = number_of(static_cast<float>(seed >> 8) / 4194304.f - 2.f, Number{});  // -2 to 2
    }
}

// Whether two kinds give the same for a problem, but for rounding.
template <class Number>
bool agree(sam2::Attend one, sam2::Attend other, int32_t format, float tolerance) try {
    Number queries[QUERIES * DIM], keys[KEYS * DIM], values[KEYS * VALUE_DIM], out[2][QUERIES * VALUE_DIM] = {};
    fill(queries, QUERIES * DIM, 1), fill(keys, KEYS * DIM, 2), fill(values, KEYS * VALUE_DIM, 3);
    sam2_attention p{};
    p.queries = {queries, 0, 0, DIM, 0}, p.keys = {keys, 0, 0, DIM, 0}, p.values = {values, 0, 0, VALUE_DIM, 0};
    p.batch = p.heads = 1, p.query_count = QUERIES, p.key_count = KEYS, p.dim = DIM, p.value_dim = VALUE_DIM;
    p.scale = 0.3f, p.format = format;
    p.out = {out[0], 0, 0, VALUE_DIM, 0}, one(p, 0, 2);
    p.out = {out[1], 0, 0, VALUE_DIM, 0}, other(p, 0, 2);
    for (int64_t i = 0; i < QUERIES * VALUE_DIM; ++i)
        if (!(std::fabs(value_of(out[0][i]) - value_of(out[1][i])) <= tolerance)) return false;
    return true;
} catch (const std::bad_alloc &) {
    return false;
}

}  // namespace

bool sam2::can_use_amx(int32_t format) {
    static const bool has = has_amx();
    if (!has) return false;
    if (format == SAM2_BFLOAT16) {
        static const bool is_right = agree<uint16_t>(attend_amx_bf16, attend_avx512_bf16, SAM2_BFLOAT16, 0.02f);
        return is_right;
    }
    static const bool is_right = agree<float>(attend_amx_split, attend_avx512, SAM2_FLOAT32, 1e-4f);
    return is_right;
}
#else
bool sam2::can_use_amx(int32_t) { return false; }
#endif
