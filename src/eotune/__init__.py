"""eotune: adapt pretrained vision-language models to remote-sensing imagery."""

__version__ = "0.1.0"
