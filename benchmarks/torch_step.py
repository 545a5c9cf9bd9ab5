#!/usr/bin/env python3
"""bench_step's peer: the same networks in eager PyTorch, measured in the same way.

usage: torch_step.py [--net NAME] [--batch N] [--size N] [--modes LIST] [--what step|inference]
                     [--layouts nhwc,nchw] [--compile] [--threads N] [--steps N] [--rounds N]
                     [--device cpu|cuda[:N]] [--precision fp32|tf32]

Prints a JSON object a line for each layout, mode and runtime, with the keys of `bench_step --json`
but for the peak of memory on a CPU, which PyTorch does not count. On a GPU, cuDNN tries its
algorithms and takes the fastest (cudnn.benchmark). The runtime is `eager`, except
for inference in Deploy: there the network is traced and `frozen`, and also `optimised`, by the JIT.
--compile adds `compiled`, by torch.compile, which needs a C++ compiler. Needs torch 2.4 or newer.

  train   batch normalisation with the statistics of the batch
  eval    with running statistics
  tune    running statistics folded into the filter in each step, as Tune's authors published it
  deploy  folded once
"""
import argparse
import json
import resource
import statistics
import warnings

import torch_peer

if __name__ == "__main__":
    torch_peer.tune_malloc()

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

MODES = ("train", "eval", "tune", "deploy")
LAYOUTS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}
# Blocks in each stage, channels of the first, bottleneck blocks, stem.
NETS = {
    "resnet20": ((3, 3, 3), 16, False, "cifar"),
    "resnet32": ((5, 5, 5), 16, False, "cifar"),
    "resnet56": ((9, 9, 9), 16, False, "cifar"),
    "resnet18": ((2, 2, 2, 2), 64, False, "imagenet"),
    "resnet34": ((3, 4, 6, 3), 64, False, "imagenet"),
    "resnet50": ((3, 4, 6, 3), 64, True, "imagenet"),
}


class ConvBN(nn.Module):
    def __init__(self, channels, filters, size, stride=1):
        super().__init__()
        self.tune = False
        self.conv = nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def set_mode(self, mode):
        self.train(mode == "train")
        self.tune = mode == "tune"
        if mode == "deploy":
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()

    def forward(self, x):
        if not self.tune:
            return self.norm(self.conv(x))
        norm, conv = self.norm, self.conv
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * scale
        folded = conv.weight * scale.reshape(-1, 1, 1, 1)
        return functional.conv2d(x, folded, bias, conv.stride, conv.padding)


class Block(nn.Module):
    def __init__(self, channels, width, stride, bottleneck):
        super().__init__()
        self.filters = 4 * width if bottleneck else width
        if bottleneck:
            layers = [
                ConvBN(channels, width, 1),
                ConvBN(width, width, 3, stride),
                ConvBN(width, self.filters, 1),
            ]
        else:
            layers = [ConvBN(channels, width, 3, stride), ConvBN(width, width, 3)]
        self.layers = nn.ModuleList(layers)
        self.shortcut = nn.Identity()
        if stride > 1 or channels != self.filters:
            self.shortcut = ConvBN(channels, self.filters, 1, stride)

    def forward(self, x):
        y = x
        for layer in self.layers[:-1]:
            y = functional.relu(layer(y), inplace=True)
        return functional.relu(self.layers[-1](y) + self.shortcut(x), inplace=True)


def make_resnet(name, size):
    depths, width, bottleneck, stem = NETS[name]
    if stem == "cifar" or size == 32:
        channels, classes = width, 10
        layers = [ConvBN(3, width, 3), nn.ReLU(inplace=True)]
    else:
        channels, classes = width, 1000
        layers = [ConvBN(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
    for stage, depth in enumerate(depths):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            layers.append(Block(channels, width << stage, stride, bottleneck))
            channels = layers[-1].filters
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def runtimes(arguments, mode):
    jit = arguments.what == "inference" and mode == "deploy"
    return (["frozen", "optimised"] if jit else ["eager"]) + ["compiled"] * arguments.compile


def prepared(net, runtime, x):
    """A function that computes what `net` does."""
    if runtime == "eager":
        return net
    if runtime == "compiled":
        return torch.compile(net)
    warnings.simplefilter("ignore", FutureWarning)  # the JIT is on its way out
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(net, x))
        return frozen if runtime == "frozen" else torch.jit.optimize_for_inference(frozen)


class Contestant:
    """A network in one mode, layout and runtime, with what a step needs."""

    def __init__(self, arguments, images, layout, mode, runtime):
        self.layout, self.mode, self.runtime = layout, mode, runtime
        net = make_resnet(arguments.net, arguments.size).train(mode == "train")
        for module in net.modules():
            if isinstance(module, ConvBN):
                module.set_mode(mode)
        net.to(images.device, memory_format=LAYOUTS[layout])
        self.on_gpu = images.is_cuda
        self.x = images.to(memory_format=LAYOUTS[layout])
        # At random, or they would soon be learned, and the gradients get too small for normalised
        # floats, which takes a CPU many times as long.
        self.targets = torch.randint(
            net[-1].out_features, (arguments.batch,), device=images.device
        )
        self.optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, fused=True)
        self.not_saved = (*net.state_dict().values(), self.x)
        self.run = prepared(net, runtime, self.x)
        self.is_step = arguments.what == "step"
        self.call = self.step if self.is_step else self.infer
        self.medians, self.saved_bytes, self.peak_bytes, self.faults = [], None, None, 0

    def loss(self):
        return functional.cross_entropy(self.run(self.x), self.targets)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()
        self.wait()

    def infer(self):
        with torch.no_grad():
            self.run(self.x)
        self.wait()

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def measure_saved_bytes(self):
        """Of everything kept for backward but parameters, buffers and the images."""
        owned = {tensor.untyped_storage().data_ptr() for tensor in self.not_saved}
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in owned:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = self.loss()
        self.saved_bytes = sum(kept.values())
        loss.backward()

    def measure_peak_bytes(self):
        """Of forward and backward, above what was there before; as PyTorch's allocator counts."""
        self.optimizer.zero_grad(set_to_none=True)
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.loss().backward()
        self.wait()
        self.peak_bytes = torch.cuda.max_memory_allocated() - before

    def measure_round(self, steps):
        torch_peer.lap_times(self.call, 2)
        if self.is_step and self.saved_bytes is None:
            self.measure_saved_bytes()
            if self.on_gpu:
                self.measure_peak_bytes()
            self.step()
        before = page_faults()
        self.medians.append(statistics.median(torch_peer.lap_times(self.call, steps)))
        self.faults = (page_faults() - before) / steps


def describe(arguments, contestant):
    ms = statistics.median(contestant.medians)
    line = {
        "peer": f"torch {torch.__version__}",
        "net": arguments.net,
        "batch": arguments.batch,
        "size": arguments.size,
        "device": str(contestant.x.device),
        "precision": arguments.precision,
        "what": arguments.what,
        "layout": contestant.layout,
        "runtime": contestant.runtime,
        "threads": torch.get_num_threads(),
        "mode": contestant.mode,
        "ms": round(ms, 3),
        "images_per_s": round(1e3 * arguments.batch / ms, 1),
        "page_faults": contestant.faults,
    }
    if contestant.saved_bytes is not None:
        line["saved_bytes"] = contestant.saved_bytes
    if contestant.peak_bytes is not None:
        line["peak_bytes_above_start"] = contestant.peak_bytes
    return line


def list_of(choices):
    def parse(text):
        items = text.split(",")
        for item in items:
            if item not in choices:
                raise argparse.ArgumentTypeError(f"'{item}' is none of {', '.join(choices)}")
        return items

    return parse


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=NETS, default="resnet20")
    parser.add_argument("--batch", type=int, default=128, help="images in a step")
    parser.add_argument("--size", type=int, default=32, help="32 takes the CIFAR stem")
    parser.add_argument("--modes", type=list_of(MODES), default=list(MODES))
    parser.add_argument("--what", choices=("step", "inference"), default="step")
    parser.add_argument("--layouts", type=list_of(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--compile", action="store_true", help="time torch.compile as well")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--steps", type=int, default=12, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=3, help="in each, every mode has its turn")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("fp32", "tf32"), default="fp32", help="on a GPU")
    arguments = parser.parse_args()

    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = arguments.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = arguments.precision == "tf32"
    torch.manual_seed(0)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size, device=device)
    contestants = [
        Contestant(arguments, images, layout, mode, runtime)
        for layout in arguments.layouts
        for mode in arguments.modes
        for runtime in runtimes(arguments, mode)
    ]
    for _ in range(arguments.rounds):
        for contestant in contestants:
            contestant.measure_round(arguments.steps)
    for contestant in contestants:
        print(json.dumps(describe(arguments, contestant)))


if __name__ == "__main__":
    main()
