// The attention of one set of vector instructions each; empty files where a compiler does not know them.
#pragma once

#include <cstdint>

#include "../include/attention.h"

#if (defined(__x86_64__) || defined(__amd64__)) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 10))
#define SAM2_X86_VECTORS 1
#endif

// Tiles are to be asked for, which is written for Linux only.
#if defined(SAM2_X86_VECTORS) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#define SAM2_X86_TILES 1
#endif

namespace sam2 {

// Blocks of queries, `first` to `last` over all batches and heads; a block is of 16 queries for AVX2, of 32 for the others.
using Attend = void (*)(const sam2_attention &problem, int64_t first, int64_t last);

void attend_avx2(const sam2_attention &problem, int64_t first, int64_t last);
void attend_avx512(const sam2_attention &problem, int64_t first, int64_t last);
void attend_avx512_bf16(const sam2_attention &problem, int64_t first, int64_t last);
void attend_amx_bf16(const sam2_attention &problem, int64_t first, int64_t last);
void attend_amx_split(const sam2_attention &problem, int64_t first, int64_t last);

// Whether AVX-512 with all that the 512-bit kinds use is there.
bool has_avx512();

// Whether the AMX kind of a number format can be used: the processor has the instructions, the system allows them, and a small
// problem comes out as it does without them. Found out once.
bool can_use_amx(int32_t format);

}  // namespace sam2
