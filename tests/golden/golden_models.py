"""Golden values of small networks of torchvision's families in the four modes, see README.md.

The networks are torchvision's own (and RepVGG, which it lacks), with few channels. Which pairs of a
convolution and a normalisation can be folded is found by watching a forward pass.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torchvision.models.densenet import DenseNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.vgg import VGG, make_layers
from torchvision.ops import Conv2dNormActivation

from golden_layout import draw, permuted, permuted_all, stored
from golden_networks import KINK, check_equal, run


def foldable_pairs(net, x):
    """Each convolution whose output goes straight into a BatchNorm2d, with that one."""
    producer, pairs, hooks = {}, [], []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            def remember(conv, _, output):
                producer[id(output)] = (conv, output)  # kept, so that no other gets its id
            hooks.append(module.register_forward_hook(remember))
        elif isinstance(module, nn.BatchNorm2d):
            def look_up(bn, inputs):
                if id(inputs[0]) in producer:
                    pairs.append((producer[id(inputs[0])][0], bn))
            hooks.append(module.register_forward_pre_hook(look_up))
    net.eval()
    net(x)
    for hook in hooks:
        hook.remove()
    return pairs


def folded(conv, bn):
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    bias = 0 if conv.bias is None else conv.bias
    return conv.weight * scale.reshape(-1, 1, 1, 1), bn.bias + (bias - bn.running_mean) * scale


def tune(pairs):
    """The convolutions use folded filters, through which gradients flow; returns how to undo it."""
    for conv, bn in pairs:
        def convolve(x, conv=conv, bn=bn):
            weight, bias = folded(conv, bn)
            return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        conv.forward, bn.forward = convolve, lambda x: x

    def undo():
        for module in sum(pairs, ()):
            del module.forward
    return undo


def deploy(pairs):
    for conv, bn in pairs:
        weight, bias = folded(conv, bn)
        conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        bn.forward = lambda x: x
        bn.weight = bn.bias = None  # gone from the parameters


def randomize(net, pairs, gamma):
    """Values with few digits, and statistics that a wrong fold would betray."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            module.weight.data = draw(channels, low=0.5 * gamma, high=1.5 * gamma)
            module.weight.data[1::4] *= -1
            module.bias.data = draw(channels, low=-0.5, high=0.5)
            module.running_mean = draw(channels, low=-0.5, high=0.5)
            module.running_var = draw(channels, low=0.25, high=3.0)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = (3 / module.weight[0].numel()) ** 0.5
            module.weight.data = draw(*module.weight.shape, low=-bound, high=bound)
            if module.bias is not None:
                module.bias.data = draw(*module.bias.shape, low=-0.5, high=0.5)
    pairs[-1][1].weight.data[2] = 0


class Kink:
    """How near to a kink of a rectifier an input came."""

    def __init__(self, net):
        self.distance = float("inf")
        for module in net.modules():
            if isinstance(module, (nn.ReLU, nn.ReLU6)):
                module.register_forward_pre_hook(lambda module, inputs: self.see(module, inputs[0]))
        if isinstance(net, DenseNet):  # which calls F.relu
            net.features.norm5.register_forward_hook(lambda module, _, y: self.see(module, y))

    def see(self, module, x):
        kinks = (0, 6) if isinstance(module, nn.ReLU6) else (0,)
        for kink in kinks:
            self.distance = min(self.distance, (x.detach() - kink).abs().min().item())


def network(build, config, image, batch, gamma=1.0):
    """`build` makes the network that `config` describes to the test."""
    while True:
        net = build()
        x, targets = draw(batch, 3, image, image), torch.randint(config["classes"], (batch,))
        pairs = foldable_pairs(net, x)
        randomize(net, pairs, gamma)
        kink = Kink(net)
        initial = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        modes = {"train": run(net.train(), x, targets, "train")}
        modes["train"] |= {"new_" + name: stored(tensor) for name, tensor in net.named_buffers()}
        net.load_state_dict(initial)
        modes["eval"] = run(net.eval(), x, targets, "eval")
        undo = tune(pairs)
        check_equal(run(net, x, targets, "tune"), modes["eval"])
        undo()
        if hasattr(net, "deploy"):
            net.deploy()
        else:
            deploy(pairs)
        modes["deploy"] = run(net, x, targets, "deploy")
        if kink.distance > KINK:
            return {"config": config, "state": permuted_all(initial),
                    "tensors": {"x": permuted(x), "targets": stored(targets)}, "modes": modes}


def vgg():
    config = {"family": "vgg", "stages": [[4], [6, 6]], "grid": 2, "hidden": 8, "classes": 5}

    def build():
        net = VGG(make_layers([4, "M", 6, 6, "M"], batch_norm=True), config["classes"], False, 0)
        net.avgpool = nn.AdaptiveAvgPool2d(2)
        net.classifier[0], net.classifier[3] = nn.Linear(24, 8), nn.Linear(8, 8)
        net.classifier[6] = nn.Linear(8, config["classes"])
        return net
    return network(build, config, image=16, batch=2)


def mobilenet():
    # A wide gamma, so that rectifiers also meet their upper bound.
    config = {"family": "mobilenet", "stages": [[1, 8, 1, 1], [2, 8, 2, 2]], "first_channels": 8,
              "last_channels": 16, "classes": 5}

    def build():
        net = MobileNetV2(config["classes"], 0.25, config["stages"], dropout=0)
        net.features[-1] = Conv2dNormActivation(8, 16, kernel_size=1, activation_layer=nn.ReLU6)
        net.classifier[1] = nn.Linear(16, config["classes"])
        return net
    return network(build, config, image=12, batch=3, gamma=3.0)


def densenet():
    config = {"family": "densenet", "depths": [2, 1], "growth": 4, "bottleneck": 2,
              "first_channels": 6, "imagenet_stem": True, "classes": 5}

    def build():
        return DenseNet(4, (2, 1), 6, 2, num_classes=config["classes"])
    return network(build, config, image=14, batch=3)


def densenet_cifar():
    config = {"family": "densenet", "depths": [2, 2], "growth": 4, "bottleneck": 2,
              "first_channels": 6, "imagenet_stem": False, "classes": 5}

    def build():
        net = DenseNet(4, (2, 2), 6, 2, num_classes=config["classes"])
        net.features.conv0 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        del net.features.norm0, net.features.relu0, net.features.pool0
        return net
    return network(build, config, image=6, batch=3)


def pretend_trained(net):
    """Statistics far from 0 and 1, for a network in full size."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.25, 3)


# ---- RepVGG, arXiv 2101.03697, named as in its authors' release ----


class RepVGGBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.shape = (inputs, outputs, 3, stride, 1)
        self.relu = nn.ReLU()
        self.rbr_identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None
        for name, side in (("rbr_dense", 3), ("rbr_1x1", 1)):
            branch = nn.Sequential()
            branch.add_module("conv", nn.Conv2d(inputs, outputs, side, stride, side // 2,
                                                bias=False))
            branch.add_module("bn", nn.BatchNorm2d(outputs))
            self.add_module(name, branch)

    def forward(self, x):
        if hasattr(self, "rbr_reparam"):
            return self.relu(self.rbr_reparam(x))
        z = self.rbr_dense(x) + self.rbr_1x1(x)
        return self.relu(z if self.rbr_identity is None else z + self.rbr_identity(x))

    def deploy(self):
        """Measured, not derived: the branches are linear, so what they make of 0 is the bias, and
        of the images with one pixel, beyond that, the filter."""
        outputs, inputs = self.shape[1], self.shape[0]
        self.rbr_dense.conv.stride = self.rbr_1x1.conv.stride = (1, 1)
        images = torch.zeros(1 + inputs, inputs, 3, 3)
        for channel in range(inputs):
            images[1 + channel, channel, 1, 1] = 1
        branches = [self.rbr_dense, self.rbr_1x1] + [self.rbr_identity] * bool(self.rbr_identity)
        with torch.no_grad():
            seen = sum(branch.eval()(images) for branch in branches)
        bias = seen[0, :, 1, 1]
        weight = (seen[1:] - seen[:1]).flip(2, 3).transpose(0, 1)
        del self.rbr_dense, self.rbr_1x1, self.rbr_identity
        self.rbr_reparam = nn.Conv2d(*self.shape)
        assert weight.shape == self.rbr_reparam.weight.shape and bias.shape == (outputs,)
        self.rbr_reparam.weight = nn.Parameter(weight.contiguous())
        self.rbr_reparam.bias = nn.Parameter(bias.clone())


class RepVGG(nn.Module):
    def __init__(self, depths, channels, classes):
        super().__init__()
        width = min(64, channels[0])
        self.stage0 = RepVGGBlock(3, width, 2)
        for i, (depth, outputs) in enumerate(zip(depths, channels), 1):
            blocks = [RepVGGBlock(outputs if k else width, outputs, 1 if k else 2)
                      for k in range(depth)]
            self.add_module(f"stage{i}", nn.Sequential(*blocks))
            width = outputs
        self.linear = nn.Linear(width, classes)
        self.stages = len(depths)

    def forward(self, x):
        for i in range(self.stages + 1):
            x = getattr(self, f"stage{i}")(x)
        return self.linear(x.mean((2, 3)))

    def deploy(self):
        for block in [m for m in self.modules() if isinstance(m, RepVGGBlock)]:
            block.deploy()


def repvgg():
    config = {"family": "repvgg", "depths": [2, 1], "channels": [6, 8], "classes": 5}
    return network(lambda: RepVGG([2, 1], [6, 8], 5), config, image=10, batch=3)


# ---- Names, shapes and numbers of parameters of the networks in full size ----


def described(net, list_tensors):
    described = {"parameters": sum(p.numel() for p in net.parameters())}
    if list_tensors:
        described["tensors"] = [
            [name, list(tensor.permute(0, 2, 3, 1).shape if tensor.dim() == 4 else tensor.shape)]
            for name, tensor in net.state_dict().items()]
    return described


def state_dicts():
    """One network of each family with the names and shapes of its tensors, in order."""
    listed = {"resnext50_32x4d", "vgg11_bn", "mobilenet_v2", "densenet121", "repvgg_a0"}
    others = ["resnet34", "resnet101", "resnet152", "resnext101_32x8d", "wide_resnet50_2",
              "vgg13_bn", "vgg16_bn", "vgg19_bn", "densenet169", "densenet201"]
    repvggs = {"repvgg_a0": ([2, 4, 14, 1], [48, 96, 192, 1280]),
               "repvgg_a1": ([2, 4, 14, 1], [64, 128, 256, 1280]),
               "repvgg_a2": ([2, 4, 14, 1], [96, 192, 384, 1408]),
               "repvgg_b0": ([4, 6, 16, 1], [64, 128, 256, 1280]),
               "repvgg_b1": ([4, 6, 16, 1], [128, 256, 512, 2048])}
    with torch.device("meta"):
        networks = {name: torchvision.models.get_model(name, weights=None)
                    for name in sorted(listed - {"repvgg_a0"}) + others}
        networks |= {name: RepVGG(*shape, 1000) for name, shape in repvggs.items()}
        return {name: described(net, name in listed) for name, net in networks.items()}
