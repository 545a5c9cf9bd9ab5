"""Golden values of single operations: {"cases": [...]}, see README.md."""
import torch
import torch.nn.functional as F

from golden_layout import channel_parameters, draw, gradients, leaf, permuted, permuted_all, stored

EPS = 1e-5
MOMENTUM = 0.1


def pair(value):
    return list(value) if isinstance(value, tuple) else [value, value]


def geometry(stride=1, padding=0, dilation=1, groups=1):
    return {
        "stride": pair(stride),
        "padding": pair(padding),
        "dilation": pair(dilation),
        "groups": groups,
    }


# name, input [N, C, H, W], filters, kernel, geometry, with a bias
CONVOLUTIONS = [
    ("3x3", (2, 4, 6, 7), 6, (3, 3), geometry(padding=1), True),
    ("3x3, stride 2", (2, 4, 7, 8), 6, (3, 3), geometry(stride=2, padding=1), True),
    ("1x1", (3, 8, 4, 5), 4, (1, 1), geometry(), False),
    ("1x1, stride 2", (2, 6, 5, 6), 8, (1, 1), geometry(stride=2), True),
    ("3x3, dilation 2", (1, 3, 8, 9), 4, (3, 3), geometry(padding=2, dilation=2), True),
    ("groups", (2, 6, 5, 5), 9, (3, 3), geometry(padding=1, groups=3), True),
    ("depthwise", (2, 8, 6, 5), 8, (3, 3), geometry(padding=1, groups=8), False),
    ("depthwise, two filters a channel, stride 2", (1, 5, 7, 7), 10, (3, 3),
     geometry(stride=2, padding=1, groups=5), True),
    ("asymmetric in everything", (2, 3, 9, 11), 4, (3, 5),
     geometry(stride=(2, 1), padding=(1, 2), dilation=(1, 2)), True),
    ("5x5 without padding", (1, 3, 8, 7), 5, (5, 5), geometry(), False),
    ("7x7 stem", (1, 3, 14, 13), 4, (7, 7), geometry(stride=2, padding=3), True),
    ("groups, stride and dilation", (1, 4, 9, 10), 8, (2, 3),
     geometry(stride=(1, 2), padding=(1, 2), dilation=(2, 1), groups=2), True),
    ("one pixel", (4, 5, 1, 1), 3, (1, 1), geometry(), True),
]

# name, input [N, C, H, W], output channels, kernel, geometry, output padding, with a bias
TRANSPOSED_CONVOLUTIONS = [
    ("4x4, stride 2", (2, 4, 4, 5), 3, (4, 4), geometry(stride=2, padding=1), (0, 0), True),
    ("3x3, stride 2, output padding", (2, 3, 4, 3), 5, (3, 3), geometry(stride=2, padding=1),
     (1, 1), True),
    ("groups", (1, 4, 4, 4), 6, (3, 3), geometry(padding=1, groups=2), (0, 0), True),
    ("depthwise", (2, 4, 3, 4), 4, (3, 3), geometry(stride=2, padding=1, groups=4), (1, 0), False),
    ("dilation 2", (1, 3, 4, 4), 4, (3, 3), geometry(padding=2, dilation=2), (0, 0), True),
    ("asymmetric in everything", (1, 4, 3, 4), 6, (3, 2),
     geometry(stride=(3, 2), padding=(1, 0), dilation=(1, 2), groups=2), (2, 1), True),
]


def conv2d():
    cases = []
    for name, x_shape, filters, kernel, options, bias in CONVOLUTIONS:
        tensors = {
            "x": leaf(draw(*x_shape)),
            "weight": leaf(draw(filters, x_shape[1] // options["groups"], *kernel)),
        }
        if bias:
            tensors["bias"] = leaf(draw(filters))
        y = F.conv2d(tensors["x"], tensors["weight"], tensors.get("bias"), **options)
        seed = draw(*y.shape)
        results = permuted_all({**tensors, "y": y, "seed": seed}) | gradients(y, seed, tensors)
        cases.append({"name": name, "options": options, "tensors": results})
    return {"cases": cases}


def conv_transpose2d():
    cases = []
    for name, x_shape, channels, kernel, options, output_padding, bias in TRANSPOSED_CONVOLUTIONS:
        tensors = {
            "x": leaf(draw(*x_shape)),
            "weight": leaf(draw(x_shape[1], channels // options["groups"], *kernel)),
        }
        if bias:
            tensors["bias"] = leaf(draw(channels))
        y = F.conv_transpose2d(tensors["x"], tensors["weight"], tensors.get("bias"),
                               output_padding=output_padding, **options)
        seed = draw(*y.shape)
        results = permuted_all({**tensors, "y": y, "seed": seed}) | gradients(y, seed, tensors)
        options = options | {"output_padding": list(output_padding)}
        cases.append({"name": name, "options": options, "tensors": results})
    return {"cases": cases}


def batch_norm():
    cases = []
    for mode in ("train", "eval"):
        for name, affine, offset in (
            ("affine", True, 0.0),
            ("without gamma and beta", False, 0.0),
            ("mean far above sigma", True, 1000.0),
        ):
            channels = 5
            x = leaf(draw(3, channels, 4, 3) + offset)
            gamma, beta, mean, var = channel_parameters(channels)
            mean = mean + offset
            inputs = {"x": x}
            if affine:
                inputs |= {"gamma": leaf(gamma), "beta": leaf(beta)}
            given = permuted_all({**inputs, "running_mean": mean, "running_var": var})
            z = F.batch_norm(x, mean, var, inputs.get("gamma"), inputs.get("beta"),
                             mode == "train", MOMENTUM, EPS)  # in train: changes mean and var
            seed = draw(*z.shape)
            results = permuted_all({"z": z, "seed": seed, "new_running_mean": mean,
                                    "new_running_var": var})
            cases.append({"name": f"{mode}, {name}", "mode": mode, "eps": EPS, "momentum": MOMENTUM,
                          "condition": max(1, offset / 100),
                          "tensors": given | results | gradients(z, seed, inputs)})
    return {"cases": cases}


class Block:
    """One ConvBN: its tensors, and the four modes in PyTorch's words."""

    def __init__(self, x_shape, channels, kernel, options, bias, transposed):
        self.options, self.transposed = options, transposed
        groups = options["groups"]
        shape = ((x_shape[1], channels // groups) if transposed
                 else (channels, x_shape[1] // groups))
        gamma, beta, self.mean, self.var = channel_parameters(channels)
        self.inputs = {"x": leaf(draw(*x_shape)), "weight": leaf(draw(*shape, *kernel)),
                       "gamma": leaf(gamma), "beta": leaf(beta)}
        if bias:
            self.inputs["bias"] = leaf(draw(channels))

    def convolve(self, weight, bias):
        function = F.conv_transpose2d if self.transposed else F.conv2d
        return function(self.inputs["x"], weight, bias, **self.options)

    def scaled(self, weight, scale):
        """s * w, per output channel. A transposed filter [in, out/groups, kh, kw] finds the output
        channels of input channel i's group in its second axis."""
        if not self.transposed:
            return weight * scale.reshape(-1, 1, 1, 1)
        groups = self.options["groups"]
        per_input = scale.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, dim=0)
        return weight * per_input.unsqueeze(-1).unsqueeze(-1)

    def fold(self):
        i = self.inputs
        scale = i["gamma"] / torch.sqrt(self.var + EPS)
        return self.scaled(i["weight"], scale), (i.get("bias", 0) - self.mean) * scale + i["beta"]

    def run(self, mode):
        """The output, the tensors that gradients reach, and the running statistics after."""
        i, mean, var = self.inputs, self.mean.clone(), self.var.clone()
        if mode == "deploy":
            weight, bias = (leaf(t.detach()) for t in self.fold())
            inputs = {"x": i["x"], "folded_weight": weight, "folded_bias": bias}
            return self.convolve(weight, bias), inputs, mean, var
        if mode == "tune":
            return self.convolve(*self.fold()), i, mean, var
        y = self.convolve(i["weight"], i.get("bias"))
        z = F.batch_norm(y, mean, var, i["gamma"], i["beta"], mode == "train", MOMENTUM, EPS)
        return z, i, mean, var


# name, x [N, C, H, W], output channels, kernel, geometry, bias, residual and ReLU, transposed
BLOCKS = [
    ("3x3", (2, 3, 5, 6), 5, (3, 3), geometry(padding=1), False, False, False),
    ("3x3 with a bias, stride 2", (2, 3, 6, 7), 5, (3, 3), geometry(stride=2, padding=1), True,
     False, False),
    ("residual and ReLU", (2, 4, 4, 5), 5, (3, 3), geometry(padding=1), True, True, False),
    ("groups, dilation", (1, 4, 7, 7), 6, (3, 3), geometry(padding=2, dilation=2, groups=2), True,
     False, False),
    ("depthwise", (2, 5, 5, 4), 5, (3, 3), geometry(padding=1, groups=5), False, True, False),
    ("1x1", (3, 6, 3, 4), 4, (1, 1), geometry(), False, False, False),
    ("transposed, groups", (2, 4, 4, 3), 6, (3, 3), geometry(stride=2, padding=1, groups=2), True,
     False, True),
]


def conv_bn():
    cases = []
    for name, x_shape, channels, kernel, options, bias, epilogue, transposed in BLOCKS:
        block = Block(x_shape, channels, kernel, options, bias, transposed)
        given = {**block.inputs, "running_mean": block.mean, "running_var": block.var}
        modes = {}
        for mode in ("train", "eval", "tune", "deploy"):
            z, inputs, mean, var = block.run(mode)
            if mode == "train":
                given["seed"] = seed = draw(*z.shape)
                residual = leaf(draw(*z.shape))
                if epilogue:
                    given["residual"] = residual
            if epilogue:
                inputs = inputs | {"residual": residual}
                z = torch.relu(z + residual)
            results = permuted_all({"z": z}) | gradients(z, seed, inputs)
            if mode == "train":
                results |= {"new_running_mean": stored(mean), "new_running_var": stored(var)}
            if mode == "deploy":
                results |= {key: permuted(inputs[key]) for key in ("folded_weight", "folded_bias")}
            modes[mode] = results
        settings = options | {"eps": EPS, "momentum": MOMENTUM, "relu": epilogue,
                              "transposed": transposed}
        cases.append({"name": name, "options": settings, "tensors": permuted_all(given),
                      "modes": modes})
    return {"cases": cases}


def cross_entropy():
    cases = []
    for rows, classes, smoothing, scale in ((6, 5, 0.0, 1), (6, 5, 0.1, 1), (3, 10, 0.25, 40)):
        logits = leaf(draw(rows, classes, low=-3, high=3) * scale)
        targets = torch.randint(classes, (rows,))
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        results = {"logits": stored(logits), "targets": stored(targets), "loss": stored(loss),
                   "grad_logits": stored(torch.autograd.grad(loss, logits)[0])}
        cases.append({"name": f"{classes} classes, smoothing {smoothing}, logits times {scale}",
                      "smoothing": smoothing, "tensors": results})
    return {"cases": cases}


def pool():
    cases = []
    windows = [((3, 3), (2, 2), (1, 1)), ((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 0))]
    for kind in ("max", "average"):
        for kernel, stride, padding in windows:
            shape = (2, 3, 7, 6)
            # No two elements are equal, so that the maximum is never a matter of taste.
            x = leaf((torch.randperm(2 * 3 * 7 * 6) - 126).reshape(shape) / 64.0)
            function = F.max_pool2d if kind == "max" else F.avg_pool2d
            y = function(x, kernel, stride, padding)
            seed = draw(*y.shape)
            cases.append({"name": f"{kind} {kernel}, stride {stride}", "kind": kind,
                          "kernel": list(kernel), "stride": list(stride), "padding": list(padding),
                          "tensors": permuted_all({"x": x, "y": y, "seed": seed})
                          | gradients(y, seed, {"x": x})})
    x = leaf(draw(2, 5, 3, 4))
    y = x.mean((2, 3))
    seed = draw(*y.shape)
    cases.append({"name": "global average", "kind": "global",
                  "tensors": permuted_all({"x": x, "y": y, "seed": seed})
                  | gradients(y, seed, {"x": x})})
    return {"cases": cases}
