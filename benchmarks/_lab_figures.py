"""lab/results -> the figures of docs/lab, each once its rows are measured."""

from __future__ import annotations

from _lab_tables import discrete_rows, search_rows
from noisesearch.lab import scaling, toy


def draw(tables, folder):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    def plain_numbers(axis, ticks):
        """A logarithmic axis that says 20, not 2 x 10^1."""
        axis.set_yscale("log")
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)

    def save(figure, name):
        figure.tight_layout()
        figure.savefig(folder / f"{name}.jpg", dpi=90)
        plt.close(figure)

    matched = discrete_rows(tables, toy.MATCHED)
    if len(matched) == 9:
        figure, axis = plt.subplots(figsize=(7, 4))
        plain = discrete_rows(tables, "discrete")
        for what, colour in (("one step", "tab:blue"), ("two steps", "tab:orange")):
            for rows, style, name in ((plain, ":", "plain"), (matched, "-", "angles and tangent as sCD")):
                own = sorted((n, r[what]) for n, r in rows.items() if what in r)
                axis.plot(*zip(*own), marker="o", ls=style, color=colour, label=f"discrete, {name}, {what}")
            if what in tables["toy"].get("sCD, all on", {}):
                level = tables["toy"]["sCD, all on"][what]
                axis.axhline(level, ls="--", color=colour, label=f"continuous (sCD), {what}")
        axis.set(xscale="log", xlabel="N, levels of discrete time", ylabel="sliced Wasserstein distance")
        plain_numbers(axis, (0.05, 0.1, 0.2, 0.5))
        axis.set_ylim(0.05, 1.5)
        axis.legend(fontsize=7, ncol=2, loc="upper left")
        save(figure, "discrete_against_continuous")
    cells = [r for n, r in tables["widths"].items() if n.endswith("ddim")]
    if len(cells) == len(scaling.WIDTHS) * len(scaling.STEPS):
        figure, axis = plt.subplots(figsize=(7, 4))
        for width in scaling.WIDTHS:
            own = sorted((r for r in cells if r["width"] == width), key=lambda r: r["gflops"])
            axis.plot(
                [1000 * r["gflops"] for r in own], [r["fid"] for r in own], marker="o", label=f"width {width}"
            )
        axis.set(
            xscale="log",
            xlabel="sampling cost per image, MFLOPs",
            ylabel="FID (DDIM, 1000 samples, best guidance)",
        )
        plain_numbers(axis, (5, 10, 20, 50))
        costs = (5, 10, 20, 50, 100, 200, 500, 1000)
        axis.set_xticks(costs, [f"{cost:g}" for cost in costs])
        axis.legend()
        save(figure, "fid_against_sampling_cost")
    rows = search_rows(tables)
    groups = {f"width {width}": scaling.of_width(rows, width) for width in scaling.WIDTHS}
    if all(groups.values()):
        alone = [r for r in groups[f"width {max(scaling.WIDTHS)}"] if r["candidates"] == 1]
        groups[f"width {max(scaling.WIDTHS)}, no search"] = alone
        groups["two-step student"] = [r for r in rows if r["model"] == "student"]
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
        for axis, by in ((left, "accuracy"), (right, "fid")):
            for name, own in groups.items():
                best = scaling.optimal(own, sorted({r["gflops"] for r in own}), by)
                style = "k--" if name.endswith("no search") else "k-" if name.endswith("student") else "-"
                values = [best[c][by] for c in best]
                axis.plot([1000 * c for c in best], values, style, marker=".", label=name)
            axis.set(
                xscale="log",
                xlabel="MFLOPs per image = model x steps x candidates",
                ylabel="judge: right" if by == "accuracy" else "FID of the winners",
            )
        plain_numbers(right, (10, 20, 50, 100))
        left.grid(alpha=0.3)
        right.legend(fontsize=8, loc="upper right")
        save(figure, "model_steps_candidates")
