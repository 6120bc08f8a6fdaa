def tables(kept, budgets):
    out = []
    for name, rows in kept.items():
        labels = dict.fromkeys(l for ls in rows.problems.values() for l in ls)
        for label in labels:
            some = [r for r in rows.found.values() if r["label"] == label and "at" in r]
            if not some:
                continue
            line = [
                f"{sum(r['at'][str(b)]['quality'] for r in some if str(b) in r['at']) / max(1, sum(str(b) in r['at'] for r in some)):.3f}"
                for b in budgets[name]
            ]
            out.append(
                f"{name} {label} {len(some)} "
                + " ".join(line)
                + f"  {sum(r['seconds'] for r in some) / len(some):.3f} s"
            )
    return "\n".join(out)
