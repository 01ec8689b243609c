"""The kinds of inputs, and what each input of a model is."""

from keras_dlcourse.export.inputs.image import IMAGE
from keras_dlcourse.export.inputs.kind import Kind
from keras_dlcourse.export.inputs.numbers import NUMBERS, SEQUENCE, VECTOR
from keras_dlcourse.export.inputs.tokens import TOKENS

KINDS: dict[str, Kind] = {
    "image": IMAGE,
    "tokens": TOKENS,
    "vector": VECTOR,
    "sequence": SEQUENCE,
    "numbers": NUMBERS,
}
"""The kinds by name: the first that recognizes an input is its kind."""

__all__ = ["KINDS"]
