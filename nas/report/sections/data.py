"""What the results were measured on: the images of each class, and the files that were passed over."""

from nas.report.contents import Report
from nas.report.render import render

MOST = 30  # classes that have a row each


def section(report: Report) -> str:
    """What `prepare` found."""
    found = report.contents.prepared
    if found is None:
        return ""
    channels, height, width = found["shape"]
    counts = (found["train_per_class"], found["test_per_class"])
    return render(
        "data",
        found=found,
        kind="grey" if channels == 1 else "in colour",
        height=height,
        width=width,
        rows=list(zip(found["classes"], *counts, strict=True)) if len(found["classes"]) <= MOST else [],
        ranges=[(part, min(each), max(each)) for part, each in zip(("train", "test"), counts, strict=True)],
    )
