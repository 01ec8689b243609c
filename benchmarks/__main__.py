"""Measure everything, or what is named, and write RESULTS.md: `python benchmarks [NAME ...]`."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

from _figures import Figure

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
HERE = Path(__file__).parent
NAMES = (
    "quickstart",
    "train_command",
    "recipe_ablation",
    "export_time",
    "classify_time",
    "import_time",
    "compressed_size",
    "narrower_latency",
    "quantized_applications",
    "quantization_cost",
    "quantization_accuracy",
    "localization",
    "map_quality",
    "map_cost",
    "class_map_cost",
    "segment_cost",
    "detection_cost",
    "callback_cost",
    "signal_cost",
    "transfer",
    "scarcity",
    "gallery_cost",
    "metric_learning",
    "triplet_cost",
    "search_cost",
    "localizer",
    "unet_cost",
    "multitask_cost",
    "multilabel",
    "segmentation",
    "fcn_stages",
    "nuclei",
    "earth",
    "detection_scores",
    "elastic_cost",
    "heat_map_cost",
    "regions",
    "variants",
    "families",
    "architectures",
    "large_folder",
    "saving_cost",
    "faults",
    "faults_tflite",
)
PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "numpy", "mediapipe")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="all by default")
    names = parser.parse_args().names or NAMES
    store = HERE / "results.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    sys.path.insert(0, str(HERE))
    kept = True
    for name in names:
        started = time.monotonic()
        figures = importlib.import_module(name).measure()
        for figure in figures:
            kept &= figure.kept
            print(f"{figure.what}: {figure.value:.3g} {figure.unit} ({figure.detail})", flush=True)
        results[name] = {
            "figures": [_row(figure) for figure in figures],
            "environment": _environment(),
            "seconds": round(time.monotonic() - started),
        }
        store.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        (HERE / "RESULTS.md").write_text(_page(results))
    return 0 if kept else 1


def _row(figure: Figure) -> dict:
    """Return a figure as JSON has it, which knows no infinity."""
    limit = None if math.isinf(figure.limit) else figure.limit
    return asdict(figure) | {"limit": limit, "kept": figure.kept}


def _environment() -> str:
    """Describe machine and versions, without names of hosts or people."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{date.today().isoformat()}; {_processor()}, {os.cpu_count()} cores, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _page(results: dict) -> str:
    """Return RESULTS.md."""
    lines = [
        "# Measured figures",
        "",
        "Made by `python benchmarks` (one part: `python benchmarks import_time`). A ratio is",
        "between two medians that were timed in turn in the same process or run. MobileNetV2 has",
        "random weights where only time or size is measured.",
    ]
    for name, result in results.items():
        lines += ["", f"## {name}", "", f"`python benchmarks {name}` · {result['environment']}", ""]
        lines += ["| what | measured | limit | |", "|---|---|---|---|"]
        for figure in result["figures"]:
            sign = "≤" if figure["at_most"] else "≥"
            limit, mark = "none", ""  # measured for information
            if figure["limit"] is not None:
                limit = f"{sign} {figure['limit']:g} {figure['unit']}"
                mark = "kept" if figure["kept"] else "**missed**"
            detail = f" ({figure['detail']})" if figure["detail"] else ""
            lines.append(
                f"| {figure['what']} | {figure['value']:.4g} {figure['unit']}{detail} "
                f"| {limit} | {mark} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
