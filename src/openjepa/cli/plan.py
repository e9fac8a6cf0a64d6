"""`openjepa plan`."""

import argparse
import sys
import warnings
from typing import Any

from openjepa.cli.options import Commands, command, whole
from openjepa.cli.results import add_protocol, protocol_of, result_file, show_result, write_result
from openjepa.errors import UserError

EXAMPLES = """\
Plans are made as the preset's were when it was measured. Every number of the protocol is set by its dotted name:

  openjepa plan RUN --quick
  openjepa plan RUN --planner mppi --planner.horizon 20 --planner.samples 500
  openjepa plan RUN-0 RUN-1 RUN-2 --episodes 100 --seed 1 --out result.json
  openjepa plan RUN --cost.reduce last --difficulty "{distance: [0, 20]}" --baselines "[random, expert]"
  openjepa plan RUN --cost.prediction_error 2   (what failed once in an episode is not planned again)
  openjepa plan RUN --level 2 --higher.planner.horizon 8
  openjepa plan --protocol result.json
"""


def add(commands: Commands) -> None:
    text = "plan with world models in a world: success beside chance, imitation and the truth"
    parser = command(commands, "plan", run, text, examples=EXAMPLES, dotted=True)
    add_protocol(
        parser,
        env="the world, or gym:ID (default: that of the run's episodes); gym:MODULE:ID must be named",
        protocol="play a saved protocol, or that of a saved result, again",
        file="plan.json",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a first try (pldm tiny: under a minute): 10 episodes, beside doing nothing and a random policy",
    )
    parser.add_argument(
        "--surprise", action="store_true", help="also measure its surprise at what is impossible"
    )
    parser.add_argument(
        "--probes",
        type=whole(1, 1000),
        metavar="FRAMES",
        help="also: physical variables read off states of so many frames",
    )


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting

    with Waiting(patience=0.0) as waiting, warnings.catch_warnings():
        waiting("loading", 0, 1)
        from openjepa.evals import planning

        warnings.showwarning = lambda message, *_, **__: print(f"openjepa: {message}", file=sys.stderr)  # ty: ignore[invalid-assignment]
        if args.quick and not args.protocol:
            args.changes = planning.quick(args.changes)
        protocol = protocol_of(args, planning.PlanningProtocol.read, planning.protocol_for)
        waiting("loading", 1, 1)
        out = result_file(args, "plan.json")
        camera = planning.Camera() if out else None
        result = planning.evaluate(protocol, waiting, camera=camera)
        found: dict[str, Any] = result.to_dict()
        tables: list[Any] = [result]
        trouble = write_result(out, found)  # before all that may fail
        if out and camera:
            planning.keep(camera, result.row().outcomes, out)
        try:
            if args.surprise:
                tables += (surprises := planning.surprises(protocol, progress=waiting))
                found["surprise"] = [table.to_dict() for table in surprises]
            if args.probes:
                tables += (states := planning.states(protocol, args.probes, waiting))
                found["state"] = [table.to_dict() for table in states]
        except UserError as error:
            trouble = trouble or error
    if len(tables) > 1:
        trouble = write_result(out, found) or trouble
    show_result(args, found, "\n\n".join(map(str, tables)), trouble)
