"""Layers that stay in float inside of integer networks: what joins them, and what is skipped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from quantized_models import L, device, randomised

import keras_dlcourse as kd

SHAPE = (4, 4, 3)
PIXELS = kd.data.Normalization((127.5,), (30.0,))  # numbers of a normal distribution fit in


def numbers(seed: int, n: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, *SHAPE)).astype("float32")


def conv(x: Any, filters: int = 4, **options: Any) -> Any:
    return L.Conv2D(filters, 3, padding="same", **options)(x)


def network(body: Callable[[Any], Any]) -> keras.Model:
    """A convolution, the body, what follows it, and a Dense layer of five outputs."""
    given = keras.Input(SHAPE)
    x = body(conv(given, activation="relu"))
    if len(x.shape) == 4:
        x = L.GlobalAveragePooling2D()(conv(x))
    return randomised(keras.Model(given, L.Dense(5, name="scores")(x)))


def exported(
    model: keras.Model,
    folder: Path,
    skip: tuple[str, ...] = (),
    seen: Callable[[int], np.ndarray] = numbers,
    preprocessing: Any = PIXELS,
) -> tuple[str, ...]:
    """Quantize, calibrate and export; return the floats in the file, which answers as Keras."""
    x = seen(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that layers stay in float
        quantized = kd.quantize.quantization_aware(model, skip=skip)
        kd.quantize.calibrate(quantized, x)
        result = kd.export.to_tflite(
            quantized, folder / "model.tflite", preprocessing=preprocessing
        )
    ours = ops.convert_to_numpy(quantized(x, training=False))
    theirs, step = device(result.path, x)
    assert len(np.unique(np.round(ours / step))) > 20  # the outputs do vary
    assert np.abs(ours - theirs).max() <= 4.01 * step
    floats = ops.convert_to_numpy(model(x, training=False))
    assert np.abs(floats - theirs).max() <= 8.01 * step
    return tuple(name.split(" ")[0] for name in result.float_islands)


def pooled(x: Any) -> Any:
    return L.GlobalAveragePooling2D()(conv(x))


def _one_for_two(x: Any) -> Any:
    one = conv(x)
    return L.Concatenate()([L.ELU()(one), one])


def _dot(x: Any) -> Any:
    one, other = pooled(x), pooled(x)
    return L.Concatenate()([L.Dot(1)([one, other]), one])


def _siamese(x: Any) -> Any:
    backbone = keras.Sequential([keras.Input((4, 4, 4)), L.Conv2D(4, 3), L.ReLU()], name="backbone")
    one, other = backbone(x), backbone(ops.flip(x, axis=1))
    return L.Concatenate()([one, other, ops.abs(one - other)])


JOINS: dict[str, Callable[[Any], Any]] = {
    "elu": lambda x: L.Concatenate()([L.ELU()(conv(x)), conv(x)]),
    "one_for_two": _one_for_two,
    "group_normalization": lambda x: L.Concatenate()([L.GroupNormalization(2)(conv(x)), conv(x)]),
    "abs": lambda x: ops.concatenate([ops.abs(conv(x)), conv(x)], axis=-1),
    "dot": _dot,
    "skipped": lambda x: L.Concatenate()([conv(x, name="odd"), conv(x)]),
    "siamese": _siamese,
    "two_floats": lambda x: L.Concatenate()([L.ELU()(conv(x)), L.ELU()(conv(x))]),
    "pooled": lambda x: L.Concatenate()([L.MaxPooling2D(2)(L.ELU()(conv(x))), conv(x, strides=2)]),
    "minimum": lambda x: L.Flatten()(L.Minimum()([ops.abs(conv(x)), conv(x)])),
    "stacked": lambda x: L.Flatten()(ops.stack([ops.abs(pooled(x)), pooled(x)], axis=1)),
    # Nothing in float: the converter took one input's range for all.
    "reshaped": lambda x: L.Flatten()(L.Concatenate()([conv(x), x])),
}


@pytest.mark.parametrize("name", JOINS)
def test_joins_answer_as_in_keras_whatever_they_join(name: str, tmp_path: Path) -> None:
    skip = ("odd",) if name == "skipped" else ()
    floats = exported(network(JOINS[name]), tmp_path, skip)
    assert bool(floats) is (name != "reshaped")
    assert "CONCATENATION" not in floats and "PACK" not in floats


def test_integer_kernels_need_no_bridge_where_they_join() -> None:
    for body in (
        lambda x: L.Concatenate()([conv(x), conv(x)]),
        lambda x: L.Concatenate()([conv(x), x]),
        lambda x: L.Maximum()([conv(x), L.MaxPooling2D(1)(x)]),
    ):
        kinds = {type(layer) for layer in kd.quantize.quantization_aware(network(body)).layers}
        assert kd.layers.RangeBridge not in kinds


def _composites(x: Any) -> Any:
    backbone = keras.Sequential(
        [
            keras.Input((4, 4, 4)),
            L.Conv2D(4, 3, activation="swish", padding="same"),
            L.ReLU(1.0),
            L.BatchNormalization(),
        ],
        name="backbone",
    )
    x = L.SeparableConv2D(4, 3, padding="same", name="sep")(backbone(x))
    tokens = L.Reshape((16, 4))(x)
    tokens = L.MultiHeadAttention(2, 2, name="mha")(tokens, tokens, use_causal_mask=True)
    tokens = L.EinsumDense("bte,tn->bne", output_shape=(16, 4), name="mix")(tokens)
    return L.Flatten()(tokens)


def test_composites_and_nested_models_are_skipped_whole(tmp_path: Path) -> None:
    model = network(_composites)
    skip = ("mha", "backbone", "sep")
    plan = kd.quantize.plan(model, skip=skip)
    left = {step.layer: step.kind for step in plan.left_in_float}
    assert left == {
        "backbone": "Functional",
        "sep": "SeparableConv2D",
        "mha": "MultiHeadAttention",
        "mix": "EinsumDense",
    }
    floats = exported(model, tmp_path, skip)
    # All of the four: attention has 4 dense layers and 2 products.
    assert floats.count("CONV_2D") == 2 and floats.count("BATCH_MATMUL") == 2
    assert floats.count("FULLY_CONNECTED") == 5 and "LOGISTIC" in floats


def _masked(x: Any) -> Any:
    tokens = L.Reshape((16, 4))(x)
    mask = ops.greater(ops.matmul(tokens, ops.transpose(tokens, (0, 2, 1))), 0.0)
    tokens = L.MultiHeadAttention(2, 2, name="mha")(tokens, tokens, attention_mask=mask)
    return L.Reshape((4, 4, 4))(tokens)


@pytest.mark.parametrize(
    ("body", "option"), [(_composites, "use_causal_mask"), (_masked, "attention_mask")]
)
def test_masks_of_attention_name_the_ways_out(body, option: str) -> None:
    message = rf"'mha' .* with {option}, .*skip=\['mha'\].*kd.quantize.rule\(keras.layers.MultiH"
    with pytest.raises(ValueError, match=message):
        kd.quantize.quantization_aware(network(body))
    with pytest.warns(UserWarning, match="stay"):  # "mix", or the comparison
        kd.quantize.quantization_aware(network(body), skip=["mha"])


def test_a_mask_of_a_recurrent_layer_names_the_ways_out() -> None:
    def body(x: Any) -> Any:
        tokens = L.Masking()(L.Reshape((16, 4))(x))
        return L.LSTM(3, unroll=True, name="memory")(tokens)

    message = r"'memory' .* with mask, .*skip=\['memory'\].*kd.quantize.rule"
    with pytest.raises(ValueError, match=message):
        kd.quantize.quantization_aware(network(body))
    with pytest.warns(UserWarning, match="Masking"):
        kd.quantize.quantization_aware(network(body), skip=["memory"])


def test_products_without_integer_form_say_what_to_do() -> None:
    model = network(
        lambda x: L.EinsumDense("bte,tn->bne", output_shape=(6, 4))(L.Reshape((16, 4))(x))
    )
    with pytest.warns(UserWarning, match="'bte,tn->bne' has no integer form.*kd.quantize.rule"):
        kd.quantize.quantization_aware(model)


@pytest.mark.parametrize(
    ("name", "close"), [("spe", "'sep'"), ("bakcbone", "'backbone'"), ("scorse", "'scores'")]
)
def test_a_skip_that_matches_nothing_lists_close_names(name: str, close: str) -> None:
    model = network(_composites)
    message = f"skip='{name}' matches no layer, composite .*Did you mean {close}"
    for method in (kd.quantize.quantization_aware, kd.quantize.plan):
        with pytest.raises(ValueError, match=message):
            method(model, skip=["mha", name])
    with pytest.raises(ValueError, match=message):
        kd.compress.prune(model, skip=[name])


def test_pruning_and_clustering_skip_composites_whole() -> None:
    model = network(_composites)
    skip = ["sep", "backbone", "mix"]
    pruned = kd.compress.sparsity(kd.compress.prune(model, 0.5, skip=skip))
    assert [row.layer for row in pruned.layers if row.share > 0] == [
        model.layers[1].name,
        "scores",
    ]
    kinds = [type(layer).__name__ for layer in kd.compress.cluster(model, 4, skip=skip).layers]
    assert {"SeparableConv2D", "Functional"} <= set(kinds)
    assert kinds.count("CompressedConv2D") == 1 and "CompressedEinsumDense" not in kinds


def test_pixels_in_eight_bits_augmented_and_clipped_are_integers_throughout(
    tmp_path: Path,
) -> None:
    given = keras.Input(SHAPE, dtype="uint8")
    x = L.Rescaling(1 / 127.5, -1.0)(given)
    for augmentation in (L.RandomFlip(), L.RandomRotation(0.1), kd.layers.RandomAffine(10)):
        x = augmentation(x)
    x = ops.clip(L.MaxPooling2D(2)(ops.clip(conv(x), -0.5, 0.7)), 0, 0.6)
    model = randomised(keras.Model(given, L.Dense(5)(L.GlobalAveragePooling2D()(conv(x)))))

    def pixels(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (16, *SHAPE)).astype("uint8")

    identity = kd.data.Normalization.identity()
    assert not exported(model, tmp_path, seen=pixels, preprocessing=identity)


def test_floats_made_of_whole_numbers_have_a_range() -> None:
    given = keras.Input((4,), dtype="int32", name="counts")
    model = keras.Model(given, L.Dense(3)(ops.cast(given, "float32")))
    quantized = kd.quantize.quantization_aware(model)
    kd.quantize.calibrate(quantized, np.arange(8).reshape(2, 4))
    ranges = [layer for layer in quantized.layers if isinstance(layer, kd.layers.FakeQuantize)]
    assert ranges[0].range() == (0.0, 7.0) and len(ranges) == 2


def test_the_end_of_a_range_takes_the_place_of_a_clip_only_where_it_does_the_same() -> None:
    from keras_dlcourse.export.conversion.integer_form import integer_form

    def body(x: Any) -> Any:
        limited = [keras.Input((4, 4, 4)), L.ReLU(0.5), L.BatchNormalization()]
        return keras.Sequential(limited, name="limited")(conv(x))

    quantized = kd.quantize.quantization_aware(network(body), skip=["limited"])
    kd.quantize.calibrate(quantized, 3 * numbers(1))
    x = 3 * numbers(2)
    ours, theirs = (
        ops.convert_to_numpy(one(x, training=False)) for one in (quantized, integer_form(quantized))
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-3 * np.abs(ours).max())


@pytest.mark.parametrize("ends", [(0.1, 0.6), (-np.inf, 0.6)])
def test_clips_without_an_integer_form_say_so(ends: tuple[float, float]) -> None:
    model = network(lambda x: ops.clip(x, *ends))
    if np.isfinite(ends[0]):
        with pytest.warns(UserWarning, match="minimum of at most 0 and maximum of at least 0"):
            kd.quantize.quantization_aware(model)
    else:  # the end of the range that was observed is the clip's
        kd.quantize.quantization_aware(model)


def test_float_files_of_aware_models_have_nothing_for_integers(tmp_path: Path) -> None:
    from keras_dlcourse.export.conversion.integer_form import integer_form

    with pytest.warns(UserWarning, match="Abs"):
        quantized = kd.quantize.quantization_aware(network(JOINS["abs"]))
    kinds = {type(layer).__name__ for layer in quantized.layers}
    assert {"FakeQuantize", "FloatBarrier", "RangeBridge"} <= kinds
    plain = {type(layer).__name__ for layer in integer_form(quantized, keep_ranges=False).layers}
    assert plain.isdisjoint({"FakeQuantize", "FloatBarrier", "RangeBridge", "_ConvolutionByOne"})
