"""Point clouds in files: PLY, OFF, OBJ, PCD, LAS (LAZ with laspy), text or binary; points on the surface of meshes."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.common.reach import regular
from openjepa.errors import UserError

SUFFIXES = (".ply", ".off", ".obj", ".pcd", ".las", ".laz", ".xyz", ".npy")
BYTES = 2**32
"""The largest file that is read."""
POINTS = 2**28
"""The most points that a header may promise."""

Points = NDArray[np.float64]
_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


@dataclass(frozen=True, eq=False)
class Shape:
    """Points `[P, 3]`, and where they are corners of a mesh its triangles, int64 `[F, 3]`."""

    points: Points
    triangles: NDArray[np.int64] | None = None


def read_shape(path: Path) -> Shape:
    """What a file holds.

    Raises:
        UserError: it cannot be read, is cut off, or has no points.
    """
    regular(path, BYTES)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: is no cloud: give a file that ends in {', '.join(SUFFIXES)}")
    try:
        shape = reader(path)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, LookupError, OverflowError, MemoryError, struct.error) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read, it is cut off or damaged ({why})") from None
    if shape.points.ndim != 2 or shape.points.shape[1] != 3:
        raise UserError(
            f"{path}: an array of shape {list(shape.points.shape)} is no cloud: give points [P, 3]"
        )
    if not len(shape.points):
        raise UserError(f"{path}: it has no points")
    faces = shape.triangles
    if faces is not None and len(faces) and not (faces.min() >= 0 and faces.max() < len(shape.points)):
        raise UserError(f"{path}: a face names a corner that is not there: it is cut off or damaged")
    return shape if faces is not None and len(faces) else Shape(shape.points)


def on_surface(shape: Shape, count: int, random: np.random.Generator) -> Points:
    """Points `[count, 3]` spread evenly over the triangles of a mesh; of one without area its corners."""
    assert shape.triangles is not None
    a, b, c = (shape.points[shape.triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    area = np.where(np.isfinite(area), area, 0)
    if not area.sum() > 0:
        return shape.points
    face = random.choice(len(area), count, p=area / area.sum())
    u, v = random.random((2, count, 1))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    return a[face] + u * (b[face] - a[face]) + v * (c[face] - a[face])


def _fan(corners: NDArray[np.int64]) -> NDArray[np.int64]:
    """A polygon's triangles, all with its first corner."""
    return np.stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]], 1)


def _fans(polygons: list[list[int]]) -> NDArray[np.int64] | None:
    parts = [_fan(np.array(corners, np.int64)) for corners in polygons if len(corners) >= 3]
    return np.concatenate(parts) if parts else None


def _text(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _off(path: Path) -> Shape:
    """Also where the counts stand on the first line, as in some of ModelNet's."""
    words = " ".join(line.partition("#")[0] for line in _text(path)).replace("OFF", "OFF ", 1).split()
    if not words or not words[0].endswith("OFF"):
        raise UserError(f"{path}: it does not begin with OFF")
    if words[0] != "OFF":
        raise UserError(
            f"{path}: its points have more than places ({words[0]}): save it as plain OFF or as PLY"
        )
    corners, faces = int(words[1]), int(words[2])
    if not 0 <= corners <= POINTS or len(words) < 4 + 3 * corners:
        raise UserError(f"{path}: {corners:,} points are promised and not there: it is cut off")
    points = np.array(words[4 : 4 + 3 * corners], np.float64).reshape(-1, 3)
    at, polygons = 4 + 3 * corners, []
    for _ in range(faces):
        size = int(words[at])
        polygons.append([int(word) for word in words[at + 1 : at + 1 + size]])
        if len(polygons[-1]) < size:
            raise UserError(f"{path}: {faces:,} faces are promised and not there: it is cut off")
        at += 1 + size
        while at < len(words) and "." in words[at]:  # colours
            at += 1
    return Shape(points, _fans(polygons))


def _obj(path: Path) -> Shape:
    points, polygons = [], []
    for number, line in enumerate(_text(path), 1):
        words = line.split()
        if not words:
            continue
        if words[0] in ("v", "f") and len(words) < 4:
            raise UserError(
                f"{path}: line {number} has {len(words) - 1} numbers, fewer than 3: it is cut off or damaged"
            )
        if words[0] == "v":
            points.append([float(word) for word in words[1:4]])
        elif words[0] == "f":
            index = [int(word.split("/")[0]) for word in words[1:]]
            polygons.append([i - 1 if i > 0 else len(points) + i for i in index])
    return Shape(np.array(points, np.float64).reshape(-1, 3), _fans(polygons))


def _ply(path: Path) -> Shape:
    data = path.read_bytes()
    head, found, rest = data.partition(b"end_header")
    if not data.startswith(b"ply") or not found:
        raise UserError(f"{path}: it has no whole PLY header")
    rest = rest[rest.index(b"\n") + 1 :]
    kind, elements = "", list[tuple[str, int, list[list[str]]]]()
    for line in head.decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            kind = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"] and elements:
            elements[-1][2].append(words[1:])
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise UserError(f"{path}: its header names no known format")
    if any(not 0 <= count <= POINTS for _, count, _ in elements):
        raise UserError(f"{path}: its header promises too many points")
    reader = (
        _PLYText(path, rest) if kind == "ascii" else _PLYBinary(path, rest, "<" if "little" in kind else ">")
    )
    points, polygons = None, None
    for name, count, properties in elements:
        if name == "vertex":
            points = reader.columns(count, properties)
        elif name == "face" and points is not None:
            polygons = reader.lists(count, properties)
            break
        elif points is None:
            reader.lists(count, properties)
    if points is None or not {"x", "y", "z"} <= points.keys():
        raise UserError(f"{path}: its points have no x, y and z")
    return Shape(np.stack([points[axis] for axis in "xyz"], 1).astype(np.float64), _fans(polygons or []))


class _PLYText:
    """Elements of a text PLY, one a line."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.lines, self.at = path, data.decode("ascii", "replace").splitlines(), 0

    def _take(self, count: int) -> list[list[str]]:
        rows = [line.split() for line in self.lines[self.at : self.at + count]]
        if len(rows) < count:
            raise UserError(f"{self.path}: {count:,} lines are promised and not there: it is cut off")
        self.at += count
        return rows

    def columns(self, count: int, properties: list[list[str]]) -> dict[str, Any]:
        rows = np.array([row[: len(properties)] for row in self._take(count)], np.float64)
        return {words[-1]: rows[:, i] for i, words in enumerate(properties)} if count else {}

    def lists(self, count: int, properties: list[list[str]]) -> list[list[int]]:
        rows = self._take(count)
        if not properties or properties[0][0] != "list":
            return []
        return [[int(word) for word in row[1 : 1 + int(row[0])]] for row in rows]


class _PLYBinary:
    """Elements of a binary PLY."""

    def __init__(self, path: Path, data: bytes, order: str) -> None:
        self.path, self.data, self.order, self.at = path, data, order, 0

    def columns(self, count: int, properties: list[list[str]]) -> dict[str, Any]:
        if any(words[0] == "list" for words in properties):
            raise UserError(f"{self.path}: its points hold lists, which are not read")
        kind = np.dtype([(words[-1], self.order + _TYPES[words[0]]) for words in properties])
        end = self.at + count * kind.itemsize
        if end > len(self.data):
            raise UserError(f"{self.path}: {count:,} points are promised and not there: it is cut off")
        found: Any = np.frombuffer(self.data, kind, count, self.at)
        self.at = end
        return {name: found[name] for name in kind.names or ()}

    def lists(self, count: int, properties: list[list[str]]) -> list[list[int]]:
        found = []
        for _ in range(count):
            first: list[int] | None = None
            for words in properties:
                if words[0] == "list":
                    size = int(self._one(words[1]))
                    kind = np.dtype(self.order + _TYPES[words[2]])
                    if self.at + size * kind.itemsize > len(self.data):
                        raise UserError(
                            f"{self.path}: {count:,} faces are promised and not there: it is cut off"
                        )
                    values = np.frombuffer(self.data, kind, size, self.at).tolist()
                    self.at += size * kind.itemsize
                    first = values if first is None and "vert" in words[3] else first
                else:
                    self._one(words[0])
            found.append(first or [])
        return found

    def _one(self, name: str) -> float:
        kind = np.dtype(self.order + _TYPES[name])
        if self.at + kind.itemsize > len(self.data):
            raise UserError(f"{self.path}: it is cut off")
        (value,) = np.frombuffer(self.data, kind, 1, self.at).tolist()
        self.at += kind.itemsize
        return value


def _pcd(path: Path) -> Shape:
    data, fields, at = path.read_bytes(), dict[str, list[str]](), 0
    while "DATA" not in fields:
        end = data.find(b"\n", at)
        if end < 0:
            raise UserError(f"{path}: it has no whole PCD header")
        words = data[at:end].decode("ascii", "replace").split()
        if words and words[0][0] != "#":
            fields[words[0]] = words[1:]
        at = end + 1
    names, count = fields["FIELDS"], int(fields["POINTS"][0])
    if not {"x", "y", "z"} <= set(names) or not 0 <= count <= POINTS:
        raise UserError(f"{path}: its points have no x, y and z")
    several = [int(n) for n in fields.get("COUNT", ["1"] * len(names))]
    places = {name: sum(several[:i]) for i, name in enumerate(names)}
    if fields["DATA"][0] == "ascii":
        rows = [line.split() for line in data[at:].decode("ascii", "replace").splitlines() if line.strip()]
        if len(rows) < count:
            raise UserError(f"{path}: {count:,} points are promised and {len(rows):,} there: it is cut off")
        columns = [places[axis] for axis in "xyz"]
        return Shape(np.array([[row[i] for i in columns] for row in rows[:count]], np.float64).reshape(-1, 3))
    kinds = [f"<{kind.lower()}{size}" for kind, size in zip(fields["TYPE"], fields["SIZE"], strict=True)]
    whole = [
        np.dtype((kind, (n,))) if n > 1 else np.dtype(kind) for kind, n in zip(kinds, several, strict=True)
    ]
    unique = [f"{name}{i}" if name not in "xyz" else name for i, name in enumerate(names)]
    record = np.dtype(list(zip(unique, whole, strict=True)))
    if fields["DATA"][0] == "binary_compressed":
        packed, size = struct.unpack_from("<II", data, at)
        if size != count * record.itemsize or at + 8 + packed > len(data):
            raise UserError(f"{path}: {count:,} points are promised and not there: it is cut off")
        body, place, found = _lzf(path, data[at + 8 : at + 8 + packed], size), 0, dict[str, Any]()
        for name, kind in zip(unique, whole, strict=True):
            found[name] = np.frombuffer(body, kind, count, place)
            place += count * kind.itemsize
    else:
        if at + count * record.itemsize > len(data):
            raise UserError(f"{path}: {count:,} points are promised and not there: it is cut off")
        read: Any = np.frombuffer(data, record, count, at)
        found = {name: read[name] for name in unique}
    return Shape(np.stack([np.asarray(found[axis]) for axis in "xyz"], 1).astype(np.float64))


def _lzf(path: Path, data: bytes, size: int) -> bytes:
    """Unpack LZF: runs of literals, and copies of what was unpacked before."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length, back = control >> 5, (control & 31) << 8
        if length == 7:
            length += data[at]
            at += 1
        start = len(out) - back - data[at] - 1
        at += 1
        if start < 0 or len(out) + length + 2 > size:
            raise UserError(f"{path}: its packed points are damaged")
        for i in range(length + 2):
            out.append(out[start + i])
    if len(out) != size:
        raise UserError(f"{path}: its packed points are cut off")
    return bytes(out)


def _las(path: Path) -> Shape:
    """LAS 1.0 to 1.4 (ASPRS): every point format begins with the three whole numbers of its place."""
    data = path.read_bytes()
    if data[:4] != b"LASF" or len(data) < 227:
        raise UserError(f"{path}: it has no whole LAS header")
    minor, start = data[25], struct.unpack_from("<I", data, 96)[0]
    kind, record, count = struct.unpack_from("<BHI", data, 104)
    if kind & 0x80:
        return _laz(path)
    if minor >= 4 and len(data) >= 255:
        count = struct.unpack_from("<Q", data, 247)[0] or count
    scale, offset = np.frombuffer(data, "<f8", 3, 131), np.frombuffer(data, "<f8", 3, 155)
    if record < 12 or count > POINTS or start + count * record > len(data):
        raise UserError(f"{path}: {count:,} points are promised and not there: it is cut off")
    rows = np.frombuffer(data, np.uint8, count * record, start).reshape(count, record)[:, :12]
    whole = np.ascontiguousarray(rows).view("<i4").astype(np.float64)
    return Shape(whole * scale + offset)


def _laz(path: Path) -> Shape:
    try:
        import laspy
    except ImportError:
        raise UserError(f"{path}: packed LAS needs laspy: pip install 'openjepa[points]'") from None
    try:
        return Shape(np.asarray(laspy.read(path).xyz, np.float64))
    except Exception as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _xyz(path: Path) -> Shape:
    rows = [line.replace(",", " ").replace(";", " ").split()[:3] for line in _text(path)]
    return Shape(np.array([row for row in rows if row and row[0][0] not in "#/"], np.float64).reshape(-1, 3))


def _npy(path: Path) -> Shape:
    values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{path}: values of type {values.dtype} are no points")
    return Shape(np.asarray(values, np.float64))


_READERS: dict[str, Callable[[Path], Shape]] = {
    ".ply": _ply,
    ".off": _off,
    ".obj": _obj,
    ".pcd": _pcd,
    ".las": _las,
    ".laz": _laz,
    ".xyz": _xyz,
    ".npy": _npy,
}
