#include "../include/quantise.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace {

// Numbers that a thread takes at a time; below a few such parts another thread costs more than it brings.
constexpr int64_t PART = 1 << 15;

constexpr float TINY = 1e-30f, LARGEST = 127.0f, MIDDLE = 128.0f;

float widened(uint32_t bits) {
    bits <<= 16;
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

struct Job {
    const uint16_t *numbers;
    uint8_t *out;
    int64_t count;
    float inverse = 0;
    std::atomic<int64_t> next{0};
    std::atomic<uint32_t> largest{0};

    static void find_largest(void *data) noexcept {
        Job &job = *static_cast<Job *>(data);
        uint16_t most = 0;
        for (int64_t first = job.next.fetch_add(PART); first < job.count; first = job.next.fetch_add(PART)) {
            const int64_t last = std::min(first + PART, job.count);
            // Without their sign, numbers are ordered as their bits are.
            for (int64_t i = first; i < last; i++) most = std::max<uint16_t>(most, job.numbers[i] & 0x7fff);
        }
        uint32_t known = job.largest.load();
        while (most > known && !job.largest.compare_exchange_weak(known, most)) {
        }
    }

    static void round_all(void *data) noexcept {
        Job &job = *static_cast<Job *>(data);
        const float inverse = job.inverse;
        for (int64_t first = job.next.fetch_add(PART); first < job.count; first = job.next.fetch_add(PART)) {
            const int64_t last = std::min(first + PART, job.count);
            const uint16_t *numbers = job.numbers;
            uint8_t *out = job.out;
            for (int64_t i = first; i < last; i++)
                out[i] = static_cast<uint8_t>(static_cast<int32_t>(widened(numbers[i]) * inverse + (MIDDLE + 0.5f)));
        }
    }
};

}  // namespace

int sam2_quantise_cpu(const uint16_t *numbers, int64_t count, int32_t threads, sam2_parallel parallel, uint8_t *out, float *step) {
    Job job{numbers, out, count};
    const auto parts = static_cast<int32_t>(std::min<int64_t>(threads, (count + PART - 1) / PART));
    const auto run = [&](void (*work)(void *)) {
        job.next = 0;
        if (parts > 1 && parallel != nullptr)
            parallel(work, &job, static_cast<unsigned>(parts), 0);
        else
            work(&job);
    };
    run(Job::find_largest);
    const float largest = std::max(widened(job.largest.load()), TINY);
    *step = largest / LARGEST;
    job.inverse = LARGEST / largest;
    run(Job::round_all);
    return SAM2_OK;
}
