#!/usr/bin/env python3
"""Writes the golden files of this folder: what PyTorch computes, for our tests to compare with.

usage: make_golden.py [--only NAME] [--out DIR]

Needs torch, torchvision and safetensors (made with 2.15, 0.29 and 0.8 on a CPU; any 2.x gives the
same up to about 1e-14). Everything is computed in float64 on one thread from fixed seeds. Inputs
are multiples of 1/64, which are exact in float32 too; results are written with 15 significant
digits. Tensors in JSON are stored in attune's layout (README.md), so nothing but this script knows
PyTorch's; those in .safetensors files are PyTorch's own.
"""
import argparse
import json
import pathlib

import torch

import golden_files
import golden_models
import golden_networks
import golden_ops
import golden_optim

FILES = {
    "conv2d": golden_ops.conv2d,
    "conv_transpose2d": golden_ops.conv_transpose2d,
    "batch_norm": golden_ops.batch_norm,
    "conv_bn": golden_ops.conv_bn,
    "cross_entropy": golden_ops.cross_entropy,
    "pool": golden_ops.pool,
    "optimizers": golden_optim.optimizers,
    "schedules": golden_optim.schedules,
    "clip_grad": golden_optim.clip_grad,
    "resnet_cifar": golden_networks.resnet_cifar,
    "resnet_bottleneck": golden_networks.resnet_bottleneck,
    "resnext": golden_networks.resnext,
    "vgg": golden_models.vgg,
    "mobilenet": golden_models.mobilenet,
    "repvgg": golden_models.repvgg,
    "densenet": golden_models.densenet,
    "densenet_cifar": golden_models.densenet_cifar,
    "state_dicts": golden_models.state_dicts,
}
# These write <name>.safetensors to a folder, and return what belongs in <name>.json, if anything.
WEIGHTS = {
    "torchvision_resnet18": golden_files.torchvision,
    "data_parallel_resnet20": golden_files.data_parallel,
    "dtypes": golden_files.dtypes,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=FILES | WEIGHTS, help="write this file alone")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Each list begins at a seed of its own: what is added to one changes no file of the other.
    seeds = [*range(1000, 1000 + len(FILES)), *range(1011, 1011 + len(WEIGHTS))]
    for seed, (name, make) in zip(seeds, (FILES | WEIGHTS).items()):
        if arguments.only not in (None, name):
            continue
        torch.manual_seed(seed)
        values = make(arguments.out) if name in WEIGHTS else make()
        if values is None:
            continue
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        (arguments.out / f"{name}.json").write_text(text + "\n")
        print(f"{name}.json: {len(text)} bytes")


if __name__ == "__main__":
    main()
