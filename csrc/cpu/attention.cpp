#include "../include/attention.h"

#include <algorithm>
#include <new>

#include "attention_kinds.hpp"
#include "parts.hpp"

namespace {

struct Kind {
    int instructions;
    sam2::Attend attend;
    int64_t block;  // queries
};

// The best kind for a number format with at most these instructions; its function is null where there is none.
Kind choose(int32_t format, int most) {
#if defined(SAM2_X86_TILES)
    const int tiles = format == SAM2_BFLOAT16 ? SAM2_AMX_BF16 : SAM2_AMX_SPLIT;
    if (most >= tiles && sam2::can_use_amx(format))
        return {tiles, format == SAM2_BFLOAT16 ? sam2::attend_amx_bf16 : sam2::attend_amx_split, 32};
#endif
#if defined(SAM2_X86_VECTORS)
    if (format == SAM2_BFLOAT16) {
        if (most >= SAM2_AVX512_BF16 && sam2::has_avx512() && __builtin_cpu_supports("avx512bf16"))
            return {SAM2_AVX512_BF16, sam2::attend_avx512_bf16, 32};
        return {SAM2_NO_VECTORS, nullptr, 0};
    }
    if (most >= SAM2_AVX512 && sam2::has_avx512()) return {SAM2_AVX512, sam2::attend_avx512, 32};
    if (most >= SAM2_AVX2 && sam2::has_avx2())
        return {SAM2_AVX2, sam2::attend_avx2, 16};
#else
    (void)format, (void)most;
#endif
    return {SAM2_NO_VECTORS, nullptr, 0};
}

// Queries and keys below which half of every tile would be for nothing, so that vectors are at least as quick.
constexpr int64_t FEWEST_FOR_TILES = 17;

int most_for(const sam2_attention &p) {
    const bool is_small = std::min(p.query_count, p.key_count) < FEWEST_FOR_TILES;
    return is_small ? std::min<int>(p.instructions, SAM2_AVX512_BF16) : p.instructions;
}

// Products below which another thread costs more than it brings.
constexpr double WORTH_A_THREAD = 4e6;

int threads_for(const sam2_attention &p, int64_t blocks) {
    const double pairs = double(p.batch) * double(p.heads) * double(p.query_count) * double(p.key_count);
    return sam2::threads_worth(pairs * double(p.dim + p.value_dim), WORTH_A_THREAD, blocks, p.threads);
}

}  // namespace

int sam2_attention_instructions_cpu(int32_t format) { return choose(format, SAM2_AMX_SPLIT).instructions; }

int sam2_attention_cpu(const sam2_attention *problem) try {
    const sam2_attention &p = *problem;
    const Kind kind = choose(p.format, most_for(p));
    if (kind.attend == nullptr || (p.format == SAM2_BFLOAT16 && p.dim % 2 != 0)) return SAM2_UNSUPPORTED;
    const int64_t blocks = p.batch * p.heads * ((p.query_count + kind.block - 1) / kind.block);
    if (blocks == 0 || p.value_dim == 0) return SAM2_OK;
    const auto work = [&](int64_t first, int64_t last) { kind.attend(p, first, last); };
    return sam2::Parts(blocks, threads_for(p, blocks), work).run(p.parallel);
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}
