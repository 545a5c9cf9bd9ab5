#include "attune/layers/init.h"

#include <cmath>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/layers/construct_on.h"

namespace attune::init {
namespace {

double count_of(const Tensor& weight, Fan fan) {
  const Fans both = fans(weight.shape());
  return static_cast<double>(fan == Fan::in ? both.in : both.out);
}

double mean_fan(const Tensor& weight) {
  const Fans both = fans(weight.shape());
  return static_cast<double>(both.in + both.out) / 2;
}

// Nobody will see the values of a module that is being built on meta.
bool skip(Generator& generator) {
  if (ConstructOn::device() != Device::meta) return false;
  generator.next_stream();
  return true;
}

}  // namespace

Fans fans(const Shape& weight) {
  if (weight.rank() < 2 || weight.count() == 0) {
    throw Error("init: a weight " + to_string(weight) + " has no fan in and fan out");
  }
  return {weight.count() / weight[0], weight.count() / weight[-1]};
}

void kaiming_normal(Tensor& weight, Generator& generator, Fan fan, double gain) {
  normal(weight, generator, 0, gain / std::sqrt(count_of(weight, fan)));
}

void kaiming_uniform(Tensor& weight, Generator& generator, Fan fan, double gain) {
  const double bound = gain * std::sqrt(3 / count_of(weight, fan));
  uniform(weight, generator, -bound, bound);
}

void xavier_normal(Tensor& weight, Generator& generator, double gain) {
  normal(weight, generator, 0, gain / std::sqrt(mean_fan(weight)));
}

void xavier_uniform(Tensor& weight, Generator& generator, double gain) {
  const double bound = gain * std::sqrt(3 / mean_fan(weight));
  uniform(weight, generator, -bound, bound);
}

void lecun_uniform(Tensor& weight, Generator& generator) {
  const double bound = 1 / std::sqrt(count_of(weight, Fan::in));
  uniform(weight, generator, -bound, bound);
}

void uniform(Tensor& weight, Generator& generator, double low, double high) {
  if (skip(generator)) return;
  const NoGradGuard no_grad;
  weight.copy_(
      random_uniform(weight.shape(), low, high, generator, weight.dtype(), weight.device()));
}

void normal(Tensor& weight, Generator& generator, double mean, double deviation) {
  if (skip(generator)) return;
  const NoGradGuard no_grad;
  weight.copy_(
      random_normal(weight.shape(), mean, deviation, generator, weight.dtype(), weight.device()));
}

void constant(Tensor& weight, double value) {
  const NoGradGuard no_grad;
  weight.fill_(value);
}

}  // namespace attune::init
