"""How the golden scripts draw their inputs and store tensors in attune's layout."""
import torch


def draw(*shape, low=-1.0, high=1.0):
    """Uniform multiples of 1/64 in [low, high): few digits in the file, exact in float32."""
    return torch.floor((low + (high - low) * torch.rand(shape)) * 64) / 64


def channel_parameters(channels):
    """gamma, beta, running mean and variance that catch wrong folds: gamma far from 1, negative
    and zero, mean far from 0, variance from tiny to large."""
    gamma = draw(channels, low=0.5, high=2.0)
    gamma[1::3] *= -1
    if channels > 2:
        gamma[2] = 0
    variance = draw(channels, low=0.25, high=4.0)
    if channels > 3:
        variance[3] = 1 / 64
    return gamma, draw(channels), draw(channels, low=-2, high=2), variance


def plain(values):
    """A flat tensor as a list of numbers with 15 significant digits."""
    if not values.is_floating_point():
        return values.tolist()
    rounded = (float(f"{value:.15g}") for value in values.tolist())
    return [int(value) if value.is_integer() else value for value in rounded]


def stored(tensor):
    """A tensor whose axes are already in attune's order."""
    tensor = tensor.detach()
    return {"shape": list(tensor.shape), "data": plain(tensor.reshape(-1))}


def permuted(tensor):
    """A tensor of rank 4 in PyTorch's order. The same permutation serves all: images NCHW -> NHWC,
    filters [out, in/groups, kh, kw] -> [out, kh, kw, in/groups], and transposed convolution's
    [in, out/groups, kh, kw] -> [in, kh, kw, out/groups]. Other ranks are stored as they are."""
    return stored(tensor.permute(0, 2, 3, 1)) if tensor.dim() == 4 else stored(tensor)


def permuted_all(tensors):
    return {name: permuted(tensor) for name, tensor in tensors.items()}


def gradients(output, seed, inputs):
    """{"grad_x": ...} of <output, seed>, for a dictionary of inputs."""
    grads = torch.autograd.grad((output * seed).sum(), list(inputs.values()))
    return {"grad_" + name: permuted(grad) for name, grad in zip(inputs, grads)}


def leaf(tensor):
    return tensor.clone().requires_grad_()
