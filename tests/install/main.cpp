// What a user's first program might be: a 3 x 3 convolution of ones, forward and backward.
#include <attune/attune.h>

#include <iostream>

int main() {
  const attune::Tensor x = attune::Tensor::ones({1, 3, 3, 2});
  attune::Tensor weight = attune::Tensor::ones({1, 3, 3, 2});
  weight.set_requires_grad();
  const attune::Tensor y = attune::conv2d(x, weight);
  y.backward();
  std::cout << "attune " << attune::version << ": " << y.item() << '\n';
  // Each of the 18 products is 1; and the gradient of the sum with respect to a weight is its x.
  if (y.item() != 18) return 1;
  for (const float grad : weight.grad().to_vector<float>()) {
    if (grad != 1) return 1;
  }
  return 0;
}
