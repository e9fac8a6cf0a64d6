"""`openjepa remote`."""

import argparse

from openjepa.cli.options import Commands, command
from openjepa.cli.results import add_protocol, protocol_of, result_file, show_result, write_result

EXAMPLES = """\
Every number of the protocol is set by its dotted name:

  openjepa remote RUN --loss 0.1 --episodes 200
  openjepa remote RUN --schedules "[{kind: every, steps: 5}, {kind: drift, threshold: 0.3}]" --actor.updates 5000
  openjepa remote --protocol remote.json
"""


def add(commands: Commands) -> None:
    text = (
        "control over a channel: success against transmissions, with prediction or the last state in between"
    )
    parser = command(commands, "remote", run, text, examples=EXAMPLES, dotted=True)
    add_protocol(
        parser,
        env="the world (default: that of the run's episodes)",
        protocol="play a saved protocol or result again",
        file="remote.json",
    )


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import planning

    with Waiting() as waiting:
        protocol = protocol_of(args, planning.RemoteProtocol.read, planning.remote_protocol_for)
        result = planning.remote(protocol, waiting)
    found = result.to_dict()
    show_result(args, found, str(result), write_result(result_file(args, "remote.json"), found))
