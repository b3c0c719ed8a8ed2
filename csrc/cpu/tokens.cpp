#include <new>
#include <vector>

#include "parts.hpp"
#include "tokens_kinds.hpp"

namespace {

// Numbers below which another thread costs more than it brings.
constexpr double WORTH_A_THREAD = 1e5;

template <class Kind>
Kind choose(Kind avx512, Kind avx2) {
    if (sam2::has_avx512()) return avx512;
    return sam2::has_avx2() ? avx2 : nullptr;
}

}  // namespace

int sam2_add_norm_cpu(const sam2_add_norm *problem) try {
    const sam2_add_norm &p = *problem;
#if defined(SAM2_X86_VECTORS)
    const sam2::AddNorm kind = choose<sam2::AddNorm>(sam2::add_norm_avx512, sam2::add_norm_avx2);
    if (kind == nullptr) return SAM2_UNSUPPORTED;
    if (p.rows == 0 || p.channels == 0) return SAM2_OK;
    const auto work = [&](int64_t first, int64_t last) {
        std::vector<float> near(static_cast<size_t>(p.channels + 15) * sam2::ROWS_AT_ONCE);
        kind(p, first, last, near.data());
    };
    const int threads = sam2::threads_worth(double(p.rows) * double(p.channels), WORTH_A_THREAD, p.rows, p.threads);
    return sam2::Parts(p.rows, threads, work).run(p.parallel);
#else
    (void)p;
    return SAM2_UNSUPPORTED;
#endif
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}

int sam2_mix_cpu(const sam2_mix *problem) try {
    const sam2_mix &p = *problem;
#if defined(SAM2_X86_VECTORS)
    const sam2::Mix kind = choose<sam2::Mix>(sam2::mix_avx512, sam2::mix_avx2);
    if (kind == nullptr) return SAM2_UNSUPPORTED;
    const int64_t lines = p.batch * p.height;
    if (lines == 0 || p.width == 0) return SAM2_OK;
    const auto work = [&](int64_t first, int64_t last) { kind(p, first, last); };
    // A number that goes through a GELU and into four masks is worth some that are only moved.
    const double numbers = 16. * double(lines) * double(p.width) * double(p.channels + 1);
    return sam2::Parts(lines, sam2::threads_worth(numbers, WORTH_A_THREAD, lines, p.threads), work).run(p.parallel);
#else
    (void)p;
    return SAM2_UNSUPPORTED;
#endif
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}

int sam2_halve_cpu(const sam2_halve *problem) try {
    const sam2_halve &p = *problem;
#if defined(SAM2_X86_VECTORS)
    const sam2::Halve kind = choose<sam2::Halve>(sam2::halve_avx512, sam2::halve_avx2);
    if (kind == nullptr) return SAM2_UNSUPPORTED;
    const int64_t lines = p.batch * (p.height / 2);
    if (lines == 0 || p.width < 2 || p.channels == 0) return SAM2_OK;
    const auto work = [&](int64_t first, int64_t last) { kind(p, first, last); };
    const double numbers = double(lines) * double(p.width) * double(p.channels);
    return sam2::Parts(lines, sam2::threads_worth(numbers, WORTH_A_THREAD, lines, p.threads), work).run(p.parallel);
#else
    (void)p;
    return SAM2_UNSUPPORTED;
#endif
} catch (const std::bad_alloc &) {
    return SAM2_OUT_OF_MEMORY;
}
