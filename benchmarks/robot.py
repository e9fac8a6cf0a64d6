"""A real robot's logs: Unitree G1 picks up a bottle, 93 teleoperated episodes, one camera.

DATA holds `g1-video.tar` and `g1-joints.npz`: films of 128 x 96 px at 10 Hz, joints and commands at 30 Hz, of which
every third row is of a frame (YifanTian07/G1-policy-train, MIT).
"""

import json
import tarfile
from pathlib import Path

import numpy as np

FILM = "videos/chunk-000/observation.images.head/episode_{:06d}.mp4"
ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
VARIABLES = [
    *(f"{side}_{joint}" for side in ("left", "right") for joint in ARM),
    *(f"{side}_hand_{i}" for side in ("left", "right") for i in range(6)),
]
"""Names of the joints, in their order: rad of the arms, 0..1 of full travel of the hands."""
UNIT, RATE, EVERY = 1e4, 10, 3


def lerobot(data: Path, folder: Path, most: int | None = None) -> Path:
    """The logs as LeRobot's folder of version 2.1, at 10 Hz, the films as they are; the first `most` episodes."""
    import pyarrow
    import pyarrow.parquet

    joints = np.load(data / "g1-joints.npz")
    offset, numbers = joints["offset"], joints["episode"][:most]
    (folder / "meta").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / FILM).parent.mkdir(parents=True)
    with tarfile.open(data / "g1-video.tar") as tar:
        films = {int(Path(member.name).stem): member for member in tar if member.isfile()}
        for i, number in enumerate(numbers.tolist()):
            film = tar.extractfile(films[number])
            assert film is not None
            (folder / FILM.format(i)).write_bytes(film.read())
            rows = slice(offset[i], offset[i + 1], EVERY)
            state, action = (joints[name][rows].astype(np.float32) / UNIT for name in ("state", "action"))
            columns = {
                "observation.state": state.tolist(),
                "action": action.tolist(),
                "episode_index": [i] * len(state),
                "frame_index": list(range(len(state))),
            }
            path = folder / f"data/chunk-000/episode_{i:06d}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(columns), path)
    numbers_of = {"dtype": "float32", "shape": [len(VARIABLES)], "names": VARIABLES}
    features = {
        "observation.images.head": {"dtype": "video", "shape": [96, 128, 3]},
        "observation.state": numbers_of,
        "action": numbers_of,
    }
    info = {
        "codebase_version": "v2.1",
        "robot_type": "Unitree_G1",
        "fps": RATE,
        "total_episodes": len(numbers),
        "chunks_size": 1000,
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (folder / "meta/info.json").write_text(json.dumps(info, indent=2))
    return folder
