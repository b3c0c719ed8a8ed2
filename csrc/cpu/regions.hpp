// 8-connected regions of one image, found by joining horizontal runs of equal pixels (union-find over runs, two passes).
//
// Masks are made of long runs, so working on runs instead of pixels leaves few nodes. Runs are stored in raster order and a root is
// always the earliest run of its region, therefore the root's start is the region's first pixel and one forward pass resolves all.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "../include/kernels.h"

namespace sam2 {

struct Run {
    int32_t start;  // raster index of its first pixel
    int32_t begin;  // columns [begin, end)
    int32_t end;
    bool value;
};

// The first column at or after x whose pixel is not `value`, or width.
inline int32_t run_end(const uint8_t *row, int32_t x, int32_t width, bool value) {
    if (value) {
        const void *zero = std::memchr(row + x, 0, static_cast<size_t>(width - x));
        return zero ? static_cast<int32_t>(static_cast<const uint8_t *>(zero) - row) : width;
    }
    for (uint64_t eight; x + 8 <= width; x += 8) {
        std::memcpy(&eight, row + x, 8);
        if (eight != 0) break;
    }
    while (x < width && row[x] == 0) ++x;
    return x;
}

class Regions {
  public:
    // Finds the regions of foreground, and those of background too where `with_background`. Buffers are kept between images.
    void find(const uint8_t *mask, int32_t height, int32_t width, bool with_background) {
        runs_.clear();
        parents_.clear();
        size_t above = 0;  // first run of the row above
        for (int32_t y = 0; y < height; ++y) {
            const size_t row = runs_.size();
            add_row(mask + static_cast<int64_t>(y) * width, y, width, with_background);
            join_rows(above, row);
            above = row;
        }
        resolve();
    }

    size_t size() const { return runs_.size(); }
    const Run &run(size_t i) const { return runs_[i]; }
    int32_t first_pixel(size_t i) const { return runs_[parents_[i]].start; }
    int32_t area(size_t i) const { return areas_[parents_[i]]; }

  private:
    void add_row(const uint8_t *row, int32_t y, int32_t width, bool with_background) {
        for (int32_t x = 0; x < width;) {
            const bool value = row[x] != 0;
            const int32_t end = run_end(row, x, width, value);
            if (value || with_background) {
                parents_.push_back(static_cast<uint32_t>(runs_.size()));
                runs_.push_back({y * width + x, x, end, value});
            }
            x = end;
        }
    }

    // Joins the runs [row, size) with the runs [above, row) that they touch, corners included.
    void join_rows(size_t above, size_t row) {
        size_t first = above;
        for (size_t i = row; i < runs_.size(); ++i) {
            const Run run = runs_[i];
            while (first < row && runs_[first].end < run.begin) ++first;
            for (size_t j = first; j < row && runs_[j].begin <= run.end; ++j) {
                if (runs_[j].value == run.value) join(static_cast<uint32_t>(i), static_cast<uint32_t>(j));
            }
        }
    }

    uint32_t root(uint32_t i) {
        while (parents_[i] != i) {
            parents_[i] = parents_[parents_[i]];
            i = parents_[i];
        }
        return i;
    }

    void join(uint32_t a, uint32_t b) {
        a = root(a);
        b = root(b);
        if (a < b) {
            parents_[b] = a;
        } else {
            parents_[a] = b;
        }
    }

    void resolve() {
        areas_.assign(runs_.size(), 0);
        for (size_t i = 0; i < runs_.size(); ++i) {
            parents_[i] = parents_[parents_[i]];  // a parent stands before its children and is resolved already
            areas_[parents_[i]] += runs_[i].end - runs_[i].begin;
        }
    }

    std::vector<Run> runs_;
    std::vector<uint32_t> parents_;
    std::vector<int32_t> areas_;
};

// Labels are 1 + a raster index and must fit into int32.
inline bool is_too_large(int64_t height, int64_t width) {
    return width > 0 && height > (std::numeric_limits<int32_t>::max() - 1) / width;
}

}  // namespace sam2
