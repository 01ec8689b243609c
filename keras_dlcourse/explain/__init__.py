"""See what a network uses: maps of the evidence for a class, by activations and gradients."""

from keras_dlcourse._extras import require

require("keras_dlcourse.explain", "tensorflow", "keras")

from keras_dlcourse.explain.engine.mapper import GradientMapper  # noqa: E402
from keras_dlcourse.explain.inversion.decoder import latent_decoder  # noqa: E402
from keras_dlcourse.explain.inversion.inverter import LatentInverter  # noqa: E402
from keras_dlcourse.explain.inversion.perception import (  # noqa: E402
    Perception,
    perception_visualization,
)
from keras_dlcourse.explain.judging.boxes import boxes_from_map  # noqa: E402
from keras_dlcourse.explain.judging.by_scores import (  # noqa: E402
    Curves,
    Drops,
    average_drop,
    deletion,
    insertion,
)
from keras_dlcourse.explain.judging.class_means import (  # noqa: E402
    ClassMeans,
    class_mean_maps,
)
from keras_dlcourse.explain.judging.sanity import SanityCheck, sanity_check  # noqa: E402
from keras_dlcourse.explain.judging.weak_localizer import (  # noqa: E402
    Location,
    WeakLocalizer,
    weak_localizer,
)
from keras_dlcourse.explain.maps.augmented import augmented_grad_cam  # noqa: E402
from keras_dlcourse.explain.maps.cam import ClassActivationMapper, cam  # noqa: E402
from keras_dlcourse.explain.maps.covering import occlusion, score_cam  # noqa: E402
from keras_dlcourse.explain.maps.gap_head import with_gap_head  # noqa: E402
from keras_dlcourse.explain.maps.gradient_maps import (  # noqa: E402
    eigen_cam,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
)
from keras_dlcourse.explain.maps.gradients import (  # noqa: E402
    guided_backprop,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from keras_dlcourse.explain.methods import METHODS  # noqa: E402
from keras_dlcourse.explain.units.filters import filters  # noqa: E402
from keras_dlcourse.explain.units.maximization import (  # noqa: E402
    Maximization,
    activation_maximization,
)
from keras_dlcourse.explain.units.patches import Patch, maximal_patches  # noqa: E402
from keras_dlcourse.graph.head import Head, find_head  # noqa: E402
from keras_dlcourse.graph.receptive_field import (  # noqa: E402
    ReceptiveField,
    receptive_field,
)

__all__ = [
    "METHODS",
    "ClassActivationMapper",
    "ClassMeans",
    "Curves",
    "Drops",
    "GradientMapper",
    "Head",
    "LatentInverter",
    "Location",
    "Maximization",
    "Patch",
    "Perception",
    "ReceptiveField",
    "SanityCheck",
    "WeakLocalizer",
    "activation_maximization",
    "augmented_grad_cam",
    "average_drop",
    "boxes_from_map",
    "cam",
    "class_mean_maps",
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
    "latent_decoder",
    "layer_cam",
    "maximal_patches",
    "occlusion",
    "perception_visualization",
    "receptive_field",
    "saliency",
    "sanity_check",
    "score_cam",
    "smooth_grad",
    "weak_localizer",
    "with_gap_head",
]
