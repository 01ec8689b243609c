"""The quantization schemes of `.tflite` files, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from keras_dlcourse._checks import check_one_of

MINIMUM = 100  # examples for calibration: with fewer, ranges depend on chance


@dataclass(frozen=True)
class Scheme:
    """One row: the settings of the converter and what the device then sees.

    Attributes:
        name: Name for the `quantization` argument.
        meaning: One line for tables and help texts.
        op_sets: Names in `tf.lite.OpsSet`, in order of preference.
        optimized: Whether the converter's default optimizations are on.
        calibrated: Whether activation ranges are measured on examples.
        dtypes: Allowed data types of input and output, the default first.
        float16: Whether weights are stored in half precision.
        dense_per_tensor: Whether dense kernels have one scale per tensor.
        highest_score: Maximum output of a sigmoid or softmax: integers cannot represent 1 itself.
    """

    name: str
    meaning: str
    op_sets: tuple[str, ...] = ("TFLITE_BUILTINS",)
    optimized: bool = True
    calibrated: bool = False
    dtypes: tuple[str, ...] = ("float32",)
    float16: bool = False
    dense_per_tensor: bool = False
    highest_score: float = 1.0


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("float32", "as trained", optimized=False),
        Scheme("float16", "weights in half precision, computed in float32", float16=True),
        Scheme(
            "dynamic",
            "int8 weights, activations quantized at run time",
            # Per-channel dense kernels become FULLY_CONNECTED version 12, which tflite-runtime 2.14
            # does not support; with one scale per kernel, version 9 suffices.
            dense_per_tensor=True,
        ),
        Scheme(
            "int8",
            "all integer, for phones, boards and accelerators",
            # Operations without an integer kernel stay in float and are reported, not rejected.
            op_sets=("TFLITE_BUILTINS_INT8", "TFLITE_BUILTINS"),
            calibrated=True,
            dtypes=("uint8", "int8", "float32"),
            highest_score=255 / 256,
        ),
        Scheme(
            "int16x8",
            "int16 activations with int8 weights, near float accuracy, slow on most devices",
            op_sets=(
                "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
                "TFLITE_BUILTINS",
            ),
            calibrated=True,
            dtypes=("float32", "int16"),
            highest_score=32767 / 32768,
        ),
    )
}


def find_scheme(name: str) -> Scheme:
    """Return the scheme called `name`.

    Raises:
        TypeError: If it is not a string.
        ValueError: If there is none.
    """
    return SCHEMES[check_one_of("quantization", name, tuple(SCHEMES))]


def choose_dtype(argument: str, dtype: str | None, row: Scheme) -> str:
    """Return the data type of an input or output, the default of the scheme if None.

    Raises:
        TypeError: If it is not a string.
        ValueError: If the scheme does not support that type.
    """
    if dtype is None:
        return row.dtypes[0]
    hint = f". These go with quantization={row.name!r}."
    return str(check_one_of(argument, dtype, row.dtypes, hint))
