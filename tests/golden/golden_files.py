"""Files of weights as PyTorch users have them, and what PyTorch computes with them; see README.md."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from golden_layout import draw, permuted, stored

# No input of a ReLU may be nearer to 0: float32 could fall on the other side.
KINK = 1e-4


class Block(nn.Module):
    """A basic block with torchvision's names. Shortcuts: "A", subsampled and padded with channels of
    zeros, or "B", a 1x1 convolution."""

    def __init__(self, inputs, outputs, stride, shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample, self.added = None, outputs - inputs
        if stride != 1 and shortcut == "B":
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x, relu):
        z = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.downsample:
            x = self.downsample(x)
        elif self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return relu(z + x)


class ResNet(nn.Module):
    def __init__(self, depths, width, imagenet_stem, shortcut, head, classes):
        super().__init__()
        self.imagenet_stem, self.head = imagenet_stem, head
        kernel, stride = (7, 2) if imagenet_stem else (3, 1)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        self.stages = []
        for stage, depth in enumerate(depths):
            outputs = width * 2**stage
            blocks = []
            for i in range(depth):
                blocks.append(Block(channels, outputs, 2 if stage > 0 and i == 0 else 1, shortcut))
                channels = outputs
            self.stages.append(nn.Sequential(*blocks))
            self.add_module(f"layer{stage + 1}", self.stages[-1])
        self.add_module(head, nn.Linear(channels, classes))
        self.kink = math.inf
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                count = module.num_features
                module.weight.data = draw(count, low=0.5, high=1.5)
                module.weight.data[1::4] *= -1
                module.bias.data = draw(count, low=-0.5, high=0.5)
                module.running_mean = draw(count, low=-0.5, high=0.5)
                module.running_var = draw(count, low=0.25, high=3.0)
                module.num_batches_tracked += 12345
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                bound = (3 / module.weight[0].numel()) ** 0.5
                module.weight.data = draw(*module.weight.shape, low=-bound, high=bound)

    def relu(self, x):
        self.kink = min(self.kink, x.detach().abs().min().item())
        return torch.relu(x)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        if self.imagenet_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages:
            for block in stage:
                x = block(x, self.relu)
        return getattr(self, self.head)(x.mean((2, 3)))


def projection(gradient):
    """One number for a file, that changes if an element does, or if two change places."""
    flat = gradient.reshape(-1)
    return (flat * torch.cos(torch.arange(flat.numel(), dtype=torch.float64))).sum().item()


def single(tensors):
    """In float32, which holds these values exactly."""
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def network(out, name, config, image, rename=lambda name: name, keep=lambda name: True):
    """Writes <name>.safetensors and returns what the network in it computes, in Eval mode."""
    path = out / f"{name}.safetensors"
    while True:
        net = ResNet(**config)
        x = draw(2, 3, image, image)
        targets = torch.randint(config["classes"], (2,))
        state = single(net.state_dict())
        save_file({rename(key): value for key, value in state.items() if keep(key)}, path,
                  metadata={"format": "pt"})

        # What is computed comes from the file, as in the other direction: a strict load.
        loaded = {key.removeprefix(rename("")): value for key, value in load_file(path).items()}
        missing = {key: value for key, value in state.items() if not keep(key)}
        net = ResNet(**config).eval()
        net.load_state_dict(loaded | missing, strict=True)
        x.requires_grad_()
        logits = net(x)
        loss = F.cross_entropy(logits, targets)
        loss.backward()
        if net.kink > KINK:
            break
    return {"config": config,
            "tensors": {"x": permuted(x), "targets": stored(targets)},
            "logits": stored(logits), "loss": stored(loss),
            "gradients": {key: [projection(tensor.grad), tensor.grad.norm().item()]
                          for key, tensor in [("x", x), *net.named_parameters()]}}


def torchvision(out):
    """ResNet-18 with 2 channels where torchvision's has 64."""
    config = {"depths": [2, 2, 2, 2], "width": 2, "imagenet_stem": True, "shortcut": "B",
              "head": "fc", "classes": 7}
    return network(out, "torchvision_resnet18", config, image=37)


def data_parallel(out):
    """ResNet-20 with 2 channels for 16, as saved by a program of PyTorch 0.4 that trained it in
    nn.DataParallel: "module." before every name, no counters, shortcut A, head "linear"."""
    config = {"depths": [3, 3, 3], "width": 2, "imagenet_stem": False, "shortcut": "A",
              "head": "linear", "classes": 10}
    return network(out, "data_parallel_resnet20", config, image=9,
                   rename=lambda name: "module." + name,
                   keep=lambda name: "num_batches_tracked" not in name)


def dtypes(out):
    """Every dtype that attune reads. 65504 is the largest half, 2^-24 the smallest; a bfloat rounds
    the former to 65536."""
    values = torch.tensor([[0, -0.5, 1.5], [65504, -(2.0**-15), 2.0**-24]], dtype=torch.float64)
    save_file({"f64": values, "f32": values.float(), "f16": values.half(),
               "bf16": values.bfloat16(), "i64": torch.tensor(2**53 + 1),
               "u8": torch.tensor([0, 255], dtype=torch.uint8)},
              out / "dtypes.safetensors", metadata={"format": "pt", "origin": "golden_files.py"})
