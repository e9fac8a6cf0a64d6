"""Opening recorded episodes, whatever wrote them."""

from collections.abc import Mapping
from pathlib import Path

from openjepa.common.reach import inside, regular
from openjepa.errors import UserError
from openjepa.worlds.episodes import Episodes
from openjepa.worlds.hdf5 import read_files
from openjepa.worlds.lerobot import INFO, open_lerobot
from openjepa.worlds.minari import MAIN, open_minari, part_files
from openjepa.worlds.records import EpisodeRecording, Progress, settle

HDF5 = (".hdf5", ".h5")


def open_episodes(
    path: str | Path,
    *,
    names: Mapping[str, str] | None = None,
    size: int | None = None,
    in_memory: bool | None = None,
    progress: Progress | None = None,
) -> Episodes:
    """Open recorded episodes.

    Args:
        path: one of
            a folder that `collect` has written, also one that was interrupted, or Minari's (extra `worlds`);
            a LeRobot folder, versions 2.0 to 3, whose frames are images (extra `parquet`);
            an `.hdf5` or `.h5` file, or a folder of such files, of the layouts that `hdf5` lists (extra `worlds`).
        names: what the file calls things, where that is not plain or there are several: `frames`, `actions`, `state`
            (paths in an episode's group, or LeRobot's keys), and `lengths`, `offsets` of flat files.
        size: side in pixels; frames are cut to the largest centred square and resized. `None`: as they are.
        in_memory: whether frames are kept in memory; `None`: up to 2 GiB.
        progress: called with what is done of how much.

    Raises:
        UserError: nothing is there, the layout is none of these (it says what is there), no episode can be read, or
            it is not clear what is called frames or actions.
    """
    if size is not None and size < 1:
        raise UserError(f"size={size}: the frames' height and width must be at least 1 pixel")
    place = Path(path).expanduser()
    found = _find(place, names or {}, progress)
    return Episodes(found, size, in_memory, progress, names)


def _find(path: Path, names: Mapping[str, str], progress: Progress | None) -> EpisodeRecording:
    if path.exists() and not path.is_dir():
        regular(path)
    if path.is_file() and path.suffix.lower() in HDF5:
        return _plain(path, [path], names, progress)
    if not path.is_dir():
        what = f"is not one of {', '.join(HDF5)}" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}: give a folder of episodes (Minari's, LeRobot's) or an HDF5 file")
    if path.name == "data" and (path / Path(MAIN).name).exists():
        path = path.parent
    if (path / MAIN).exists() or part_files(path):
        return open_minari(path, names, progress)
    if (path / INFO).exists():
        return open_lerobot(path, names, progress)
    files = sorted(inside(path, file.name) for file in path.iterdir() if file.suffix.lower() in HDF5)
    if files:
        return _plain(path, files, names, progress)
    raise UserError(
        f"{path} holds {_contents(path)}, which is no layout of episodes that is read: give Minari's {MAIN}, "
        f"LeRobot's {INFO}, or HDF5 files"
    )


def _plain(
    path: Path, files: list[Path], names: Mapping[str, str], progress: Progress | None
) -> EpisodeRecording:
    found, source, skipped = read_files(str(path), files, names, None, progress)
    return settle(str(path), found, source, skipped)


def _contents(folder: Path) -> str:
    found = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return (", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")) or "nothing"
