#pragma once

#include "attune/core/ops/convolution.h"
#include "attune/core/tensor.h"

namespace attune {

// A convolution followed by batch normalisation, then by a residual addition and a ReLU if wanted:
//
//     z = relu(BN(conv(x, w) + b) + residual)
//
// as one operation in each of its training modes. Deploy, the fourth, is conv2d with the folded
// filter as its parameter.
//
//   mode   statistics  computes                                  keeps for backward
//   Train  batch       y = conv(x, w) + b; z = BN(y)             x, y, mean, 1/sigma
//   Eval   running     y = conv(x, w) + b; z = BN(y)             x, y
//   Tune   running     z = conv(x, w') + b'                      x
//
// Eval and Tune are the same function with the same gradients. Tune (You et al., arXiv 2305.11624)
// folds the normalisation into the filter first, w' = s w and b' = (b - mean) s + beta with
// s = gamma / sqrt(var + eps), so y never exists. We fold again in backward instead of keeping w',
// so that Tune keeps what Deploy keeps at every batch size.
//
// Of what the table says, only what some gradient needs is kept: x if w (in Tune: or gamma) needs
// one; y in Eval if gamma does, in Train if anything but beta or the residual does. The output is
// kept where it ends in a ReLU; it is the next convolution's input anyway. ConvBNRecompute keeps
// less, for more work.

/// The tensors of one block. `bias`, `gamma`, `beta` and `residual` may be undefined.
struct ConvBNTensors {
  Tensor x = {};             ///< [N, H, W, in]
  Tensor weight = {};        ///< as Convolution says
  Tensor bias = {};          ///< b [out]
  Tensor gamma = {};         ///< [out]; undefined: ones
  Tensor beta = {};          ///< [out]; undefined: zeros
  Tensor running_mean = {};  ///< [out]
  Tensor running_var = {};   ///< [out]
  Tensor residual = {};      ///< the output's shape
};

/// What backward computes again, to the same bits, instead of having it kept. An output with a
/// residual is kept in any case: what it would be computed from is the output of an earlier block.
struct ConvBNRecompute {
  /// In Train, the output, from y: one pass over it.
  bool activation = false;
  /// In every mode, the output and y, from x: the convolution runs twice. Where x is not kept
  /// anyway, that would save nothing, and is not done.
  bool convolution = false;
};

/// What all modes share.
struct ConvBNSettings {
  ConvolutionOptions convolution = {};
  double eps = 1e-5;
  double momentum = 0.1;  ///< weight of the new value in running statistics; Train alone reads it
  bool relu = false;
  ConvBNRecompute recompute = {};
};

/// Train: batch statistics, which gradients flow through; updates the running ones.
Tensor conv_bn_train(const ConvBNTensors& tensors, const ConvBNSettings& settings);

/// Eval: running statistics as constants, the convolution's output kept.
Tensor conv_bn_eval(const ConvBNTensors& tensors, const ConvBNSettings& settings);

/// Tune: what Eval computes, forward and backward, with the convolution's input kept alone. While
/// gradients are off, the folded filter is kept until a tensor that it was made of changes.
Tensor conv_bn_tune(const ConvBNTensors& tensors, const ConvBNSettings& settings);

/// The fold of a block's normalisation into its filter.
struct FoldedConv {
  Tensor weight;  ///< w' = s * w
  Tensor bias;    ///< b' = (b - mean) * s + beta
};

/// Folds `weight`, `bias`, `gamma`, `beta` and the running statistics of `tensors`; `filter` says
/// which output channel a filter element belongs to. Not recorded.
FoldedConv fold_conv_bn(const ConvBNTensors& tensors, const kernels::FilterChannels& filter,
                        double eps);

}  // namespace attune
