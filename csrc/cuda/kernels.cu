#include "../include/kernels.h"

int sam2_kernels_version(void) { return SAM2_KERNELS_VERSION; }

const char *sam2_kernels_message(int status) {
    switch (status) {
        case SAM2_OK: return "no error";
        case SAM2_TOO_LARGE: return "an image has more than 2^31 - 2 pixels";
        default: return status >= SAM2_CUDA_ERROR ? cudaGetErrorString(static_cast<cudaError_t>(status - SAM2_CUDA_ERROR)) : "unknown status";
    }
}
