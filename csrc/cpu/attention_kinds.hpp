// The attention of one set of vector instructions each; empty files where a compiler does not know them.
#pragma once

#include <cstdint>

#include "../include/attention.h"
#include "processor.hpp"

namespace sam2 {

// Blocks of queries, `first` to `last` over all batches and heads; a block is of 16 queries for AVX2, of 32 for the others.
using Attend = void (*)(const sam2_attention &problem, int64_t first, int64_t last);

void attend_avx2(const sam2_attention &problem, int64_t first, int64_t last);
void attend_avx512(const sam2_attention &problem, int64_t first, int64_t last);
void attend_avx512_bf16(const sam2_attention &problem, int64_t first, int64_t last);
void attend_amx_bf16(const sam2_attention &problem, int64_t first, int64_t last);
void attend_amx_split(const sam2_attention &problem, int64_t first, int64_t last);

// Whether the AMX kind of a number format can be used: the processor has the instructions, the system allows them, and a small
// problem comes out as it does without them. Found out once.
bool can_use_amx(int32_t format);

}  // namespace sam2
