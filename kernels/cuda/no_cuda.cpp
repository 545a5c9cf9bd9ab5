// What stands in for kernels/cuda in a build without CUDA.
