// Enough of CUDA to run the device code of csrc/cuda on host threads, where there is no GPU:
//     g++ -shared -fPIC -pthread -std=c++17 -x c++ -include cuda_on_host.h csrc/cuda/*.cu
//
// A launch runs its thread blocks on a few host threads at once, so that the atomics meet real races. Only what the kernels use is
// here; there is no shared memory, no __syncthreads and no warp function.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include <thread>
#include <vector>

#define __global__ static
#define __device__
#define __host__

struct HostIndex {
    unsigned x;
};
inline thread_local HostIndex blockIdx, threadIdx, blockDim, gridDim;

using cudaStream_t = void *;
enum cudaError_t { cudaSuccess = 0 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char *cudaGetErrorString(cudaError_t) { return "no error"; }

inline int32_t atomicAdd(int32_t *place, int32_t value) { return __atomic_fetch_add(place, value, __ATOMIC_RELAXED); }
// Gives way to other threads now and then before it acts, which makes lost races as common as on a device.
inline int32_t atomicMin(int32_t *place, int32_t value) {
    static thread_local unsigned calls = 0;
    if (++calls % 8 == 0) std::this_thread::yield();
    int32_t before = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (value < before && !__atomic_compare_exchange_n(place, &before, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return before;
}

// Blocks are dealt out to the host threads in turn; every other host thread works backwards, so that no order is relied on.
template <class Kernel, class... Arguments>
void launch_on_host(Kernel kernel, unsigned blocks, unsigned threads, Arguments... arguments) {
    const unsigned workers = blocks < 4 ? blocks : 4;
    const auto work = [=](unsigned worker) {
        const bool backwards = worker % 2 == 1;
        const unsigned mine = (blocks - worker + workers - 1) / workers;
        for (unsigned i = 0; i < mine; ++i) {
            blockIdx = {worker + workers * (backwards ? mine - 1 - i : i)}, blockDim = {threads}, gridDim = {blocks};
            for (unsigned t = 0; t < threads; ++t) {
                threadIdx = {backwards ? threads - 1 - t : t};
                kernel(arguments...);
            }
        }
    };
    std::vector<std::thread> pool;
    for (unsigned worker = 1; worker < workers; ++worker) pool.emplace_back(work, worker);
    work(0);
    for (std::thread &thread : pool) thread.join();
}

#define SAM2_LAUNCH(kernel, blocks, threads, stream, ...) launch_on_host(kernel, blocks, threads, __VA_ARGS__), (void)(stream)
