// Vectors of LANES float32 by the compiler's own vector types, and numbers as they are stored. Included inside of options for
// instructions, after LANES, IntVector, `total_of` and `lower_halves` were declared for them.
#pragma once

#include <cstdint>
#include <cstring>

namespace sam2 {
namespace {  // of each file its own: none may use what was compiled for another's instructions

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

// `count` numbers from memory, at most LANES; zeros beyond them.
[[gnu::always_inline]] inline Floats load(const float *p, int64_t count) {
    Floats x{};
    count >= LANES ? std::memcpy(&x, p, sizeof x) : std::memcpy(&x, p, static_cast<size_t>(count) * sizeof *p);
    return x;
}
[[gnu::always_inline]] inline Floats load(const uint16_t *p, int64_t count) {
    Halves x{};
    count >= LANES ? std::memcpy(&x, p, sizeof x) : std::memcpy(&x, p, static_cast<size_t>(count) * sizeof *p);
    return (Floats)(__builtin_convertvector(x, Words) << 16);
}

[[gnu::always_inline]] inline void store(float *p, Floats x, int64_t count) {
    count >= LANES ? std::memcpy(p, &x, sizeof x) : std::memcpy(p, &x, static_cast<size_t>(count) * sizeof *p);
}
[[gnu::always_inline]] inline void store(uint16_t *p, Floats x, int64_t count) {
    const Halves y = (Halves)lower_halves((IntVector)((Words)x >> 16));
    count >= LANES ? std::memcpy(p, &y, sizeof y) : std::memcpy(p, &y, static_cast<size_t>(count) * sizeof *p);
}

// The nearest number of a format, an even one of two as near.
[[gnu::always_inline]] inline Floats rounded(Floats x, float) { return x; }
[[gnu::always_inline]] inline Floats rounded(Floats x, uint16_t) {
    const Words bits = (Words)x, up = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    const Words none = (Words)(x != x);
    return (Floats)((up & ~none) | (none & 0x7fc00000u));
}

}  // namespace
}  // namespace sam2
