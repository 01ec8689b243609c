"""The ways to store numbers in a `.tflite` file, as a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scheme:
    """One row: what the converter is told, and what the device then sees.

    Attributes:
        name: What users write as `quantization=`.
        meaning: One line for tables and help texts.
        op_sets: Names in `tf.lite.OpsSet`, in order of preference.
        calibrated: Whether activation ranges are measured on examples.
        dtypes: Allowed types of input and output, the default first.
        float16: Whether weights are stored in half precision.
        dense_per_tensor: Whether dense kernels share one scale.
        highest_score: The most that a sigmoid or softmax gives: integers step over 1 itself.
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
            "int8 weights, activations quantized as they come",
            # Per-channel dense kernels come as FULLY_CONNECTED version 12, which tflite-runtime
            # 2.14 does not know; with one scale a kernel it is version 9, which it does.
            dense_per_tensor=True,
        ),
        Scheme(
            "int8",
            "all integer, for phones, boards and accelerators",
            # What has no integer kernel stays in float and is reported, rather than refused.
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


def scheme(name: str) -> Scheme:
    """Return the row called `name`, or say which there are."""
    if name not in SCHEMES:
        raise ValueError(f"quantization={name!r} is not known; choose one of: {', '.join(SCHEMES)}")
    return SCHEMES[name]


def choose_dtype(argument: str, dtype: str | None, row: Scheme) -> str:
    """Return the type of an input or output, the default of the scheme if None.

    Raises:
        ValueError: If the scheme cannot have that type.
    """
    if dtype is None:
        return row.dtypes[0]
    if dtype not in row.dtypes:
        raise ValueError(
            f"{argument}={dtype!r} does not go with quantization={row.name!r}; "
            f"choose one of: {', '.join(row.dtypes)}"
        )
    return dtype
