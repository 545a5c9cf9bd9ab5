#!/usr/bin/env python3
"""Measures training steps on a GPU, attune beside PyTorch, and compares them with the goals.

usage: benchmarks/gpu.py [--only NAME...] [--device cuda[:N]] [--precision fp32|tf32] [--rounds N]
                         [--python PATH] [--build DIR] [--json FILE] [--quick]

As run.py does, the programs take turns, and figures are medians over the rounds. PATH is a Python
that has torch with CUDA; without one, attune is measured alone. Prints Markdown; FILE gets what the
programs printed. A case that cannot be measured is reported, and the next one goes on. --quick
takes a moment, for a GPU that is emulated.
"""
import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
from typing import NamedTuple

import report
from run import ROOT, Failure, Runner, json_lines, run


class Goal(NamedTuple):
    """PyTorch's time in mode `theirs` by ours in `ours` is to be at least `ratio`."""

    ours: str
    theirs: str
    ratio: float


class Case(NamedTuple):
    net: str
    batch: int
    size: int
    steps: int  # in a round
    goals: tuple
    graph: bool = False  # the whole step as a CUDA graph, if bench_step can


RESNET50_GOALS = (Goal("train", "train", 1.0), Goal("tune", "eval", 1.5))
CASES = {
    "resnet50-64": Case("resnet50", 64, 224, 10, RESNET50_GOALS),
    "resnet50-256": Case("resnet50", 256, 224, 5, RESNET50_GOALS),
    "resnet20-128": Case("resnet20", 128, 32, 50, (Goal("tune", "tune", 3.0),), graph=True),
    "resnet18-128": Case(
        "resnet18", 128, 32, 20, (Goal("tune", "tune", 1.5), Goal("train", "train", 1.0))
    ),
}
QUICK = {"resnet20-2": Case("resnet20", 2, 32, 1, ())}


def measure(runner, case, options):
    """What our program and its peer print, a list of each."""
    common = ["--net", case.net, "--batch", case.batch, "--size", case.size, "--rounds", 1]
    common += ["--steps", case.steps, "--device", options.device, "--precision", options.precision]
    bench = runner.build / "bench_step"
    ours = [bench, "--json", *common]
    if case.graph and "--cuda-graph" in run([bench, "--help"]):
        ours.append("--cuda-graph")
    peer = [options.python, ROOT / "benchmarks/torch_step.py", "--layouts", "nhwc", *common]
    title = f"{case.net}, {case.batch} of {case.size} x {case.size}"
    return runner.interleave(
        title, lambda: json_lines(run(ours)), lambda: json_lines(run(peer))
    )


def median_ms(lines, mode):
    return statistics.median(line["ms"] for line in lines if line["mode"] == mode)


def judge(goal, ours, theirs):
    """The goal as a sentence, or nothing if PyTorch was not measured."""
    if not theirs:
        return ""
    found = median_ms(theirs, goal.theirs) / median_ms(ours, goal.ours)
    verdict = "reached" if found >= goal.ratio else "not reached"
    return (
        f"PyTorch's {goal.theirs.capitalize()} / our {goal.ours.capitalize()}: {found:.2f}, "
        f"goal {goal.ratio:.1f}: {verdict}."
    )


def gpu_name():
    """As the driver has it."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "no GPU that nvidia-smi knows"
    return "; ".join(done.stdout.strip().splitlines())


def section(name, case, ours, theirs, options):
    rounds = "one round" if options.rounds == 1 else f"{options.rounds} rounds"
    peer = f", {theirs[0]['peer']}" if theirs else ""
    provenance = (
        f"{datetime.date.today()}, {gpu_name()}; {options.precision}; "
        f"{ours[0]['peer']}{peer}; {rounds} of {case.steps} steps."
    )
    title = f"### {name}: {case.batch} images of {case.size} x {case.size}"
    goals = [sentence for goal in case.goals if (sentence := judge(goal, ours, theirs))]
    return "\n\n".join([title, report.steps_table(ours, theirs), *goals, provenance])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("fp32", "tf32"), default="tf32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cuda")
    parser.add_argument("--json", type=pathlib.Path, help="what was measured")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.threads = 0
    if options.quick:
        options.rounds = 1

    runner = Runner(options, "import torch; torch.zeros(1, device='cuda')")
    cases = QUICK if options.quick else {name: CASES[name] for name in options.only or CASES}
    results, failures = {}, []
    for name, case in cases.items():
        try:
            ours, theirs = measure(runner, case, options)
        except Failure as failure:
            print(f"### {name}\n\n{failure}", end="\n\n", flush=True)
            failures.append(name)
            continue
        results[name] = {"attune": ours, "torch": theirs}
        print(section(name, case, ours, theirs, options), end="\n\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if failures:
        raise Failure(f"could not measure {', '.join(failures)}")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"gpu.py: {failure}")
