#include "../include/components.h"
#include "regions.cuh"

namespace {

using Layout = sam2::Layout<1>;

__global__ void write_labels(const uint8_t *mask, Layout layout, sam2::Nodes nodes, int32_t *labels, int32_t *areas) {
    SAM2_FOR_EACH_BLOCK(i, layout) {
        const sam2::Block block = sam2::block_at(layout, i);
        const int64_t image = block.image * layout.pixels();
        const int64_t root = block.image * layout.nodes() + nodes.parents[i];
        for (int corner = 0; corner < 4; ++corner) {
            const int32_t y = block.y + corner / 2, x = block.x + corner % 2;
            if (y >= layout.height || x >= layout.width) continue;
            const int64_t pixel = image + static_cast<int64_t>(y) * layout.width + x;
            const bool is_foreground = mask[pixel] != 0;
            labels[pixel] = is_foreground ? nodes.first_pixels[root] + 1 : 0;
            areas[pixel] = is_foreground ? nodes.areas[root] : 0;
        }
    }
}

}  // namespace

int64_t sam2_components_cuda_workspace(int64_t batch, int64_t height, int64_t width) {
    return sam2::workspace_bytes<1>(batch, height, width);
}

int sam2_components_cuda(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int32_t *labels, int32_t *areas,
                         void *workspace, void *stream) {
    if (sam2::is_too_large(height, width)) return SAM2_TOO_LARGE;
    if (batch == 0 || height == 0 || width == 0) return SAM2_OK;
    const Layout layout(batch, height, width);
    const sam2::Nodes nodes = sam2::nodes_in(workspace, layout);
    const cudaStream_t queue = static_cast<cudaStream_t>(stream);
    sam2::find_regions(mask, layout, nodes, queue);
    SAM2_LAUNCH(write_labels, layout.launch_blocks(), sam2::THREADS, queue, mask, layout, nodes, labels, areas);
    return sam2::launch_status();
}
