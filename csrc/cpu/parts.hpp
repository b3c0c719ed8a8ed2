// Work in as many parts as there are threads: in those of a pool, or in some of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "../include/kernels.h"

namespace sam2 {
namespace {

// How many threads pay for so much work, of which a thread wants `worth` at least.
inline int threads_worth(double work, double worth, int64_t items, int32_t most) {
    const auto some = static_cast<int64_t>(std::min(work / worth, 1e6)) + 1;
    return static_cast<int>(std::max<int64_t>(1, std::min({static_cast<int64_t>(most), some, items})));
}

// Every thread takes the next part until none is left. `Work` is called with the first item of a part and the one behind the
// last; it may throw std::bad_alloc.
template <class Work>
class Parts {
  public:
    Parts(int64_t items, int threads, const Work &work) : items(items), count(threads), work(work) {}

    // SAM2_OK, or SAM2_OUT_OF_MEMORY.
    int run(sam2_parallel parallel) {
        if (count == 1) {
            go(this);
        } else if (parallel != nullptr) {
            parallel(go, this, static_cast<unsigned>(count), 0);
        } else {
            in_own_threads();
        }
        return has_failed ? SAM2_OUT_OF_MEMORY : SAM2_OK;
    }

  private:
    static void go(void *data) noexcept {
        Parts &parts = *static_cast<Parts *>(data);
        for (int64_t index = parts.next++; index < parts.count; index = parts.next++) {
            try {
                parts.work(parts.items * index / parts.count, parts.items * (index + 1) / parts.count);
            } catch (const std::bad_alloc &) {
                parts.has_failed = true;
            }
        }
    }

    void in_own_threads() {
        std::vector<std::thread> others;
        others.reserve(static_cast<size_t>(count - 1));
        try {
            while (static_cast<int>(others.size()) < count - 1) others.emplace_back(go, static_cast<void *>(this));
        } catch (const std::system_error &) {
            // No further thread is to be had; those that are there do it.
        }
        go(this);
        for (std::thread &other : others) other.join();
    }

    const int64_t items;
    const int count;
    const Work &work;
    std::atomic<int> next{0};
    std::atomic<bool> has_failed{false};
};

}  // namespace
}  // namespace sam2
