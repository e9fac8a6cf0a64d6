"""Opening recorded episodes, whatever wrote them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from openjepa.common.reach import inside, regular
from openjepa.errors import UserError
from openjepa.worlds.cameras import Arrangement, Cameras
from openjepa.worlds.episodes import Episodes
from openjepa.worlds.fields import Asked
from openjepa.worlds.film_folder import find_films, open_film_folder
from openjepa.worlds.hdf5 import read_files
from openjepa.worlds.lerobot import INFO, open_lerobot
from openjepa.worlds.minari import MAIN, open_minari, part_files
from openjepa.worlds.records import EpisodeRecording, Progress, settle

HDF5 = (".hdf5", ".h5")


def open_episodes(
    path: str | Path,
    *,
    names: Mapping[str, str] | None = None,
    camera: str | Sequence[str] = (),
    camera_as: Arrangement = "channels",
    white: float | None = None,
    size: int | None = None,
    in_memory: bool | None = None,
    progress: Progress | None = None,
) -> Episodes:
    """Open recorded episodes.

    Args:
        path: one of
            a folder that `collect` has written, also one that was interrupted, or Minari's (extra `worlds`);
            a LeRobot folder, versions 2.0 to 3, whose frames are images or films (extras `parquet`, `video`);
            a folder of films with a table of numbers beside each, as `film_folder` describes it (extra `video`);
            an `.hdf5` or `.h5` file, or a folder of such files, of the layouts that `hdf5` lists (extra `worlds`).
        names: what the file calls things, where that is not plain or there are several: `frames`, `actions`, `state`
            (paths in an episode's group, or LeRobot's keys), and `lengths`, `offsets` of flat files.
        camera: whose pictures are the frames, where there are several: a path, or its last part. Of several cameras
            the pictures go together.
        camera_as: how several are one frame: `channels`, behind one another; `views`, beside one another, on a square
            grid (see `cameras.Cameras`).
        white: the value of white in frames of floating numbers; `None`: 1 where none of those looked at is above it,
            else 255.
        size: side in pixels; frames are cut to the largest centred square and resized. `None`: as they are.
        in_memory: whether frames are kept in memory; `None`: up to 2 GiB.
        progress: called with what is done of how much.

    Raises:
        UserError: nothing is there, the layout is none of these (it says what is there), no episode can be read, or
            it is not clear what is called frames or actions; a camera that is not there.
    """
    if size is not None and size < 1:
        raise UserError(f"size={size}: the frames' height and width must be at least 1 pixel")
    place = Path(path).expanduser()
    cameras = Cameras((camera,) if isinstance(camera, str) else tuple(camera), camera_as, white)
    found = _find(place, Asked(names or {}, cameras, size), progress)
    return Episodes(found, size, in_memory, progress, names)


def _find(path: Path, asked: Asked, progress: Progress | None) -> EpisodeRecording:
    if path.exists() and not path.is_dir():
        regular(path)
    if path.is_file() and path.suffix.lower() in HDF5:
        return _plain(path, [path], asked, progress)
    if not path.is_dir():
        what = f"is not one of {', '.join(HDF5)}" if path.exists() else "does not exist"
        raise UserError(
            f"{path} {what}: give a folder of episodes (Minari's, LeRobot's, or films with tables) or an HDF5 file"
        )
    if path.name == "data" and (path / Path(MAIN).name).exists():
        path = path.parent
    if (path / MAIN).exists() or part_files(path):
        return open_minari(path, asked, progress)
    if (path / INFO).exists():
        return open_lerobot(path, asked, progress)
    files = sorted(inside(path, file.name) for file in path.iterdir() if file.suffix.lower() in HDF5)
    if files:
        return _plain(path, files, asked, progress)
    if (path / "meta").is_dir() or next((path / "data").glob("**/*.parquet"), None):
        raise UserError(
            f"{path} looks like LeRobot's, but lacks {INFO}: copy the whole folder meta beside data"
        )
    films = find_films(path)
    if films:
        return open_film_folder(path, films, asked, progress)
    raise UserError(
        f"{path} holds {_contents(path)}, which is no layout of episodes that is read: give Minari's {MAIN}, "
        f"LeRobot's {INFO}, HDF5 files, or films with a table NAME.csv for each film NAME.mp4"
    )


def _plain(path: Path, files: list[Path], asked: Asked, progress: Progress | None) -> EpisodeRecording:
    found, source, skipped, cameras = read_files(str(path), files, asked, None, progress)
    return settle(str(path), found, source, skipped, cameras=cameras)


def _contents(folder: Path) -> str:
    found = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return (", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")) or "nothing"
