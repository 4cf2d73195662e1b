// What follows a convolution of MTCNN: bias, PReLU and, if asked, max pooling, in one pass over memory.
#include <cuda_fp16.h>

#ifndef OUT
#define OUT float
#endif

namespace fastface {

// in [n, height, width, channels], out [n, out_height, out_width, channels], channels last. Windows are size x size,
// `stride` apart; those that reach beyond the input end there (torch's ceil_mode).
extern "C" __global__ void bias_prelu_pool(const OUT* in, const OUT* bias, const OUT* slope, int n, int height, int width,
                                           int channels, int size, int stride, int out_height, int out_width,
                                           OUT* out) {
  const long long total = static_cast<long long>(n) * out_height * out_width * channels;
  for (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; i < total;
       i += static_cast<long long>(gridDim.x) * blockDim.x) {
    const int c = static_cast<int>(i % channels);
    const long long pixel = i / channels;
    const int ox = static_cast<int>(pixel % out_width);
    const int oy = static_cast<int>(pixel / out_width % out_height);
    const long long frame = pixel / (static_cast<long long>(out_width) * out_height);
    const int y2 = min(oy * stride + size, height), x2 = min(ox * stride + size, width);
    const float b = static_cast<float>(bias[c]), s = static_cast<float>(slope[c]);
    float best = -3.4e38f;
    for (int y = oy * stride; y < y2; ++y)
      for (int x = ox * stride; x < x2; ++x) {
        const float v = static_cast<float>(in[((frame * height + y) * width + x) * channels + c]) + b;
        best = fmaxf(best, v > 0.0f ? v : s * v);
      }
    out[i] = static_cast<OUT>(best);
  }
}

}  // namespace fastface
