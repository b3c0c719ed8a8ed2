/* What every kernel library has in common: export, status codes, version.
 *
 * Plain C only. The CPU library and the CUDA library each define the two functions below. */
#pragma once

#if defined(_WIN32)
#define SAM2_EXPORT __declspec(dllexport)
#else
#define SAM2_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define SAM2_API extern "C" SAM2_EXPORT
#else
#define SAM2_API SAM2_EXPORT
#endif

/* Raised with every change of a declaration in this folder; sam2_engine/ops.py refuses a library of another version. */
#define SAM2_KERNELS_VERSION 5

enum {
    SAM2_OK = 0,
    SAM2_OUT_OF_MEMORY = 1,
    SAM2_TOO_LARGE = 2,     /* an image has more than 2^31 - 2 pixels */
    SAM2_UNSUPPORTED = 3,   /* this processor, or this build, has no instructions for it */
    SAM2_CUDA_ERROR = 1000, /* plus the cudaError_t */
};

/* Formats of numbers. */
enum { SAM2_FLOAT32 = 0, SAM2_BFLOAT16 = 1 };

/* Calls `work(data)` in up to `threads` threads and returns when all are done: GOMP_parallel of an OpenMP runtime. */
typedef void (*sam2_parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);

SAM2_API int sam2_kernels_version(void);

/* What a status means; a static string. */
SAM2_API const char *sam2_kernels_message(int status);
