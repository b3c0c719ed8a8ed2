// What the compiler can write for, and what this processor can do.
#pragma once

#if (defined(__x86_64__) || defined(__amd64__)) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 10))
#define SAM2_X86_VECTORS 1
#endif

// Tiles are to be asked for, which is written for Linux only.
#if defined(SAM2_X86_VECTORS) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#define SAM2_X86_TILES 1
#endif

namespace sam2 {

inline bool has_avx2() {
#if defined(SAM2_X86_VECTORS)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

// AVX-512 with all that the 512-bit kinds use.
inline bool has_avx512() {
#if defined(SAM2_X86_VECTORS)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

}  // namespace sam2
