"""Golden values of two small residual networks in the four modes, see README.md."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from golden_layout import draw, permuted, permuted_all, stored

EPS = 1e-5
# No input of a ReLU may be nearer to 0: float32 could fall on the other side. Networks are drawn
# until one complies.
KINK = 1e-5


class ConvBN(nn.Module):
    """Two modules that the network registers under PyTorch's names, and how to run them."""

    def __init__(self, parent, conv_name, bn_name, inputs, outputs, kernel, stride, groups=1):
        super().__init__()
        self.names = (conv_name, bn_name)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        bn = nn.BatchNorm2d(outputs, eps=EPS)
        parent.add_module(conv_name, conv)
        parent.add_module(bn_name, bn)
        self.parts = [conv, bn]  # in a list: registered once, by the parent

    def folded(self):
        conv, bn = self.parts
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        return conv.weight * scale.reshape(-1, 1, 1, 1), bn.bias - bn.running_mean * scale

    def deploy(self):
        conv, bn = self.parts
        weight, bias = self.folded()
        conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        bn.weight = bn.bias = None  # gone from the parameters

    def forward(self, x, mode):
        conv, bn = self.parts
        if mode == "tune":
            weight, bias = self.folded()
            return F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
        if mode == "deploy":
            return conv(x)
        bn.train(mode == "train")
        return bn(conv(x))


class Block(nn.Module):
    """torchvision's BasicBlock, or its Bottleneck with the stride in the 3x3 convolution, which has
    `groups` of width * group_width / 64 channels."""

    def __init__(self, inputs, width, stride, bottleneck, groups, group_width):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        inner = width * group_width // 64 * groups
        shapes = ([(inputs, inner, 1, 1), (inner, inner, 3, stride, groups), (inner, outputs, 1, 1)]
                  if bottleneck else [(inputs, width, 3, stride), (width, width, 3, 1)])
        self.layers = [ConvBN(self, f"conv{i}", f"bn{i}", *shape)
                       for i, shape in enumerate(shapes, 1)]
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Module()
            self.shortcut = [ConvBN(self.downsample, "0", "1", inputs, outputs, 1, stride)]

    def forward(self, x, net):
        z = x
        for layer in self.layers[:-1]:
            z = net.relu(layer(z, net.mode))
        z = self.layers[-1](z, net.mode)
        return net.relu(z + (self.shortcut[0](x, net.mode) if self.shortcut else x))


class ResNet(nn.Module):
    def __init__(self, widths, bottleneck, imagenet_stem, classes, groups=1, group_width=64):
        super().__init__()
        self.mode, self.imagenet_stem = "train", imagenet_stem
        self.kink = float("inf")
        channels = widths[0]
        self.stem = [ConvBN(self, "conv1", "bn1", 3, channels, *((7, 2) if imagenet_stem
                                                                 else (3, 1)))]
        self.stages = []
        for stage, width in enumerate(widths, 1):
            block = Block(channels, width, 1 if stage == 1 else 2, bottleneck, groups, group_width)
            self.add_module(f"layer{stage}", nn.Sequential(block))
            self.stages.append(block)
            channels = 4 * width if bottleneck else width
        self.fc = nn.Linear(channels, classes)
        self.randomize()

    def randomize(self):
        """Values with few digits, and statistics that a wrong fold would betray."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                channels = module.num_features
                module.weight.data = draw(channels, low=0.5, high=1.5)
                module.weight.data[1::4] *= -1
                module.bias.data = draw(channels, low=-0.5, high=0.5)
                module.running_mean = draw(channels, low=-0.5, high=0.5)
                module.running_var = draw(channels, low=0.25, high=3.0)
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                bound = (3 / module.weight[0].numel()) ** 0.5
                module.weight.data = draw(*module.weight.shape, low=-bound, high=bound)
                if module.bias is not None:
                    module.bias.data = draw(*module.bias.shape)
        # In the last stage, so that what comes before still gets a gradient on every channel.
        self.stages[-1].layers[-1].parts[1].weight.data[2] = 0

    def relu(self, x):
        """Remembers how near to its kink an input came."""
        self.kink = min(self.kink, x.detach().abs().min().item())
        return torch.relu(x)

    def forward(self, x):
        x = self.relu(self.stem[0](x, self.mode))
        if self.imagenet_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        for block in self.stages:
            x = block(x, self)
        return self.fc(x.mean((2, 3)))

    def conv_bns(self):
        blocks = [layer for block in self.stages for layer in block.layers + (block.shortcut or [])]
        return self.stem + blocks


def run(net, x, targets, mode):
    net.mode = mode
    net.zero_grad()
    x = x.clone().requires_grad_()
    logits = net(x)
    loss = F.cross_entropy(logits, targets)
    loss.backward()
    grads = {"grad_x": permuted(x.grad)}
    grads |= {"grad_" + name: permuted(p.grad) for name, p in net.named_parameters()}
    return {"logits": stored(logits), "loss": stored(loss)} | grads


def check_equal(a, b):
    """Eval and Tune are the same function: what one computes, the other must too."""
    for name in a:
        x, y = torch.tensor(a[name]["data"]), torch.tensor(b[name]["data"])
        error = ((x - y).abs().max() / y.abs().max()).item()
        assert error < 1e-12, f"{name}: Eval and Tune differ by {error}"


def network(config, image, batch):
    while True:
        net = ResNet(**config)
        x, targets = draw(batch, 3, image, image), torch.randint(config["classes"], (batch,))
        initial = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        modes = {"train": run(net, x, targets, "train")}
        modes["train"] |= {"new_" + name: stored(tensor) for name, tensor in net.named_buffers()}
        net.load_state_dict(initial)
        modes["eval"] = run(net, x, targets, "eval")
        check_equal(run(net, x, targets, "tune"), modes["eval"])
        for layer in net.conv_bns():
            layer.deploy()
        modes["deploy"] = run(net, x, targets, "deploy")
        if net.kink > KINK:
            return {"config": config, "state": permuted_all(initial),
                    "tensors": {"x": permuted(x), "targets": stored(targets)}, "modes": modes}


def resnet_cifar():
    config = {"widths": [4, 8, 16], "bottleneck": False, "imagenet_stem": False, "classes": 10}
    return network(config, image=10, batch=3)


def resnet_bottleneck():
    config = {"widths": [4, 8], "bottleneck": True, "imagenet_stem": True, "classes": 5}
    return network(config, image=18, batch=2)


def resnext():
    config = {"widths": [4, 8], "bottleneck": True, "imagenet_stem": False, "classes": 5,
              "groups": 4, "group_width": 32}
    return network(config, image=6, batch=3)
