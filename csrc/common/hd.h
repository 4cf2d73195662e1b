// Marks functions that the CPU extension and the CUDA kernels share.
#pragma once

#if defined(__CUDACC__)
#define FASTFACE_HD __host__ __device__ __forceinline__
#else
#define FASTFACE_HD inline
#endif
