#!/usr/bin/env python3
"""Has `train_resnet` start from files of PyTorch and write its own, after steps that are too small
to change a float: PyTorch then loads them with strict=True, and every tensor has the bits it had.

usage: check_weights.py TRAIN_RESNET        (the program, such as build/release/examples/train_resnet)

Needs torch, torchvision and safetensors (made with 2.15, 0.29 and 0.8). Weights are random, and
statistics far from 0 and 1.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file

import golden_files
import golden_models

CLASSES = 4
OPTIONS = ("--mode eval --epochs 1 --batch-size 4 --lr 1e-300 --momentum 0 "
           "--weight-decay 0 --progress off").split()
TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d",
               "wide_resnet50_2", "mobilenet_v2", "vgg11_bn", "densenet121"]


def cases():
    """Name, options of the program, network."""
    for shortcut in "AB":
        net = golden_files.ResNet([3, 3, 3], 16, False, shortcut, "fc", CLASSES)
        yield "resnet20", ["--shortcut", shortcut], net.float()
    for name in TORCHVISION:
        yield name, [], getattr(torchvision.models, name)(num_classes=CLASSES)
    repvgg = golden_models.RepVGG([2, 4, 14, 1], [48, 96, 192, 1280], CLASSES)
    yield "repvgg_a0", [], repvgg.float()


def write_images(folder):
    """A picture of each class to train on, and one to test on, in PPM."""
    for split in ("train", "test"):
        for label in range(CLASSES):
            path = folder / split / str(label) / "1.ppm"
            path.parent.mkdir(parents=True)
            pixels = torch.randint(256, (64 * 64 * 3,), dtype=torch.uint8)
            path.write_bytes(b"P6 64 64 255\n" + bytes(pixels.tolist()))


def check(program, folder, name, options, net):
    golden_models.pretend_trained(net)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    weights = folder / "w.safetensors"
    save_file(before, weights)
    subprocess.run([program, "--net", name, *options, *OPTIONS, "--init", weights,
                    "--data", folder / "images", "--out", folder],
                   check=True, stdout=subprocess.DEVNULL)
    for parameter in net.state_dict().values():
        parameter.zero_()
    net.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
    after = net.state_dict()
    wrong = [key for key, tensor in before.items() if not torch.equal(tensor, after[key])]
    print(f"{' '.join([name, *options])}: {len(before)} tensors, "
          f"{'all alike' if not wrong else 'WRONG: ' + ', '.join(wrong)}", flush=True)
    return not wrong


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_images(folder / "images")
        results = [check(sys.argv[1], folder, *case) for case in cases()]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
