"""Speed and memory against the authors' schedule, in one run on one machine.

python -m benchmarks [--quick] [--cases encode_b8,coreset_1e5] [--json FILE] [--resume]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.measure import WorkerFailedError, measure, measure_limits
from benchmarks.table import table


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="small inputs, one run of each")
    parser.add_argument("--cases", help=f"comma-separated, of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, help="runs of each side")
    parser.add_argument(
        "--resume", action="store_true", help="keep what the file has of the same commit"
    )
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="FILE")
    arguments = parser.parse_args(given)
    arguments.cases = arguments.cases.split(",") if arguments.cases else _default(arguments.quick)
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    return arguments


def _default(quick: bool) -> list[str]:
    return [name for name, case in CASES.items() if case.quick or not quick]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the JSON; 1 where results differ or a case broke off."""
    arguments = _arguments(given)
    _say("Measuring the machine")
    machine = measure_limits()
    if machine["busy"]:
        _say(f"Warning: the machine is busy (load {machine['load_average']:.1f}): doubt the times")
    start = time.monotonic()
    cases = _earlier(arguments, machine["commit"]) if arguments.resume else {}
    for number, name in enumerate(arguments.cases, start=1):
        case = CASES[name]
        if name in cases:
            continue
        if case.needs and not machine.get(case.needs):
            cases[name] = {"skipped": "no OpenVINO" if case.needs == "openvino" else "no GPU"}
            continue
        _say(f"[{number}/{len(arguments.cases)}] {name}, {time.monotonic() - start:.0f} s so far")
        try:
            cases[name] = measure(case, arguments.quick, arguments.repeats)
        except WorkerFailedError as error:
            cases[name] = {"skipped": "failed"}
            _say(str(error))
        # After each case: a run that is interrupted has lost one.
        _write(arguments, machine, time.monotonic() - start, cases)
    cases = {name: cases[name] for name in arguments.cases}
    _write(arguments, machine, time.monotonic() - start, cases)
    print(_about(machine, arguments.quick), table(cases), sep="\n\n")
    _say(f"Written to {arguments.json}")
    return int(any(map(_is_bad, cases.values())))


def _write(
    arguments: argparse.Namespace, machine: dict[str, Any], seconds: float, cases: dict[str, Any]
) -> None:
    result = {"machine": machine, "quick": arguments.quick, "seconds": seconds, "cases": cases}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _earlier(arguments: argparse.Namespace, commit: str) -> dict[str, Any]:
    """What the file has of these cases, measured with the same code and inputs."""
    if not arguments.json.exists():
        return {}
    found = json.loads(arguments.json.read_text(encoding="utf-8"))
    if found["machine"]["commit"] != commit or found["quick"] != arguments.quick:
        return {}
    return {
        name: case
        for name, case in found["cases"].items()
        if name in arguments.cases and case.get("skipped") != "failed"
    }


def _is_bad(case: dict[str, Any]) -> bool:
    return case.get("skipped") == "failed" or not case.get("ours", {}).get("agrees", True)


def _about(machine: dict[str, Any], quick: bool) -> str:
    """The machine in a line or two."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    busy = f" The machine was busy (load {machine['load_average']:.1f})." if machine["busy"] else ""
    small = " Small inputs (--quick): no figures to quote." if quick else ""
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, "
        f"commit {machine['commit']}, {versions}. Matrix products at best "
        f"{machine['gemm_float32_gflops']:.0f} GFLOP/s in float32 "
        f"({machine['gemm_float32_library']}), {machine['gemm_bfloat16_gflops']:.0f} in bfloat16 "
        f"({machine['gemm_bfloat16_library']}); memory "
        f"{machine['memory_read_gb_per_s']:.1f} GB/s.{busy}{small}"
    )


if __name__ == "__main__":
    sys.exit(main())
