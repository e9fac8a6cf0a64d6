"""Clouds for tests, and the files that they are written to."""

import struct
from pathlib import Path

import numpy as np


def clouds(count: int = 24, points: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`[N, P, 3]` and classes: boxes' surfaces and balls' surfaces, of random sides."""
    random = np.random.default_rng(seed)
    y = np.arange(count) % 2
    found = random.normal(size=(count, points, 3))
    found /= np.linalg.norm(found, axis=2, keepdims=True)
    box = found / np.abs(found).max(2, keepdims=True)
    found = np.where(y[:, None, None] == 0, box, found)
    return (found * random.uniform(0.5, 2, (count, 1, 3))).astype(np.float32), y


CUBE = np.array([[x, y, z] for x in (0, 2) for y in (0, 2) for z in (0, 2)], float)
FACES = [[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]]


def write_off(
    path: Path, points: np.ndarray = CUBE, faces: list[list[int]] = FACES, joined: bool = False
) -> Path:
    """An OFF mesh; `joined`: counts on the first line, as some of ModelNet's files have them."""
    lines = [f"OFF{'' if joined else chr(10)}{len(points)} {len(faces)} 0"]
    lines += [" ".join(map(str, p)) for p in points.tolist()]
    lines += [" ".join(map(str, [len(f), *f])) for f in faces]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_obj(path: Path) -> Path:
    """An OBJ mesh with textures, normals and a face counted from the end."""
    lines = ["# cube", *("v " + " ".join(map(str, p)) for p in CUBE.tolist()), "vn 0 0 1", "vt 0 0"]
    lines += ["f " + " ".join(f"{i + 1}/1/1" for i in f) for f in FACES[:-1]]
    lines += ["f " + " ".join(str(i - len(CUBE)) for i in FACES[-1])]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_ply(path: Path, points: np.ndarray, kind: str, faces: list[list[int]] | None = None) -> Path:
    """A PLY of float points with a colour, text or binary."""
    head = ["ply", f"format {kind} 1.0", f"element vertex {len(points)}"]
    head += [f"property float {axis}" for axis in "xyz"] + ["property uchar red"]
    if faces is not None:
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    data = ("\n".join([*head, "end_header"]) + "\n").encode()
    order = ">" if "big" in kind else "<"
    if kind == "ascii":
        data += "".join(f"{a} {b} {c} 7\n" for a, b, c in points.tolist()).encode()
        data += "".join(" ".join(map(str, [len(f), *f])) + "\n" for f in faces or []).encode()
    else:
        for point in points.tolist():
            data += struct.pack(f"{order}fffB", *point, 7)
        for face in faces or []:
            data += struct.pack(f"{order}B{len(face)}i", len(face), *face)
    path.write_bytes(data)
    return path


def write_pcd(path: Path, points: np.ndarray, kind: str) -> Path:
    """A PCD with an intensity before the places; `binary_compressed` in literals and one copy."""
    head = [
        "# .PCD v0.7",
        "VERSION 0.7",
        "FIELDS intensity x y z",
        "SIZE 2 4 4 4",
        "TYPE U F F F",
        "COUNT 1 1 1 1",
        f"WIDTH {len(points)}",
        "HEIGHT 1",
        f"POINTS {len(points)}",
        f"DATA {kind}",
    ]
    data = ("\n".join(head) + "\n").encode()
    if kind == "ascii":
        data += "".join(f"1 {a} {b} {c}\n" for a, b, c in points.tolist()).encode()
    elif kind == "binary":
        for point in points.tolist():
            data += struct.pack("<Hfff", 1, *point)
    else:
        body = np.ones(len(points), "<u2").tobytes() + points.astype("<f4").T.tobytes()
        packed = body[:2][:2]
        packed = bytes([1]) + body[:2] + copies(2, len(points) * 2 - 2)
        rest = body[len(points) * 2 :]
        for i in range(0, len(rest), 32):
            packed += bytes([len(rest[i : i + 32]) - 1]) + rest[i : i + 32]
        data += struct.pack("<II", len(packed), len(body)) + packed
    path.write_bytes(data)
    return path


def copies(back: int, length: int) -> bytes:
    """LZF copies of `length` bytes from `back` bytes before, in steps of at most 264."""
    found = b""
    while length:
        part = min(length, 264) if min(length, 264) >= 3 else length
        if 0 < length - part < 3:
            part = length - 3
        head = [part - 2 << 5, back - 1] if part - 2 < 7 else [7 << 5, part - 9, back - 1]
        found += bytes(head)
        length -= part
    return found


def write_las(path: Path, points: np.ndarray, scale: float = 0.001) -> Path:
    """LAS 1.2, point format 0."""
    low = points.min(0)
    head = bytearray(227)
    head[:4], head[24:26] = b"LASF", bytes([1, 2])
    struct.pack_into("<HI", head, 94, 227, 227)
    struct.pack_into("<BHI", head, 104, 0, 20, len(points))
    struct.pack_into("<3d3d", head, 131, *[scale] * 3, *low)
    whole = np.round((points - low) / scale).astype(int)
    path.write_bytes(bytes(head) + b"".join(struct.pack("<3i8x", *row) for row in whole.tolist()))
    return path
