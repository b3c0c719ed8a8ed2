#include "../include/attention.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "attention_kinds.hpp"

namespace {

using Attend = void (*)(const sam2_attention &, int64_t, int64_t);

struct Kind {
    int instructions;
    Attend attend;
    int64_t block;  // queries
};

// The best kind for a number format with at most these instructions; its function is null where there is none.
Kind choose(int32_t format, int most) {
#if defined(SAM2_X86_VECTORS)
    const bool has_512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (format == SAM2_BFLOAT16) {
        if (most >= SAM2_AVX512_BF16 && has_512 && __builtin_cpu_supports("avx512bf16"))
            return {SAM2_AVX512_BF16, sam2::attend_avx512_bf16, 32};
        return {SAM2_NO_VECTORS, nullptr, 0};
    }
    if (most >= SAM2_AVX512 && has_512) return {SAM2_AVX512, sam2::attend_avx512, 32};
    if (most >= SAM2_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return {SAM2_AVX2, sam2::attend_avx2, 16};
#else
    (void)format, (void)most;
#endif
    return {SAM2_NO_VECTORS, nullptr, 0};
}

// Products below which another thread costs more than it brings.
constexpr double WORTH_A_THREAD = 4e6;

int threads_for(const sam2_attention &p, int64_t blocks) {
    const double products = double(p.batch) * double(p.heads) * double(p.query_count) * double(p.key_count) * double(p.dim + p.value_dim);
    const auto worth = static_cast<int64_t>(std::min(products / WORTH_A_THREAD, 1e6)) + 1;
    return static_cast<int>(std::max<int64_t>(1, std::min({static_cast<int64_t>(p.threads), worth, blocks})));
}

// The blocks in as many parts as there are threads; every thread takes the next part until none is left.
struct Parts {
    const sam2_attention &problem;
    Attend attend;
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

int sam2_attention_instructions_cpu(int32_t format) { return choose(format, SAM2_AVX512_BF16).instructions; }

int sam2_attention_cpu(const sam2_attention *problem) try {
    const sam2_attention &p = *problem;
    const Kind kind = choose(p.format, p.instructions);
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
