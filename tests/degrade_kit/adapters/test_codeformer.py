"""With the basicsr of the package index, whose registry and sampler CodeFormer's own basicsr has unchanged."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import degrade_kit as dk
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from tests.degrade_kit.adapters.test_basicsr import run

CONTRACT = """
import sys, types
# basicsr 1.4.2 takes one function from a module that torchvision dropped; CodeFormer's does not.
stand_in = types.ModuleType("torchvision.transforms.functional_tensor")
stand_in.rgb_to_grayscale = None
sys.modules.setdefault(stand_in.__name__, stand_in)

import torch
import degrade_kit.adapters.codeformer
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from degrade_kit.errors import ConfigError
from degrade_kit.presets import preset
from degrade_kit.streaming import PairMapDataset, PairOptions

out = sys.argv[1]
opt = {"name": "FFHQ", "type": "DegradeKitPairs", "phase": "train", "dataroot": out, "num_worker_per_gpu": 1,
       "batch_size_per_gpu": 3, "dataset_enlarge_ratio": 1, "prefetch_mode": None, "io_backend": {"type": "disk"},
       "crop": 48, "use_hflip": True}
joint = {**opt, "large": {"onthefly": "codeformer-stage3-large", "onthefly_prob": 1}}
same = {"crop": 48, "flip": True, "dtype": "float32"}
small = PairMapDataset(out, PairOptions(**same))
large = PairMapDataset(out, PairOptions(**same, onthefly=preset("codeformer-stage3-large"), onthefly_prob=1))

dataset = build_dataset(joint)
assert set(build_dataset(opt)[0]) == {"in", "gt", "gt_path"}
sampler = EnlargedSampler(dataset, 1, 0)
for epoch in range(2):
    for one in (sampler, small, large):
        one.set_epoch(epoch)
    expected = {small[n]["key"]: (small[n], large[n]) for n in range(6)}
    for batch in build_dataloader(dataset, joint, num_gpu=0, sampler=sampler, seed=0):
        assert set(batch) == {"in", "in_large_de", "gt", "gt_path"}
        for n, key in enumerate(batch["gt_path"]):
            ours, worse = expected[key]
            assert batch["in"][n].dtype == torch.float32
            assert torch.equal(batch["in"][n], (ours["lq"] - 0.5) / 0.5), (epoch, key)
            assert torch.equal(batch["gt"][n], (ours["hq"] - 0.5) / 0.5), (epoch, key)
            assert torch.equal(batch["in_large_de"][n], (worse["lq"] - 0.5) / 0.5), (epoch, key)
            assert torch.equal(ours["hq"], worse["hq"]), "one ground truth for both"
            assert worse["variant"] == -1 != ours["variant"]

plain = build_dataset({**opt, "mean": [0, 0, 0], "std": [1, 1, 1]})[0]
assert 0 <= plain["gt"].min() < plain["gt"].max() <= 1

for wrong, words in [({"latent_gt_path": "codes.pth"}, "unknown option `latent_gt_path`"),
                     ({"dataset_enlarge_ratio": 100}, "expected 1"),
                     ({"large": {"varaint": 1}}, "did you mean `variant`"),
                     ({"large": {"variant": 2}}, "expected 0 to 1"),
                     ({"large": {"variant": "all"}}, "not for the other")]:
    try:
        build_dataset({**opt, **wrong})
    except ConfigError as error:
        assert words in str(error), error
    else:
        raise AssertionError(wrong)
print("kept")
"""


@pytest.mark.skipif(find_spec("basicsr") is None, reason="basicsr is not installed")
def test_samples_keep_the_contract_of_codeformer(faces_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = SynthConfig(hq=str(faces_dir), recipe=dk.preset("gfpgan"), variants=2, image=HqConfig(size=64))
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    assert "kept\n" in run(CONTRACT, str(out))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["basicsr", "codeformer"])
def test_without_basicsr_the_import_says_how_to_install_it(name: str) -> None:
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'basicsr' else find(name, *a)\n"
        f"try:\n    import degrade_kit.adapters.{name}\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert f"degrade_kit.adapters.{name} needs " in run(code)
