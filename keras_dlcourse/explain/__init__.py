"""See what a network uses: maps of the evidence for a class, by activations and gradients."""

from keras_dlcourse._extras import require

require("keras_dlcourse.explain", "tensorflow", "keras")

from keras_dlcourse.explain.augmented import augmented_grad_cam  # noqa: E402
from keras_dlcourse.explain.boxes import boxes_from_map  # noqa: E402
from keras_dlcourse.explain.cam import ClassActivationMapper, cam  # noqa: E402
from keras_dlcourse.explain.covering import occlusion, score_cam  # noqa: E402
from keras_dlcourse.explain.filters import filters  # noqa: E402
from keras_dlcourse.explain.gap_head import with_gap_head  # noqa: E402
from keras_dlcourse.explain.gradient_maps import (  # noqa: E402
    eigen_cam,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
)
from keras_dlcourse.explain.gradients import (  # noqa: E402
    guided_backprop,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from keras_dlcourse.explain.judging import (  # noqa: E402
    Curves,
    Drops,
    average_drop,
    deletion,
    insertion,
)
from keras_dlcourse.explain.mapper import GradientMapper  # noqa: E402
from keras_dlcourse.explain.maximization import (  # noqa: E402
    Maximization,
    activation_maximization,
)
from keras_dlcourse.explain.methods import METHODS  # noqa: E402
from keras_dlcourse.explain.patches import Patch, maximal_patches  # noqa: E402
from keras_dlcourse.explain.receptive_fields import receptive_field  # noqa: E402
from keras_dlcourse.explain.sanity import SanityCheck, sanity_check  # noqa: E402
from keras_dlcourse.graph.head import Head, find_head  # noqa: E402
from keras_dlcourse.graph.receptive_field import ReceptiveField  # noqa: E402

__all__ = [
    "METHODS",
    "ClassActivationMapper",
    "Curves",
    "Drops",
    "GradientMapper",
    "Head",
    "Maximization",
    "Patch",
    "ReceptiveField",
    "SanityCheck",
    "activation_maximization",
    "augmented_grad_cam",
    "average_drop",
    "boxes_from_map",
    "cam",
    "deletion",
    "eigen_cam",
    "filters",
    "find_head",
    "grad_cam",
    "grad_cam_pp",
    "guided_backprop",
    "hires_cam",
    "insertion",
    "integrated_gradients",
    "layer_cam",
    "maximal_patches",
    "occlusion",
    "receptive_field",
    "saliency",
    "sanity_check",
    "score_cam",
    "smooth_grad",
    "with_gap_head",
]
