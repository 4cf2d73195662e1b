#define FASTFACE_LANES 16
#define FASTFACE_LEVEL "avx512"
#define FASTFACE_KERNELS kAvx512
#include "core/kernels_impl.h"
