"""Public names that are walked, and those that are not parts of a kind."""

from __future__ import annotations

from typing import Any

import keras_dlcourse as kd
from cases.callbacks import CALLBACKS
from cases.layers import LAYERS
from cases.losses import LOSSES
from cases.metrics import METRICS
from cases.models import MODELS, SEGMENTERS

# Public names that are no part of a kind, and where they are tested instead.
NOT_PARTS = {
    "keras_dlcourse.layers.ImageViews": "of a fixed size: tests/layers/test_image_views.py",
    "keras_dlcourse.layers.OutputDescription": "describes: tests/export/test_localizers.py",
    "keras_dlcourse.layers.Bilinear": "an initializer: tests/layers/test_resizing.py",
    "keras_dlcourse.layers.CropLike": "of two inputs: tests/layers/test_resizing.py",
    "keras_dlcourse.layers.MaxUnpooling2D": "of two inputs: tests/layers/test_resizing.py",
    "keras_dlcourse.layers.ClassSpecific": "takes labels: tests/layers/test_augmentation.py",
    "keras_dlcourse.layers.ClusterWeight": "transforms weights: tests/compress/test_clustering.py",
    "keras_dlcourse.layers.ConstantSparsity": "a schedule: tests/compress/test_pruning.py",
    "keras_dlcourse.layers.PolynomialDecay": "a schedule: tests/compress/test_pruning.py",
    "keras_dlcourse.layers.PruneWeight": "transforms weights: tests/compress/test_pruning.py",
    "keras_dlcourse.layers.FakeQuantizeWeight": "of weights: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.Whitening": "adapted first: tests/layers/test_whitening.py",
    "keras_dlcourse.layers.WeightTransform": "a base class: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.compressed": "a function: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.compressed_class": "a function: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.describe": "a function: tests/layers/test_image_description.py",
    "keras_dlcourse.layers.record_thresholds": "a function: tests/layers/test_image_description.py",
    "keras_dlcourse.models.AugmentedModel": "takes a model: tests/models/test_augmented_model.py",
    "keras_dlcourse.models.AugmentationGain": "a result: tests/models/test_test_time.py",
    "keras_dlcourse.models.AugmentedPrediction": "a result: tests/models/test_test_time.py",
    "keras_dlcourse.models.TestTimeAugmentation": "takes models: tests/models/test_test_time.py",
    "keras_dlcourse.losses.for_task": "a table of losses: tests/losses/test_tasks.py",
    "keras_dlcourse.losses.GradNorm": "of MultitaskLoss: tests/models/test_multitask_model.py",
    "keras_dlcourse.losses.MultitaskLoss": "joins tasks: tests/losses/test_multitask_loss.py",
    "keras_dlcourse.losses.boundary_weights": "of NumPy: tests/losses/test_pixel_losses.py",
    "keras_dlcourse.metrics.boundary_f1": "of NumPy: tests/metrics/test_mask_metrics.py",
    "keras_dlcourse.metrics.InstanceScores": "a result: tests/metrics/test_instance_scores.py",
    "keras_dlcourse.metrics.instance_scores": "of NumPy: tests/metrics/test_instance_scores.py",
    "keras_dlcourse.metrics.MaskScores": "a result: tests/metrics/test_mask_metrics.py",
    "keras_dlcourse.metrics.mask_scores": "of NumPy: tests/metrics/test_mask_metrics.py",
    "keras_dlcourse.metrics.SegmentationScores": "a result: tests/metrics/test_mask_metrics.py",
    "keras_dlcourse.metrics.DetectionScores": (
        "a result: tests/metrics/test_mean_average_precision.py"
    ),
    "keras_dlcourse.metrics.MeanAveragePrecision": (
        "takes dictionaries: tests/metrics/test_mean_average_precision.py"
    ),
    "keras_dlcourse.metrics.mean_average_precision": (
        "of NumPy: tests/metrics/test_mean_average_precision.py"
    ),
    "keras_dlcourse.metrics.LocalizationAccuracy": "of two outputs: tests/metrics/test_boxes.py",
    "keras_dlcourse.models.MLP": "of vectors, not images: tests/models/test_mlp.py",
    "keras_dlcourse.models.MonteCarloDropout": "takes models: tests/models/test_monte_carlo.py",
    "keras_dlcourse.models.MonteCarloPrediction": "a result: tests/models/test_monte_carlo.py",
    "keras_dlcourse.models.MultitaskModel": "trains a model: tests/models/test_multitask_model.py",
    "keras_dlcourse.models.Perceptron": "of scikit-learn's kind: tests/models/test_perceptron.py",
    "keras_dlcourse.models.Siamese": "takes a model: tests/models/test_siamese.py",
    "keras_dlcourse.models.build": "a function: tests/models/test_registry.py",
    "keras_dlcourse.models.CompoundScale": "of compound_scale: tests/models/test_families.py",
    "keras_dlcourse.models.without_auxiliary": "of GoogLeNet: tests/models/test_families.py",
    "keras_dlcourse.models.compound_scale": "a formula: tests/models/test_families.py",
    "keras_dlcourse.models.WideResNet": "of any size: tests/models/test_families.py",
    "keras_dlcourse.models.ensemble": "takes models: tests/models/test_families.py",
    "keras_dlcourse.models.embedding_model": "any backbone: tests/models/test_embedding_model.py",
    "keras_dlcourse.models.keypoint_regressor": "any backbone: tests/models/test_localizer.py",
    "keras_dlcourse.models.localizer": "any backbone: tests/models/test_localizer.py",
    "keras_dlcourse.models.names": "a function: tests/models/test_registry.py",
    "keras_dlcourse.models.FCN16s": "FCN8s with fewer scales: tests/models/test_segmenters.py",
    "keras_dlcourse.models.FCN32s": "FCN8s with fewer scales: tests/models/test_segmenters.py",
    "keras_dlcourse.models.start_from": "a function: tests/models/test_segmenters.py",
    "keras_dlcourse.models.register": "a decorator: tests/models/test_registry.py",
}

# The other variants are rows of the tables of those families.
_CASED = {case.builder.__name__ for case in MODELS}

NOT_PARTS |= {
    f"keras_dlcourse.models.{builder.__name__}": "a row of a table: tests/models/test_families.py"
    for builder in map(kd.models.registry._BUILDERS.get, kd.models.names())
    if builder is not None and builder.__name__ not in _CASED
}

# The parts of the package that are walked, with the table that must hold a row for each name.
WALKED: dict[str, tuple[Any, ...]] = {
    "layers": tuple(case.layer for case in LAYERS),
    "models": tuple(case.builder for case in (*MODELS, *SEGMENTERS)),
    "losses": tuple(case.loss for case in LOSSES),
    "metrics": tuple(case.metric for case in METRICS),
    "callbacks": tuple(case.callback for case in CALLBACKS),
}
