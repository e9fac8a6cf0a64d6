"""How true the verdict is.

    OPENJEPA_TEST_DATA=... python -m benchmarks.verdicts

Trains short runs that are good and bad on purpose, measures their health, probes their features before and after, and
writes how often each verdict was true to `results/verdicts.json` and `results/verdicts.md`. What has finished is kept
under `--runs`, and only what is missing is done when the command is repeated.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.verdicts import table
from benchmarks.verdicts.cases import SEED, cases
from benchmarks.verdicts.measure import result
from benchmarks.verdicts.train import config_of, train


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/verdicts"), help="where runs are kept")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first case; each has its own")
    parser.add_argument("--name", default="verdicts", help="of the results")
    parser.add_argument("--count", type=int, default=len(cases()), help="how many of the cases, mixed")
    parser.add_argument(
        "--again", action="store_true", help="measure health anew on the weights that are there"
    )
    parser.add_argument(
        "--fit", action="store_true", help="print weights and thresholds as the fitted half has them"
    )
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    root, runs = Path(os.environ.get("OPENJEPA_TEST_DATA", "data")), []
    for case in cases(args.seed)[: args.count]:
        folder = args.runs / case.name
        train(case, folder, root)
        found = result(case, folder, root, args.again)
        runs.append(table.ended(case, found, config_of(case).model_dump(mode="json")))
        print(f"{case.name}: {runs[-1].truth.word}, {runs[-1].word}", flush=True)
    if args.fit:
        print(table.fit([run for run in runs if run.fitted]))
    text = table.markdown(runs)
    print(text)
    halves = {
        name: [r for r in runs if r.fitted == fitted]
        for name, fitted in (("fitted", True), ("tested", False))
    }
    record.write(
        args.name,
        {name: {"bars": table.bars(some)} for name, some in halves.items()}
        | {"runs": [_plain(run) for run in runs]},
        args.results,
    )
    (args.results / f"{args.name}.md").write_text(text)


def _plain(run: table.Ended) -> dict[str, Any]:
    return {
        "case": asdict(run.case),
        "truth": asdict(run.truth) | {"word": run.truth.word},
        "verdict": asdict(run.verdicts[-1]),
        "tasks": run.gain.parts,
        "score": run.gain.score,
        "alarm": run.first(table.ALARMS),
    }


if __name__ == "__main__":
    main()
