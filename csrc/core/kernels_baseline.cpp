#define FASTFACE_LANES 4
#define FASTFACE_LEVEL "baseline"
#define FASTFACE_KERNELS kBaseline
#include "core/kernels_impl.h"
