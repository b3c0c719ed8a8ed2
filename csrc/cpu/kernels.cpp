#include "../include/kernels.h"

int sam2_kernels_version(void) { return SAM2_KERNELS_VERSION; }

const char *sam2_kernels_message(int status) {
    switch (status) {
        case SAM2_OK: return "no error";
        case SAM2_OUT_OF_MEMORY: return "out of memory";
        case SAM2_TOO_LARGE: return "an image has more than 2^31 - 2 pixels";
        case SAM2_UNSUPPORTED: return "this processor, or this build, has no instructions for it";
        default: return "unknown status";
    }
}
