#pragma once

#include <cstddef>

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cuda/gpu.h"

// What happens to a sum between its register and memory.
namespace attune::kernels::cuda {

/// Access to two neighbouring channels, as one where the address allows that.
struct ChannelPair {
  bool together, second;  ///< one access serves both; there is a second one

  /// Channels `channel` and `channel` + 1 of a tensor of `channels`, of which those of this tile
  /// end at `end`.
  __device__ ChannelPair(int channel, int end, int channels)
      : together(channel % 2 == 0 && channels % 2 == 0 && channel + 1 < end),
        second(channel + 1 < end) {}

  __device__ float2 load(const float* from) const {
    if (together) return *reinterpret_cast<const float2*>(from);
    return make_float2(from[0], second ? from[1] : 0.0F);
  }
  __device__ void store(float* to, float2 v) const {
    if (together) {
      *reinterpret_cast<float2*>(to) = v;
    } else {
      to[0] = v.x;
      if (second) to[1] = v.y;
    }
  }
};

inline __device__ float2 operator+(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
inline __device__ float2 operator-(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }
inline __device__ float2 operator*(float2 a, float2 b) { return make_float2(a.x * b.x, a.y * b.y); }

/// The steps of a Conv2dEpilogue but for its statistics, for a pair of channels. A NaN passes the
/// ReLU, so that it is seen.
inline __device__ float2 apply_epilogue(const Conv2dEpilogue<float>& e, float2 v,
                                        std::ptrdiff_t element, int channel, ChannelPair pair) {
  if (e.bias) v = v + pair.load(e.bias + channel);
  if (e.norm.slope) {
    if (e.norm.y) pair.store(e.norm.y + element, v);
    v = (v - pair.load(e.norm.mean + channel)) * pair.load(e.norm.slope + channel) +
        pair.load(e.norm.shift + channel);
  }
  if (e.residual) v = v + pair.load(e.residual + element);
  if (e.relu) v = make_float2(v.x < 0 ? 0 : v.x, v.y < 0 ? 0 : v.y);
  if (e.mask) {
    const float2 mask = pair.load(e.mask + element);
    v = make_float2(mask.x > 0 ? v.x : 0, mask.y > 0 ? v.y : 0);
  }
  return v;
}

}  // namespace attune::kernels::cuda
