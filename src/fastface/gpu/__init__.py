"""CUDA: compiling and launching our kernels, frames in device memory."""
