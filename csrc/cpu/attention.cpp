#include "../include/attention.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "attention_kinds.hpp"

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
    if (most >= SAM2_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
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
    const double products = pairs * double(p.dim + p.value_dim);
    const auto worth = static_cast<int64_t>(std::min(products / WORTH_A_THREAD, 1e6)) + 1;
    return static_cast<int>(std::max<int64_t>(1, std::min({static_cast<int64_t>(p.threads), worth, blocks})));
}

// The blocks in as many parts as there are threads; every thread takes the next part until none is left.
struct Parts {
    const sam2_attention &problem;
    sam2::Attend attend;
    int64_t blocks;
    int count;
    std::atomic<int> next{0};
    std::atomic<bool> has_failed{false};

    static void go(void *data) noexcept {
        Parts &parts = *static_cast<Parts *>(data);
        for (int64_t index = parts.next++; index < parts.count; index = parts.next++) {
            try {
                parts.attend(parts.problem, parts.blocks * index / parts.count, parts.blocks * (index + 1) / parts.count);
            } catch (const std::bad_alloc &) {
                parts.has_failed = true;
            }
        }
    }
};

void in_own_threads(Parts &parts, int threads) {
    std::vector<std::thread> others;
    others.reserve(static_cast<size_t>(threads - 1));
    try {
        while (static_cast<int>(others.size()) < threads - 1) others.emplace_back(Parts::go, &parts);
    } catch (const std::system_error &) {
        // No further thread is to be had; those that are there do it.
    }
    Parts::go(&parts);
    for (std::thread &other : others) other.join();
}

}  // namespace

bool sam2::has_avx512() {
#if defined(SAM2_X86_VECTORS)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

int sam2_attention_instructions_cpu(int32_t format) { return choose(format, SAM2_AMX_SPLIT).instructions; }

int sam2_attention_cpu(const sam2_attention *problem) try {
    const sam2_attention &p = *problem;
    const Kind kind = choose(p.format, most_for(p));
    if (kind.attend == nullptr || (p.format == SAM2_BFLOAT16 && p.dim % 2 != 0)) return SAM2_UNSUPPORTED;
    const int64_t blocks = p.batch * p.heads * ((p.query_count + kind.block - 1) / kind.block);
    if (blocks == 0 || p.value_dim == 0) return SAM2_OK;
    const int threads = threads_for(p, blocks);
    Parts parts{p, kind.attend, blocks, threads};
    if (threads == 1) {
        Parts::go(&parts);
    } else if (p.parallel != nullptr) {
        p.parallel(Parts::go, &parts, static_cast<unsigned>(threads), 0);
    } else {
        in_own_threads(parts, threads);
    }
    return parts.has_failed ? SAM2_OUT_OF_MEMORY : SAM2_OK;
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}
