"""Solution of exercise 1, as a learner may write it."""

import hashlib
import json
import tarfile
from datetime import UTC, datetime

import msgpack

from snapkit.jupyter import training

exercise = training.exercise(1)
path = exercise.folder / "backup.snap"

with tarfile.open(path) as tar:
    members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
exercise.check("a", list(members))

state = members["state.bin"]
exercise.check("b", hashlib.sha256(state).hexdigest())

term, index, milliseconds = json.loads(members["meta.json"])["ID"].split("-")
exercise.check("c", datetime.fromtimestamp(int(milliseconds) / 1000, UTC))

exercise.check("d", state[1])

unpacker = msgpack.Unpacker(raw=True)
unpacker.feed(state[2:])
exercise.check("e", next(unpacker)[b"Key"])
