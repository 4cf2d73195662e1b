#define FASTFACE_LANES 8
#define FASTFACE_LEVEL "avx2"
#define FASTFACE_KERNELS kAvx2
#include "core/kernels_impl.h"
