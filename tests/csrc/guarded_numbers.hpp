// Numbers for drivers of kernels: drawn, and lying right before a page that may not be touched, which also catches what vector
// instructions read too much.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <random>

namespace {

std::mt19937 dice(1);
int64_t one_of(std::initializer_list<int64_t> values) { return values.begin()[dice() % values.size()]; }

float widened(uint16_t number) {
    const uint32_t bits = uint32_t{number} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
float widened(float number) { return number; }
void set(float &number, float value) { number = value; }
void set(uint16_t &number, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    number = static_cast<uint16_t>(bits >> 16);
}

// Numbers that end where memory ends. None: no address at all, as a tensor library gives it.
template <class Number>
class Numbers {
  public:
    explicit Numbers(int64_t count) {
        if (count == 0) return;
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), bytes = static_cast<size_t>(count) * sizeof(Number);
        size = (bytes + page - 1) / page * page + page;
        memory = static_cast<char *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (memory == MAP_FAILED || mprotect(memory + size - page, page, PROT_NONE) != 0) std::abort();
        data = reinterpret_cast<Number *>(memory + size - page - bytes);
        std::normal_distribution<float> normal;
        for (int64_t i = 0; i < count; ++i) set(data[i], normal(dice));
    }
    ~Numbers() {
        if (memory != nullptr) munmap(memory, size);
    }
    Numbers(const Numbers &) = delete;
    Numbers &operator=(const Numbers &) = delete;
    Number *data = nullptr;

  private:
    char *memory = nullptr;
    size_t size = 0;
};

}  // namespace
