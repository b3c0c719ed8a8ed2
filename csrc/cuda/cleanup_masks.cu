#include "../include/cleanup_masks.h"
#include "regions.cuh"

namespace {

using Layout = sam2::Layout<2>;

__global__ void write_cleaned(const uint8_t *mask, Layout layout, sam2::Nodes nodes, int64_t max_hole_area, int64_t max_island_area,
                              uint8_t *cleaned) {
    SAM2_FOR_EACH_BLOCK(i, layout) {
        const sam2::Block block = sam2::block_at(layout, i);
        const int64_t image = block.image * layout.pixels();
        const int64_t base = block.image * layout.nodes();
        for (int corner = 0; corner < 4; ++corner) {
            const int32_t y = block.y + corner / 2, x = block.x + corner % 2;
            if (y >= layout.height || x >= layout.width) continue;
            const int64_t pixel = image + static_cast<int64_t>(y) * layout.width + x;
            const bool value = mask[pixel] != 0;
            const int64_t area = nodes.areas[base + nodes.parents[2 * i + value]];
            cleaned[pixel] = value != (area <= (value ? max_island_area : max_hole_area));
        }
    }
}

}  // namespace

int64_t sam2_cleanup_masks_cuda_workspace(int64_t batch, int64_t height, int64_t width) {
    return sam2::workspace_bytes<2>(batch, height, width);
}

int sam2_cleanup_masks_cuda(const uint8_t *mask, int64_t batch, int64_t height, int64_t width, int64_t max_hole_area,
                            int64_t max_island_area, uint8_t *cleaned, void *workspace, void *stream) {
    if (sam2::is_too_large(height, width)) return SAM2_TOO_LARGE;
    if (batch == 0 || height == 0 || width == 0) return SAM2_OK;
    const Layout layout(batch, height, width);
    const sam2::Nodes nodes = sam2::nodes_in(workspace, layout);
    const cudaStream_t queue = static_cast<cudaStream_t>(stream);
    sam2::find_regions(mask, layout, nodes, queue);
    SAM2_LAUNCH(write_cleaned, layout.launch_blocks(), sam2::THREADS, queue, mask, layout, nodes, max_hole_area, max_island_area, cleaned);
    return sam2::launch_status();
}
