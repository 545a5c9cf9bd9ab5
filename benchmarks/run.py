#!/usr/bin/env python3
"""Measures attune beside PyTorch and writes the tables of docs/benchmarks.md.

usage: benchmarks/run.py [--only NAME...] [--rounds N] [--python PATH] [--quick]

In each round every program has its turn, once and briefly, in alternating order, so that whatever
else the machine does meets all of them; figures are medians over the rounds. --quick takes small
batches for a moment each, to see that everything works, and prints the tables instead of writing
them. PATH is a Python that has torch; without one, attune is measured alone. Build preset release
first.
"""
import argparse
import datetime
import json
import os
import pathlib
import shlex
import subprocess
import sys
from typing import NamedTuple

import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"


class Network(NamedTuple):
    batch: int
    size: int
    steps: int  # in a round


NETWORKS = {
    "resnet20": Network(batch=128, size=32, steps=6),
    "resnet18": Network(batch=8, size=224, steps=3),
    "resnet50": Network(batch=8, size=224, steps=2),
}
NAMES = (*NETWORKS, "inference", "convolutions")
INFERENCE = ((128, "all"), (1, "all"), (1, 1))  # images, threads


class Failure(Exception):
    """Something that the user can do something about."""


def run(command, text=None):
    """What `command` prints."""
    done = subprocess.run(
        [str(word) for word in command], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = shlex.join(str(word) for word in command)
        raise Failure(f"failed: {words}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def json_lines(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


class Runner:
    """Runs the programs as the options say."""

    def __init__(self, options, torch_check="import torch"):
        self.options = options
        self.rounds = 1 if options.quick else options.rounds
        self.threads = options.threads or len(os.sched_getaffinity(0))
        self.build = options.build / "benchmarks"
        if not (self.build / "bench_step").exists():
            raise Failure(
                f"{self.build} has no bench_step: cmake --workflow --preset release, or --build"
            )
        self.has_torch = self.find_torch(torch_check)

    def find_torch(self, check):
        """Whether the interpreter has a torch that passes the statement `check`."""
        command = [self.options.python, "-c", check]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return True
        print(
            f"{self.options.python} has no torch for this ('{check}' fails), so attune is "
            "measured alone; --python names another",
            file=sys.stderr,
        )
        return False

    def interleave(self, title, ours, theirs):
        """Calls both functions once a round; returns what each returned, rounds in a row."""
        lines = {ours: [], theirs: []}
        turns = [ours] + [theirs] * self.has_torch
        for i in range(self.rounds):
            print(f"{title}: round {i + 1} of {self.rounds}", file=sys.stderr)
            for turn in turns if i % 2 == 0 else reversed(turns):
                lines[turn] += turn()
        return lines[ours], lines[theirs]

    def networks(self, title, *arguments, threads):
        """Lines of bench_step and of torch_step.py, which share these arguments."""
        common = [*arguments, "--threads", threads, "--rounds", 1]
        peer = [self.options.python, HERE / "torch_step.py", *common]
        peer += ["--layouts", self.options.layouts] + ["--compile"] * self.options.compile
        return self.interleave(
            title,
            lambda: json_lines(run([self.build / "bench_step", "--json", *common])),
            lambda: json_lines(run(peer)),
        )

    def steps(self, name):
        network = NETWORKS[name]
        batch, steps = (2, 1) if self.options.quick else (network.batch, network.steps)
        ours, theirs = self.networks(
            name,
            *("--net", name, "--batch", batch, "--size", network.size, "--steps", steps),
            threads=self.threads,
        )
        return report.steps_table(ours, theirs) + self.provenance(ours[0], theirs)

    def inference(self):
        cases = []
        pairs = [(batch, self.threads if n == "all" else n) for batch, n in INFERENCE]
        for batch, threads in dict.fromkeys(pairs):  # once, where all threads are one
            steps = 3 if self.options.quick else max(10, 200 // batch)
            what = ("--what", "inference", "--modes", "deploy", "--batch", batch, "--steps", steps)
            cases.append(self.networks(f"inference of {batch}", *what, threads=threads))
        ours, theirs = cases[0]
        return report.inference_table(cases) + self.provenance(ours[0], theirs)

    def convolutions(self):
        seconds = 0.01 if self.options.quick else 0.1
        layers = "^conv2d_.*@8/" if self.options.quick else "^conv2d_"
        kernels = [self.build / "bench_kernels", "--threads", self.threads]
        kernels += [f"--benchmark_filter={layers}", "--benchmark_format=json"]
        kernels += [f"--benchmark_min_time={seconds}"]
        peer = [self.options.python, HERE / "torch_conv2d.py", "--seconds", seconds]
        peer += ["--threads", self.threads, "--layouts", self.options.layouts]
        context, shapes = {}, {}

        def ours():
            output = json.loads(run(kernels))
            context.update(output["context"])
            lines = []
            for result in output["benchmarks"]:
                name = result["name"].removesuffix("/real_time")
                lines.append({"name": name, "shape": result["label"], "gf": result["GF"]})
                shapes[result["label"]] = True
            return lines

        def theirs():
            return json_lines(run(peer, text="\n".join(shapes)))

        our_lines, their_lines = self.interleave("convolutions", ours, theirs)
        context["peer"] = f"attune {context['attune']}"
        measured = [line for line in their_lines if "pass" in line]
        return report.convolutions_table(our_lines, measured) + self.provenance(
            context, their_lines
        )

    def provenance(self, ours, theirs):
        """When, where and how a table was measured."""
        rounds = "one round" if self.rounds == 1 else f"{self.rounds} rounds"
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        versions = f"{ours['peer']} ({ours['compiler']}, {ours['isa']})"
        if theirs:
            versions += f", {theirs[0]['peer']}"
        return (
            f"\n\n{datetime.date.today()}, {threads} on {cpu_model()}; {versions}; "
            f"{rounds}: `{command_line()}`"
        )

    def measure(self, name):
        if name in NETWORKS:
            return self.steps(name)
        return self.inference() if name == "inference" else self.convolutions()


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return os.uname().machine


def command_line():
    """This command, without the directories of whoever runs it."""
    words = []
    for word in sys.argv[1:]:
        option, equals, value = word.rpartition("=")
        words.append(option + equals + pathlib.Path(value).name)
    return " ".join(["benchmarks/run.py", *words])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--layouts", default="nhwc,nchw", help="of PyTorch; the best one counts")
    parser.add_argument("--compile", action="store_true", help="try torch.compile as well")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--document", type=pathlib.Path, default=ROOT / "docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    runner = Runner(options)
    for name in options.only or NAMES:
        body = runner.measure(name)
        if options.quick:
            print(f"{name}\n\n{body}\n")
        else:
            document = options.document.read_text(encoding="utf-8")
            options.document.write_text(
                report.replace_block(document, name, body), encoding="utf-8"
            )


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"run.py: {failure}")
