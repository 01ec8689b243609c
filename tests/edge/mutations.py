"""Damage to a file, seeded; and a child process that runs what passes the check."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies: bits flipped, words overwritten, blocks moved, parts cut out."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(content)
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
            kind, at = rng.randrange(6), rng.randrange(len(data))
            if kind <= 1:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                data[at] = rng.choice((0, 1, 127, 128, 255))
            elif kind == 3:
                word = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), rng.randrange(len(data))))
                data[at : at + 4] = word.to_bytes(4, "little", signed=True)
            elif kind == 4:
                source, length = rng.randrange(len(data)), rng.randrange(64)
                data[at : at + length] = data[source : source + length]
            else:
                del data[at : at + rng.choice((1, 2, 4, 64, len(data)))]
            if not data:
                break
        yield bytes(data)


def main() -> None:
    """Run each file of a pickled list from a number on, saying which before each."""
    import pickle
    from pathlib import Path

    import numpy as np

    from keras_dlcourse.edge import ImageClassifier, InvalidModel

    files = pickle.loads(Path(sys.argv[1]).read_bytes())
    for number in range(int(sys.argv[2]), len(files)):
        print(number, flush=True)
        try:
            classifier = ImageClassifier(files[number], mean=73, std=90)
            height, width, channels = classifier.input_shape
            classifier.run(np.zeros((1, height, width, channels), "uint8"))
        except InvalidModel:
            print("refused", flush=True)
        except ValueError:
            print("other", flush=True)
        else:
            print("ran", flush=True)


if __name__ == "__main__":
    main()
