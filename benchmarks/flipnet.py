"""FlipNet's sampling against naive joint sampling, and a worker's time in its model: `python -m benchmarks.flipnet`.

Five LQ images of a face in 20 steps. Naive joint sampling gives every image a condition row of its own, runs both rows
in every step, and guides with two passes whatever the prompts are. Ours runs the condition once, then images alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import hq_images, print_machine, write_json
from degrade_kit.flipnet.base_small import word_tokenizer
from degrade_kit.flipnet.checkpoint import BaseReference, save
from degrade_kit.flipnet.config import FlipNetConfig
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import SamplingConfig, latent_size, make_scheduler, sample
from degrade_kit.image import Pixels
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.network_maker import NetworkMaker
from degrade_kit.pipelines.makers.networks import NetworkSettings, flipnet_recipe, flipnet_step, load_networks
from degrade_kit.pipelines.makers.recipe_maker import Prepared

VARIANTS, STEPS = 5, 20
WORDS = ("dark", "strong noise", "haze")
CASES = {"both prompts null": "", "a prompt against null": "haze"}


def sd_parts(widths: Sequence[int], vae_widths: Sequence[int], context: int, head: int, layers: int) -> tuple[Any, Any]:
    """A U-Net and an autoencoder in Stable Diffusion 2.1's layout."""
    import diffusers as untyped

    diffusers: Any = untyped
    attended = len(widths) - 1
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        block_out_channels=tuple(widths),
        down_block_types=("CrossAttnDownBlock2D",) * attended + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * attended,
        layers_per_block=layers,
        attention_head_dim=tuple(width // head for width in widths),
        cross_attention_dim=context,
        use_linear_projection=True,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=tuple(vae_widths),
        down_block_types=("DownEncoderBlock2D",) * len(vae_widths),
        up_block_types=("UpDecoderBlock2D",) * len(vae_widths),
        layers_per_block=layers,
        latent_channels=4,
    )
    return unet, vae


def flipnet(parts: tuple[Any, Any], context: int, config: FlipNetConfig, device: str = "cpu") -> FlipNet:
    """With a text model of one layer: its share of the time is nothing."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = word_tokenizer(WORDS, 16)
    text_config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=context,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=context,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    text_encoder = CLIPTextModel(text_config)
    with torch.device(device):
        return FlipNet(*parts, text_encoder, tokenizer, scheduler, config).eval()


def small_net() -> FlipNet:
    """Three levels, 10 M parameters."""
    torch.manual_seed(0)
    parts = sd_parts((96, 192, 192), (32, 32, 32, 32), 96, 32, 1)
    net = flipnet(parts, 96, FlipNetConfig(lora_rank=8))
    for name, parameter in net.unet.named_parameters():
        if "processor.to_out" in name or "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    return net


@torch.no_grad()
def naive(net: FlipNet, images: Tensor, noise: Tensor, prompts: Sequence[str], config: SamplingConfig) -> Tensor:
    """Every row with its own condition row, both branches in every step, guidance always."""
    rows = noise.shape[0]
    condition = net.encode_images(images).repeat_interleave(rows // images.shape[0], dim=0)
    zeros = torch.zeros(rows, dtype=torch.long)
    texts = [net.encode_prompts(each) for each in ([config.negative_prompt] * rows, prompts)]
    scheduler: Any = make_scheduler(net, config)
    noisy = noise
    for timestep in scheduler.timesteps:
        steps = torch.full((rows,), int(timestep))
        without, with_prompt = (
            net.predict_joint(noisy, steps, condition, zeros, tokens, condition_tokens=tokens)[0] for tokens in texts
        )
        noisy = scheduler.step(without + config.guidance * (with_prompt - without), timestep, noisy).prev_sample
    return net.decode_latents(noisy).clamp(-1, 1)


def compare(net: FlipNet, side: int, runs: int) -> list[dict[str, Any]]:
    """CPU seconds and rows of both, run in turn, and the largest difference of their images."""
    source = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, side, side, generator=source) * 2 - 1
    noise = torch.randn(VARIANTS, *latent_size(net, side, side), generator=source)
    config = SamplingConfig(num_steps=STEPS, guidance=1.5)
    rows_run: list[int] = []
    net.unet.register_forward_pre_hook(lambda module, args: rows_run.append(args[0].shape[0]))
    results: list[dict[str, Any]] = []
    for case, prompt in CASES.items():
        found: dict[str, Any] = {"case": case}
        made: dict[str, Tensor] = {}
        seconds: dict[str, list[float]] = {"naive": [], "ours": []}
        for _ in range(runs):
            for name, function in (("naive", naive), ("ours", sample)):
                rows_run.clear()
                start = time.process_time()
                made[name] = function(net, images, noise, [prompt] * VARIANTS, config)
                seconds[name].append(time.process_time() - start)
                found[f"{name}_rows"] = sum(rows_run)
        found |= {f"{name}_seconds": min(values) for name, values in seconds.items()}
        found["difference"] = float((made["naive"] - made["ours"]).abs().max()) * 127.5
        results.append(found)
    return results


def sd21_flops() -> dict[str, float]:
    """Floating-point operations of FlipNet on Stable Diffusion 2.1-base at 512 x 512, counted, in 10^9."""
    with torch.device("meta"):
        parts = sd_parts((320, 640, 1280, 1280), (128, 256, 512, 512), 1024, 64, 2)
    net = flipnet(parts, 1024, FlipNetConfig(lora_rank=64), "meta")
    one, image = torch.zeros(1, 4, 64, 64, device="meta"), torch.zeros(1, 3, 512, 512, device="meta")
    step, tokens = torch.zeros(1, dtype=torch.long, device="meta"), torch.zeros(1, 77, 1024, device="meta")
    store: dict[str, tuple[Tensor, Tensor]] = {}

    def write() -> None:
        store.update(net.write(one, step, tokens))

    calls: dict[str, Any] = {
        "joint": lambda: net.predict_joint(one, step, one, step, tokens, condition_tokens=tokens),
        "write": write,
        "read": lambda: net.read(one, step, tokens, store),
        "encode": lambda: net.vae.encode(image),
        "decode": lambda: net.vae.decode(one),
    }
    found: dict[str, float] = {}
    with torch.no_grad():
        for name, call in calls.items():
            with FlopCounterMode(display=False) as counter:
                call()
            found[name] = counter.get_total_flops() / 1e9
    return found


def totals(flops: dict[str, float]) -> dict[str, float]:
    """10^12 operations for five LQ images of a face, autoencoder included."""
    ends = flops["encode"] + VARIANTS * flops["decode"]
    read = VARIANTS * STEPS * flops["read"]
    cases = {
        "naive, guided": 2 * VARIANTS * STEPS * flops["joint"],
        "ours, guided": 2 * flops["write"] + 2 * read,
        "ours, both prompts null": flops["write"] + read,
        **{f"ours, distilled to {count}": flops["write"] + VARIANTS * count * flops["read"] for count in (4, 1)},
    }
    return {name: (value + ends) / 1e3 for name, value in cases.items()}


def worker(net: FlipNet, count: int, side: int) -> dict[str, float]:
    """Share of the time in the model, and LQ images per second, of what a worker runs in `--mode flipnet`."""
    faces = [image[:side, :side] for image in hq_images(None).values()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        save(net, path, BaseReference(location="base"), sampling=SamplingConfig(num_steps=STEPS))
        recipe, settings = flipnet_recipe(flipnet_step(str(path))), NetworkSettings(device="cpu")
        config = SynthConfig(hq="", recipe=recipe, variants=VARIANTS, network=settings)
        maker = NetworkMaker(config, "png", load_networks(recipe, settings, threads=1))

        def prepared() -> Iterator[Prepared]:
            for number in range(count):
                pixels: Pixels = np.ascontiguousarray(faces[number % len(faces)])
                yield Prepared(f"{number}.png", pixels)

        start = time.perf_counter()
        made = sum(len(row) for row in maker.variants(prepared()))
        wall = time.perf_counter() - start
    return {"busy": maker.busy / wall, "images_per_second": made / wall}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flipnet", description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="side of the image, pixels (default: 256)")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each (default: 3)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()
    torch.set_num_threads(1)

    print_machine()
    net = small_net()
    print(f"{VARIANTS} LQ images of one face of {options.side} pixels, {STEPS} steps; least of {options.runs} runs")
    compared = compare(net, options.side, options.runs)
    for row in compared:
        rows = f"{row['naive_rows']} rows to {row['ours_rows']}"
        times = f"{row['naive_seconds']:.2f} s to {row['ours_seconds']:.2f} s of CPU"
        ratio = row["naive_seconds"] / row["ours_seconds"]
        print(f"  {row['case']:24}{rows:20}{times:32}{ratio:5.2f} x   differ by {row['difference']:.4f} levels")
    flops = sd21_flops()
    print("Stable Diffusion 2.1-base at 512 pixels, GFLOP counted for one row:")
    print("  " + ", ".join(f"{name} {value:,.0f}" for name, value in flops.items()))
    whole = totals(flops)
    for name, value in whole.items():
        print(f"  {name:28}{value:7.1f} TFLOP for a face {whole['naive, guided'] / value:7.2f} x")
    found = worker(net, 6, options.side)
    print(f"a worker: {found['busy']:.0%} of its time in the model, {found['images_per_second']:.2f} LQ images/s")
    write_json(options.json, {"compared": compared, "flops": flops, "totals": whole, "worker": found})


if __name__ == "__main__":
    main()
