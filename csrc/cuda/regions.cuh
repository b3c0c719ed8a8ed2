// 8-connected regions on the device: union-find over 2 x 2 blocks of pixels.
//
// Pixels of one value in a 2 x 2 block always touch, so a block has one node for each value and not one for each pixel. A node's
// parent is never larger than the node; roots are joined with atomicMin until they agree, as in Komura, "GPU-based cluster-labeling
// algorithm without the use of conventional iteration", Computer Physics Communications 194 (2015). The idea of blocks as nodes:
// Allegretti, Bolelli, Grana, "Optimized Block-Based Algorithms to Label Connected Components on GPUs", IEEE TPDS 31 (2020).
//
// The kernels use no shared memory and no warp functions, so a host compiler can run them too (tests/csrc/cuda_on_host.h).
#pragma once

#include <stdint.h>

#ifndef SAM2_LAUNCH
#define SAM2_LAUNCH(kernel, blocks, threads, stream, ...) kernel<<<(blocks), (threads), 0, (stream)>>>(__VA_ARGS__)
#endif

namespace sam2 {

constexpr int THREADS = 256;
constexpr int64_t MAX_LAUNCH_BLOCKS = 1 << 20;  // kernels stride over what is left

// The sizes, and where the nodes of each image lie. `VALUES` is 1 (foreground only) or 2 (background is node 0, foreground node 1).
template <int VALUES>
struct Layout {
    int64_t batch;
    int32_t height, width;
    int32_t rows, columns;  // of 2 x 2 blocks

    Layout(int64_t batch_, int64_t height_, int64_t width_)
        : batch(batch_), height(static_cast<int32_t>(height_)), width(static_cast<int32_t>(width_)),
          rows(static_cast<int32_t>((height_ + 1) / 2)), columns(static_cast<int32_t>((width_ + 1) / 2)) {}

    __host__ __device__ int64_t pixels() const { return static_cast<int64_t>(height) * width; }
    __host__ __device__ int64_t blocks() const { return static_cast<int64_t>(rows) * columns; }
    __host__ __device__ int64_t nodes() const { return blocks() * VALUES; }
    __host__ __device__ static int value(int v) { return VALUES == 1 ? 1 : v; }
    unsigned launch_blocks() const {
        const int64_t needed = (batch * blocks() + THREADS - 1) / THREADS;
        return static_cast<unsigned>(needed < MAX_LAUNCH_BLOCKS ? needed : MAX_LAUNCH_BLOCKS);
    }
};

// Three numbers for each node of each image; after count_regions, `parents` holds roots and the others are right at the roots.
struct Nodes {
    int32_t *parents, *areas, *first_pixels;
};

template <int VALUES>
inline int64_t workspace_bytes(int64_t batch, int64_t height, int64_t width) {
    return 3 * static_cast<int64_t>(sizeof(int32_t)) * batch * Layout<VALUES>(batch, height, width).nodes();
}

template <int VALUES>
inline Nodes nodes_in(void *workspace, const Layout<VALUES> &layout) {
    int32_t *start = static_cast<int32_t *>(workspace);
    const int64_t count = layout.batch * layout.nodes();
    return {start, start + count, start + 2 * count};
}

inline bool is_too_large(int64_t height, int64_t width) { return width > 0 && height > (INT32_MAX - 1) / width; }

// One 2 x 2 block of one image: its place, and its image's pixels and nodes.
struct Block {
    int64_t image;
    int32_t index, y, x;  // index within the image; y, x of its upper left pixel
};

template <int VALUES>
__device__ Block block_at(const Layout<VALUES> &layout, int64_t i) {
    const int64_t image = i / layout.blocks();
    const int32_t index = static_cast<int32_t>(i - image * layout.blocks());
    return {image, index, index / layout.columns * 2, index % layout.columns * 2};
}

template <int VALUES>
__device__ bool has_value(const uint8_t *image, const Layout<VALUES> &layout, int32_t y, int32_t x, bool value) {
    if (y < 0 || x < 0 || y >= layout.height || x >= layout.width) return false;
    return (image[static_cast<int64_t>(y) * layout.width + x] != 0) == value;
}

__device__ inline int32_t find_root(const int32_t *parents, int32_t node) {
    const volatile int32_t *current = parents;  // other threads change it
    for (int32_t parent = current[node]; parent != node; parent = current[node]) node = parent;
    return node;
}

__device__ inline void join(int32_t *parents, int32_t a, int32_t b) {
    while (true) {
        a = find_root(parents, a);
        b = find_root(parents, b);
        if (a == b) return;
        const int32_t high = a > b ? a : b, low = a > b ? b : a;
        const int32_t before = atomicMin(parents + high, low);
        if (before == high) return;  // it was still a root and now hangs under `low`
        a = before;                  // another thread was faster: what it had joined has to meet `low` too
        b = low;
    }
}

#define SAM2_FOR_EACH_BLOCK(i, layout)                                                                                       \
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < (layout).batch * (layout).blocks();    \
         i += static_cast<int64_t>(gridDim.x) * blockDim.x)

template <int VALUES>
__global__ void start_nodes(Layout<VALUES> layout, Nodes nodes) {
    SAM2_FOR_EACH_BLOCK(i, layout) {
        for (int v = 0; v < VALUES; ++v) {
            nodes.parents[i * VALUES + v] = static_cast<int32_t>(i % layout.blocks()) * VALUES + v;
            nodes.areas[i * VALUES + v] = 0;
            nodes.first_pixels[i * VALUES + v] = INT32_MAX;
        }
    }
}

// Joins each block with the blocks before it (left, above left, above, above right) that it touches.
template <int VALUES>
__global__ void join_blocks(const uint8_t *mask, Layout<VALUES> layout, Nodes nodes) {
    SAM2_FOR_EACH_BLOCK(i, layout) {
        const Block block = block_at(layout, i);
        const uint8_t *image = mask + block.image * layout.pixels();
        int32_t *parents = nodes.parents + block.image * layout.nodes();
        for (int v = 0; v < VALUES; ++v) {
            const bool value = layout.value(v);
            const auto at = [&](int32_t dy, int32_t dx) { return has_value(image, layout, block.y + dy, block.x + dx, value); };
            const bool upper_left = at(0, 0), upper_right = at(0, 1), lower_left = at(1, 0);
            const int32_t node = block.index * VALUES + v;
            const int32_t above = node - layout.columns * VALUES;
            if ((upper_left || lower_left) && (at(0, -1) || at(1, -1))) join(parents, node, node - VALUES);
            if (upper_left && at(-1, -1)) join(parents, node, above - VALUES);
            if ((upper_left || upper_right) && (at(-1, 0) || at(-1, 1))) join(parents, node, above);
            if (upper_right && at(-1, 2)) join(parents, node, above + VALUES);
        }
    }
}

// Points every node at its root, and gathers there the region's area and the raster index of its first pixel.
template <int VALUES>
__global__ void count_regions(const uint8_t *mask, Layout<VALUES> layout, Nodes nodes) {
    SAM2_FOR_EACH_BLOCK(i, layout) {
        const Block block = block_at(layout, i);
        const uint8_t *image = mask + block.image * layout.pixels();
        const int64_t base = block.image * layout.nodes();
        for (int v = 0; v < VALUES; ++v) {
            int32_t area = 0, first_pixel = INT32_MAX;
            for (int corner = 3; corner >= 0; --corner) {  // backwards, so that the first pixel comes last
                const int32_t y = block.y + corner / 2, x = block.x + corner % 2;
                if (!has_value(image, layout, y, x, layout.value(v))) continue;
                first_pixel = y * layout.width + x;
                ++area;
            }
            if (area == 0) continue;
            const int32_t node = block.index * VALUES + v;
            const int32_t root = find_root(nodes.parents + base, node);
            nodes.parents[base + node] = root;
            atomicAdd(nodes.areas + base + root, area);
            atomicMin(nodes.first_pixels + base + root, first_pixel);
        }
    }
}

// All three steps; the launches' errors stay for cudaGetLastError.
template <int VALUES>
inline void find_regions(const uint8_t *mask, const Layout<VALUES> &layout, const Nodes &nodes, cudaStream_t stream) {
    SAM2_LAUNCH(start_nodes<VALUES>, layout.launch_blocks(), THREADS, stream, layout, nodes);
    SAM2_LAUNCH(join_blocks<VALUES>, layout.launch_blocks(), THREADS, stream, mask, layout, nodes);
    SAM2_LAUNCH(count_regions<VALUES>, layout.launch_blocks(), THREADS, stream, mask, layout, nodes);
}

// The status of the launches made since the last call.
inline int launch_status() {
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? SAM2_OK : SAM2_CUDA_ERROR + static_cast<int>(error);
}

}  // namespace sam2
