"""What is fed with damage: each reader of files that somebody else wrote, with good files to begin from.

A target writes its good files into a folder once. A case is one file of them, damaged, and whatever hashes others hold
of it made right again, so that what stands behind the hashes is reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from PIL import Image
from spike_compressor.errors import InputError
from spike_compressor.registry import Registry
from spike_compressor.shipped import recipe_path

from fuzz import mutate

#: What is raised where a damaged file is not of a form that holds hashes.
_NO_SEAL = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)

TARGETS: Registry[type[Target]] = Registry("target", named=True)


class Target:
    """One reader of files.

    Attributes:
        share: of all cases, against others: quick ones have more.
        folder: for the good files; the case's file is damaged in place, and put back.
    """

    name: ClassVar[str]
    share: ClassVar[float] = 1.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.prepare()
        self.good = {path.relative_to(folder).as_posix(): path.read_bytes() for path in self._files()}
        self._dirty = False

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def prepare(self) -> None:
        """Write the good files."""
        raise NotImplementedError

    def damage(self, random: Random) -> tuple[str, bytes]:
        """A file's name, and what it holds now."""
        raise NotImplementedError

    def mend(self) -> None:
        """Make the hashes right that other files hold of the damaged one."""

    def read(self) -> object:
        """Feed the files to what reads them. InputError is what it may raise."""
        raise NotImplementedError

    def put(self, name: str, data: bytes) -> None:
        """Let the folder hold the good files, and this one in place of the one of its name."""
        if self._dirty:
            shutil.rmtree(self.folder)
            for other, content in self.good.items():
                (self.folder / other).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / other).write_bytes(content)
        (self.folder / name).write_bytes(data)
        self._dirty = True
        self.mend()


register = TARGETS.register


@register("recipe")
class Recipe(Target):
    """The shipped recipes, as `oneshot` and `compare` read them."""

    share = 3.0
    names = ("gptq_w4_tclif_34", "gptq_w4_tclif_rebuilt", "compare/quip_gptq_w4_g64", "codings/group4_rms")

    def prepare(self) -> None:
        self.texts = [recipe_path(name).read_text() for name in self.names]
        (self.folder / "recipe.yaml").write_text(self.texts[0])

    def damage(self, random: Random) -> tuple[str, bytes]:
        return "recipe.yaml", mutate.yaml_text(random, random.choice(self.texts))

    def read(self) -> object:
        from spike_compressor.cli.models import check_recipe
        from spike_compressor.cli.program import _one_line
        from spike_compressor.comparison.recipe import SplitRecipe

        path = self.folder / "recipe.yaml"
        try:
            check_recipe(path, "demo")
            return SplitRecipe.read(path).text()
        except ValueError as error:  # of modifiers that are not ours, whose complaints the command line shortens
            raise InputError(_one_line(error)) from error


@register("plan")
class Plan(Target):
    """Plans of timesteps and ratios."""

    share = 12.0
    modules = ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj", "model.vision_tower.fc1")

    def prepare(self) -> None:
        self.text = yaml.safe_dump(
            {
                self.modules[0]: {"text": 4, "vision": {"timesteps": 3, "ratio": 0.5}},
                self.modules[1]: {"text": {"timesteps": 7, "ratio": 0.25}, "vision": 2},
                self.modules[2]: 5,
            }
        )
        (self.folder / "plan.yaml").write_text(self.text)

    def damage(self, random: Random) -> tuple[str, bytes]:
        return "plan.yaml", mutate.yaml_text(random, self.text)

    def read(self) -> object:
        from spike_compressor.runtime.plan import read_plan, write_plan

        path = self.folder / "plan.yaml"
        read_plan(path, self.modules, ("text", "vision"))
        plan = read_plan(path)
        written = write_plan(plan, self.folder / "again.yaml")
        assert read_plan(written) == plan
        return plan


class _Checkpoint(Target):
    """A spike-ready checkpoint whose files are sealed again after one of them was damaged."""

    sharded: ClassVar[bool] = False

    def prepare(self) -> None:
        from fuzz.checkpoint import make

        make(self.folder, self.sharded)

    def mend(self) -> None:
        from spike_compressor.checkpoint.schema import sealed

        path = self.folder / "spike_config.json"
        with contextlib.suppress(*_NO_SEAL):
            content = json.loads(path.read_bytes())
            for name in content["sha256"]:
                file = self.folder / name
                if name != path.name and file.is_file() and file.parent == self.folder:
                    content["sha256"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
            path.write_text(json.dumps(sealed(content)))

    def read(self) -> object:
        import spike_compressor
        from spike_compressor.cli.program import run

        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = run(["inspect", str(self.folder), "--layers"])
        if code == 2:
            line = said.getvalue().removesuffix("\n")
            raise InputError(line if line.startswith("spike-compressor inspect: ") else f"no message:\n{line}")
        assert code == 0, code
        model = spike_compressor.load(self.folder)
        with torch.inference_mode():
            return model(input_ids=torch.tensor([[1, 3, 5, 7]])).logits


@register("spike_config")
class SpikeConfig(_Checkpoint):
    """`spike_config.json`, under a seal that is right."""

    share = 2.0

    def damage(self, random: Random) -> tuple[str, bytes]:
        return "spike_config.json", mutate.json_text(random, json.loads(self.good["spike_config.json"]))


@register("config")
class Config(_Checkpoint):
    """`config.json` and `generation_config.json`, under right hashes."""

    share = 1.0

    def damage(self, random: Random) -> tuple[str, bytes]:
        name = random.choice(("config.json", "config.json", "generation_config.json"))
        return name, mutate.json_text(random, json.loads(self.good[name]))


@register("weights")
class Weights(_Checkpoint):
    """`model.safetensors`, under a right hash."""

    share = 1.0

    def damage(self, random: Random) -> tuple[str, bytes]:
        return "model.safetensors", mutate.safetensors(random, self.good["model.safetensors"])


@register("thresholds")
class Thresholds(_Checkpoint):
    """`spike_thresholds.safetensors`, under a right hash."""

    share = 1.0

    def damage(self, random: Random) -> tuple[str, bytes]:
        name = "spike_thresholds.safetensors"
        return name, mutate.safetensors(random, self.good[name])


@register("index")
class Index(_Checkpoint):
    """`model.safetensors.index.json` of shards, under a right hash."""

    sharded = True
    share = 0.5

    def damage(self, random: Random) -> tuple[str, bytes]:
        name = "model.safetensors.index.json"
        return name, mutate.json_text(random, json.loads(self.good[name]))


class _Trace(Target):
    """A trace bundle of two layers."""

    def prepare(self) -> None:
        from spike_compressor.trace import BundleWriter

        random = np.random.default_rng(0)
        with BundleWriter(self.folder / "bundle", producer={"name": "fuzz"}, model={"name": "toy"}) as bundle:
            for name in ("fc1", "fc2"):
                codes = random.integers(-3, 4, (3, 4)).astype("i2")
                weight = random.integers(-8, 8, (2, 4)).astype("i1")
                acc = codes.astype("i4") @ weight.T.astype("i4")
                steps = np.stack([(np.abs(codes) >> 1 & 1), (np.abs(codes) & 1)]) * np.sign(codes)
                bundle.add_layer(
                    name,
                    coding="tc_lif",
                    frac_bits=4,
                    weight_bits=4,
                    membrane=(codes.astype("i4") * 16),
                    timesteps=np.full(3, 2, "u1"),
                    modality=np.zeros(3, "u1"),
                    codes=codes,
                    spikes=steps.astype("i1"),
                    weight=weight,
                    acc=acc,
                    act_scale=np.full(3, 0.5, "f4"),
                    weight_scale=np.ones(2, "f4"),
                    output=(acc * np.float32(0.5)).astype("f4"),
                )

    def read(self) -> object:
        from spike_compressor.trace import validate

        return validate(self.folder / "bundle")


@register("manifest")
class Manifest(_Trace):
    """`manifest.json` of a trace bundle."""

    share = 10.0

    def damage(self, random: Random) -> tuple[str, bytes]:
        return "bundle/manifest.json", mutate.json_text(random, json.loads(self.good["bundle/manifest.json"]))


@register("archive")
class Archive(_Trace):
    """Archives of arrays, under the hash that the manifest has of them."""

    share = 10.0

    def damage(self, random: Random) -> tuple[str, bytes]:
        name = "bundle/layer_0000.npz"
        return name, mutate.archive(random, self.good[name])

    def mend(self) -> None:
        path = self.folder / "bundle" / "manifest.json"
        with contextlib.suppress(*_NO_SEAL):
            content = json.loads(path.read_bytes())
            data = (self.folder / "bundle" / "layer_0000.npz").read_bytes()
            content["layers"][0]["sha256"] = hashlib.sha256(data).hexdigest()
            path.write_text(json.dumps(content))


def png(size: int = 8) -> bytes:
    """A small picture."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(stream, "PNG")
    return stream.getvalue()


class _Tokenizer:
    """Stands for a processor: letters are tokens."""

    pad_token, eos_token, image_token = "p", "e", "<image>"
    image_processor = True

    def __call__(self, text: list[str], images: Any = (), **_: Any) -> dict[str, Any]:
        longest = max(map(len, text))
        ids = [[ord(letter) % 64 for letter in line] + [0] * (longest - len(line)) for line in text]
        return {"input_ids": torch.tensor(ids), "pictures": [image.size for image in images]}


@register("calibration")
class Calibration(Target):
    """JSON Lines of texts and pictures."""

    share = 10.0

    def prepare(self) -> None:
        (self.folder / "a.png").write_bytes(png())
        rows = [
            {"text": "x <image> y", "image": "a.png"},
            {"text": "plain"},
            {"text": "<image><image>", "image": ["a.png"] * 2},
        ]
        (self.folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def damage(self, random: Random) -> tuple[str, bytes]:
        if random.random() < 0.2:
            return "a.png", mutate.picture(random, self.good["a.png"])
        return "data.jsonl", mutate.lines(random, self.good["data.jsonl"].decode(), _json_line)

    def read(self) -> object:
        from spike_compressor.cli.models import calibration_data

        return list(calibration_data(str(self.folder / "data.jsonl"), _Tokenizer(), 16, 2))


def _json_line(random: Random, line: str) -> str:
    return mutate.json_text(random, json.loads(line)).decode("utf-8", "replace")


@register("benchmark")
class Benchmark(Target):
    """Benchmarks in the form of their files: tables with pictures in them."""

    share = 10.0

    def prepare(self) -> None:
        import base64

        picture = base64.b64encode(png(24)).decode()
        head = "index\timage\tquestion\tanswer\tcategory\tsplit"
        rows = [
            f"0\t{picture}\twhat is it?\t['red', 'a red square']\tcolour\tval",
            "1\t0\tand this?\tred\tcolour\tval",
            f'2\t{picture}\t"two\nlines"\t[1]\tcount\tval',
        ]
        (self.folder / "TextVQA_VAL.tsv").write_text("\n".join([head, *rows]) + "\n")

    def damage(self, random: Random) -> tuple[str, bytes]:
        name = "TextVQA_VAL.tsv"
        return name, mutate.lines(random, self.good[name].decode(), _table_line)

    def read(self) -> object:
        from spike_compressor.evaluations.base import parse_evaluation

        evaluation: Any = parse_evaluation(f"textvqa:{self.folder}")
        questions = evaluation.questions()
        return [(evaluation.score(item, "red"), item.image().size if item.picture else None) for item in questions]


def _table_line(random: Random, line: str) -> str:
    cells = line.split("\t")
    at = random.randrange(len(cells))
    deep = "[" * random.choice((1, 3, 90, 5000, 200_000)) + "1"
    cells[at] = random.choice((str(mutate.value(random)), deep, cells[at][::-1], '"', "\t", "=" * 70, "A" * 100))
    return "\t".join(cells)


@register("hardware")
class Hardware(Target):
    """Reports of the RTL's benches, which `compare --rtl` shows."""

    share = 10.0

    def prepare(self) -> None:
        side = {"cycles": 10.0, "macs_per_cycle": 2.5}
        part = {
            "macs": 100,
            "spikes_per_input": 0.5,
            "utilisation": 0.9,
            "throughput_per_area_ratio": 1.5,
            "energy_per_mac_ratio": None,
            "spike": side,
            "dense": side,
        }
        groups = {"by_kind": {"q": part}, "by_modality": {"text": part}, "by_timesteps": {"4": part}}
        how = {"cycles": "simulated"}
        report = {"bundle": "out/trace", "spike": how, "dense": how, "total": part, **groups}
        (self.folder / "bench.json").write_text(json.dumps(report))

    def damage(self, random: Random) -> tuple[str, bytes]:
        return "bench.json", mutate.json_text(random, json.loads(self.good["bench.json"]))

    def read(self) -> object:
        from spike_compressor.comparison.hardware import hardware_rows, read_hardware

        return hardware_rows(read_hardware([self.folder / "bench.json"]))


@register("cell")
class Cell(Target):
    """Finished rows of a comparison: a damaged one is computed anew."""

    share = 2.0
    parts: ClassVar[dict[str, Any]] = {"kind": "float", "model": {"a": 1}}

    def prepare(self) -> None:
        from spike_compressor.comparison.cells import Cells

        Cells(self.folder).put(self.parts, {"figures": {"x": 1.5}, "seconds": 2.0})

    def damage(self, random: Random) -> tuple[str, bytes]:
        (name,) = self.good
        return name, mutate.json_text(random, json.loads(self.good[name]))

    def read(self) -> object:
        from spike_compressor.comparison.cells import Cells

        return Cells(self.folder).get(self.parts)
