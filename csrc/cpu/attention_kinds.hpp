// The attention of one set of vector instructions each; empty files where a compiler does not know them.
#pragma once

#include <cstdint>

#include "../include/attention.h"

#if (defined(__x86_64__) || defined(__amd64__)) && defined(__GNUC__)
#define SAM2_X86_VECTORS 1
#endif

namespace sam2 {

// Blocks of `block_of(...)` queries, `first` to `last` over all batches and heads.
void attend_avx2(const sam2_attention &problem, int64_t first, int64_t last);
void attend_avx512(const sam2_attention &problem, int64_t first, int64_t last);
void attend_avx512_bf16(const sam2_attention &problem, int64_t first, int64_t last);

}  // namespace sam2
