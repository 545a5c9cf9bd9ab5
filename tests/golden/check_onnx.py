#!/usr/bin/env python3
"""Has `deploy` write ONNX models of networks of PyTorch, runs them with onnxruntime, and compares
their logits with PyTorch's: those of the network before it was folded, in Eval mode.

usage: check_onnx.py DEPLOY        (the program, such as build/release/examples/deploy)

Needs torch, torchvision, safetensors, onnx and onnxruntime (made with 2.15, 0.29, 0.8, 1.23 and
1.32). Weights are random, and statistics far from 0 and 1.
"""
import pathlib
import subprocess
import sys
import tempfile

import onnx
import onnxruntime
import torch
import torchvision
from safetensors.torch import save_file

import golden_files
import golden_models

TOLERANCE = 2e-5  # of the largest logit


def cifar_resnet20(shortcut):
    return golden_files.ResNet([3, 3, 3], 16, False, shortcut, "linear", 10).float()


def repvgg_a0():
    return golden_models.RepVGG([2, 4, 14, 1], [48, 96, 192, 1280], 1000)


# Name, options of the program, network, side of its images.
CASES = [
    ("resnet20", ["--shortcut", "A"], lambda: cifar_resnet20("A"), 32),
    ("resnet20", [], lambda: cifar_resnet20("B"), 32),
    ("resnet18", [], torchvision.models.resnet18, 224),
    ("resnet50", [], torchvision.models.resnet50, 224),
    ("resnext50_32x4d", [], torchvision.models.resnext50_32x4d, 224),
    ("mobilenet_v2", [], torchvision.models.mobilenet_v2, 224),
    ("vgg11_bn", [], torchvision.models.vgg11_bn, 224),
    ("densenet121", [], torchvision.models.densenet121, 224),
    ("repvgg_a0", [], repvgg_a0, 224),
]


def check(deploy, folder, name, options, build, side):
    torch.manual_seed(1)
    net = build().eval()
    golden_models.pretend_trained(net)
    weights, model = folder / "w.safetensors", folder / "m.onnx"
    save_file(net.state_dict(), weights)
    subprocess.run([deploy, "--net", name, *options, "--init", weights, "--onnx", model],
                   check=True, stdout=subprocess.DEVNULL)
    onnx.checker.check_model(str(model), full_check=True)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    error = 0.0
    for batch in (1, 3):
        x = torch.randn(batch, 3, side, side)
        with torch.no_grad():
            wanted = net(x)
        found = torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])
        error = max(error, ((found - wanted).abs().max() / wanted.abs().max()).item())
    good = error <= TOLERANCE
    print(f"{name} {' '.join(options)}: logits differ by {error:.1e} of the largest: "
          f"{'good' if good else 'WRONG'}", flush=True)
    return good


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        results = [check(sys.argv[1], pathlib.Path(folder), *case) for case in CASES]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
