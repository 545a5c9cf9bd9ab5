"""Tables of measurements in Markdown, and their places in a document."""
import statistics

PASSES = {
    "forward": "Forward",
    "backward_input": "Gradient of the input",
    "backward_weight": "Gradient of the filter",
}


def replace_block(document, name, body):
    """`document` with `body` between the markers of block `name`."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if document.count(begin) != 1 or document.count(end) != 1:
        raise ValueError(f"the document needs exactly one '{begin}' and one '{end}'")
    before, rest = document.split(begin)
    if end not in rest:
        raise ValueError(f"'{end}' comes before '{begin}'")
    return f"{before}{begin}\n{body.strip()}\n{end}{rest.split(end)[1]}"


def table(columns, rows):
    """Columns whose title begins with ':' are text; numbers are aligned to the right."""
    titles = " | ".join(title.lstrip(":") for title in columns)
    rules = "|".join("---" if title.startswith(":") else "---:" for title in columns)
    lines = [f"| {titles} |", f"|{rules}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def milliseconds(values):
    ms = statistics.median(values)
    return f"{ms:.3f}" if ms < 1 else f"{ms:.2f}" if ms < 10 else f"{ms:.1f}"


def ratio(theirs, ours):
    """How many times as long they take as we do; the range is that of single rounds."""
    text = f"{statistics.median(theirs) / statistics.median(ours):.2f}"
    if len(ours) > 1:
        rounds = [their / our for their, our in zip(theirs, ours)]
        text += f" ({min(rounds):.2f} to {max(rounds):.2f})"
    return text


class Series:
    """What one program printed in all rounds about one configuration."""

    def __init__(self):
        self.lines = []

    def values(self, key):
        return [line[key] for line in self.lines]

    def median(self, key):
        return statistics.median(self.values(key))

    def last(self, key):
        return self.lines[-1][key]


def series_by(lines, *keys):
    """The lines as a Series for each combination of values of `keys`."""
    result = {}
    for line in lines:
        result.setdefault(tuple(line[key] for key in keys), Series()).lines.append(line)
    return result


def fastest(lines, mode):
    """PyTorch's best layout and runtime in `mode`."""
    candidates = series_by((l for l in lines if l["mode"] == mode), "layout", "runtime")
    return min(candidates.values(), key=lambda series: series.median("ms"))


def configuration(series):
    runtime = series.last("runtime")
    return series.last("layout").upper() + ("" if runtime == "eager" else f", {runtime}")


def steps_table(ours, theirs):
    columns = [":mode", "attune, ms"]
    if theirs:
        columns += ["PyTorch, ms", ":its layout", "PyTorch / attune"]
    columns += ["saved bytes"] + ["PyTorch's"] * bool(theirs)
    on_gpu = ours[0]["device"] != "cpu"
    columns += ["peak bytes" if on_gpu else "page faults"] + ["PyTorch's"] * bool(theirs)

    def peak_or_faults(series):
        if on_gpu:
            return f"{series.last('peak_bytes_above_start'):,}"
        return f"{series.median('page_faults'):.0f}"

    rows = []
    for (mode,), our in series_by(ours, "mode").items():
        row = [mode.capitalize(), milliseconds(our.values("ms"))]
        saved, others = [f"{our.last('saved_bytes'):,}"], [peak_or_faults(our)]
        if theirs:
            peer = fastest(theirs, mode)
            row += [milliseconds(peer.values("ms")), configuration(peer)]
            row += [ratio(peer.values("ms"), our.values("ms"))]
            saved += [f"{peer.last('saved_bytes'):,}"]
            others += [peak_or_faults(peer)]
        rows.append(row + saved + others)
    return table(columns, rows)


def inference_table(cases):
    """`cases` are (ours, theirs) for each batch and number of threads."""
    columns = ["images", "threads", "attune, ms"]
    if any(theirs for _, theirs in cases):
        columns += ["PyTorch, ms", ":its layout, runtime", "PyTorch / attune"]
    rows = []
    for ours, theirs in cases:
        (our,) = series_by(ours, "mode").values()
        row = [str(our.last("batch")), str(our.last("threads")), milliseconds(our.values("ms"))]
        if theirs:
            peer = fastest(theirs, "deploy")
            row += [milliseconds(peer.values("ms")), configuration(peer)]
            row += [ratio(peer.values("ms"), our.values("ms"))]
        rows.append(row)
    return table(columns, rows)


def gigaflops(shape):
    """Of a direct convolution; `shape` is a label of bench_kernels."""
    d = {key: int(value) for key, value in (item.split("=") for item in shape.split())}
    p = (d["h"] + 2 * d["pad"] - d["r"]) // d["stride"] + 1
    q = (d["w"] + 2 * d["pad"] - d["s"]) // d["stride"] + 1
    return 2e-9 * d["n"] * p * q * d["k"] * d["r"] * d["s"] * d["c"] / d["groups"]


def convolutions_table(ours, theirs):
    """Gflop/s of each layer, a table for each pass.

    Lines of `ours` have name ("conv2d_<pass>/<layer>/<algorithm>"), shape and gf, those of
    `theirs` pass, layout, shape and ms.
    """
    speeds, shapes = {}, {}
    for (name, shape), series in series_by(ours, "name", "shape").items():
        kind, layer, algorithm = name.split("/")
        speeds[kind.removeprefix("conv2d_"), layer, algorithm] = series.median("gf")
        shapes.setdefault(layer, shape)
    peers = {}
    for (kind, shape, _), series in series_by(theirs, "pass", "shape", "layout").items():
        speed = gigaflops(shape) / (1e-3 * series.median("ms"))
        peers[kind, shape] = max(speed, peers.get((kind, shape), 0))

    columns = [":layer", "batch", "attune", "direct", "Winograd"]
    columns += ["oneDNN", "attune / oneDNN"] if peers else []
    parts = []
    for kind, title in PASSES.items():
        rows = []
        for layer, shape in shapes.items():
            direct = speeds.get((kind, layer, "direct"))
            if direct is None:
                continue
            chosen = speeds.get((kind, layer, "automatic"), direct)
            winograd = speeds.get((kind, layer, "winograd"))
            batch = shape.split()[0].removeprefix("n=")
            row = [layer.replace("_", " "), batch, f"{chosen:.0f}"]
            row += [f"{direct:.0f}", f"{winograd:.0f}"] if winograd else ["", ""]
            if peers:
                peer = peers[kind, shape]
                row += [f"{peer:.0f}", f"{chosen / peer:.2f}"]
            rows.append(row)
        if rows:
            parts.append(f"**{title}**\n\n{table(columns, rows)}")
    return "\n\n".join(parts)
