"""How an encoder is changed: one file a method, its name in recipes. Adapted models are loaded here too."""

from eotune.methods.adapted import load_adapted, load_image_model, load_model, save_adapted
from eotune.methods.base import Method, MethodConfig, ParameterCounts, Phase, parameter_counts
from eotune.methods.by_name import create, method_config, method_problems, names

__all__ = [
    "Method",
    "MethodConfig",
    "ParameterCounts",
    "Phase",
    "create",
    "load_adapted",
    "load_image_model",
    "load_model",
    "method_config",
    "method_problems",
    "names",
    "parameter_counts",
    "save_adapted",
]
