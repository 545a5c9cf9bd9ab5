#!/usr/bin/env python3
"""bench_kernels's peer: single convolutions in PyTorch, which on a CPU are oneDNN's.

usage: torch_conv2d.py [--seconds S] [--layouts nhwc,nchw] [--threads N] < SHAPES

SHAPES has a line for each convolution, as bench_kernels labels them: "n=128 h=32 w=32 c=16 k=16
r=3 s=3 stride=1 pad=1 groups=1". Prints a JSON object a line: {"shape", "pass", "layout", "ms"}
and, first, {"peer"}. Forward is conv2d; the gradients are convolution_backward, asked for one of
them alone.
"""
import argparse
import json
import sys

import torch_peer

if __name__ == "__main__":
    torch_peer.tune_malloc()

import torch

LAYOUTS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}


def passes(shape, layout):
    """Yields (name, function) for each pass of the convolution."""
    n, h, w, c, k, r, s, stride, pad, groups = shape
    x, weight = (
        torch.randn(*size).to(memory_format=LAYOUTS[layout])
        for size in ((n, c, h, w), (k, c // groups, r, s))
    )

    def forward():
        return torch.nn.functional.conv2d(x, weight, None, stride, pad, 1, groups)

    dy = torch.randn_like(forward())

    def backward(wants_input, wants_weight):
        return torch.ops.aten.convolution_backward(
            dy, x, weight, None, [stride, stride], [pad, pad], [1, 1], False, [0, 0], groups,
            [wants_input, wants_weight, False],
        )

    yield "forward", forward
    yield "backward_input", lambda: backward(True, False)
    yield "backward_weight", lambda: backward(False, True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.1, help="for each measurement")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    arguments = parser.parse_args()

    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(json.dumps({"peer": f"torch {torch.__version__}"}))
    for line in sys.stdin.read().splitlines():
        shape = [int(item.split("=")[1]) for item in line.split()]
        for layout in arguments.layouts.split(","):
            with torch.no_grad():
                for name, call in passes(shape, layout):
                    ms = torch_peer.median_time(call, arguments.seconds)
                    result = {"shape": line, "pass": name, "layout": layout, "ms": ms}
                    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
