"""The package as people get it: built, installed into an environment of its own, used from an empty directory.

The environment has what `dependencies` names and what that needs, linked from the running one instead of downloaded;
whatever else is installed here is absent there. A second small package is built and installed beside it, to be found by
its entry points.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from spike_compressor.shipped import recipe_names

ROOT = Path(__file__).parents[1]
#: What only some part of the package needs, which says so: harnesses, Ray, vLLM and the client of Prometheus that it
#: brings; and Triton, which CUDA builds of torch come with.
OPTIONAL = {"lm-eval", "lmms-eval", "prometheus-client", "ray", "triton", "vllm", "vlmeval"}
#: The library of the kernels, compiled while the wheel is built.
KERNELS = f"spike_compressor/kernels/libspike_kernels.{'dylib' if sys.platform == 'darwin' else 'so'}"
#: Wheels larger than this are not for everybody's disk.
LARGEST = 12e6

THEIR_PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "their-spikes"
version = "1.0"

[tool.setuptools]
py-modules = ["their_spikes"]

[project.entry-points."spike_compressor.codings"]
least_first = "their_spikes:LeastFirst"
broken = "their_spikes.not_there:Coding"

[project.entry-points."spike_compressor.statistics"]
second_largest = "their_spikes:SecondLargest"

[project.entry-points."spike_compressor.backends"]
careful = "their_spikes:Careful"

[project.entry-points."spike_compressor.allocations"]
richer_mlp = "their_spikes:RicherMLP"

[project.entry-points."spike_compressor.evaluations"]
process = "their_spikes:Process"

[project.entry-points."spike_compressor.adapters"]
paligemma = "their_spikes:PaliGemmaAdapter"
"""

THEIR_MODULE = '''
"""A package that adds one of each kind."""

import os
from pathlib import Path

from spike_compressor.coding import Coding, Statistic, register_coding, register_statistic
from spike_compressor.evaluations import Evaluation, Metric, register_evaluation
from spike_compressor.modality import ModalityAdapter, register_adapter
from spike_compressor.modifiers.allocation import get_allocation, register_allocation
from spike_compressor.runtime.backends import Fused, register_backend


@register_coding("least_first")
class LeastFirst(Coding):
    """T steps of {-1, 0, 1} with weights 2^t: the bits of |q|, lowest first."""

    signed = True

    def weights(self, timesteps):
        return tuple(1 << t for t in range(timesteps))

    def fire(self, levels, timesteps, spikes):
        magnitude = levels.abs()
        for t, plane in enumerate(spikes):
            plane.copy_((magnitude >> t & 1) * levels.sign())


@register_statistic("second_largest")
class SecondLargest(Statistic):
    """The second largest magnitude, or a quarter of the largest where that is more."""

    def of_rows(self, x):
        largest = x.float().abs().topk(2, dim=-1).values
        return largest[..., 1].maximum(largest[..., 0] / 4)

    def divisor(self, codec, timesteps):
        return codec.largest(timesteps)


@register_backend("careful")
class Careful(Fused):
    """As the fused one; leaves a file in the working directory that tells of it."""

    def run(self, *args, **kwargs):
        Path("careful.txt").touch()
        return super().run(*args, **kwargs)


@register_allocation("richer_mlp")
class RicherMLP(get_allocation("fixed")):
    """One timestep more in the MLPs."""

    def plan(self, modules, measured):
        plan = super().plan(modules, measured)
        return {name: {m: T + (".mlp." in name) for m, T in table.items()} for name, table in plan.items()}


@register_evaluation("process")
class Process(Evaluation):
    """The process that it ran in."""

    unit = "number"
    higher_is_better = True

    def items(self, processor):
        yield b"nothing"

    def calibration_items(self, loader):
        return iter(())

    def parts(self):
        return {"evaluation": self.label}

    def run(self, model, processor, progress=None):
        return Metric(0.0, 0.0, 0.0, 1, {"parent": os.getppid()})

    def sample(self, model, processor):
        model(**processor.tokenizer("is there a 7 ?", return_tensors="pt"))


@register_adapter("paligemma")
class PaliGemmaAdapter(ModalityAdapter):
    """PaliGemma."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index")
'''

THEIR_RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups: {w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}}
  spike_modifiers:
    MSTSModifier: {allocation: richer_mlp, timesteps: {vision: 3, text: 4}}
    TCLIFModifier: {ignore: [lm_head], coding: least_first, threshold_statistic: second_largest}
"""


class Place(NamedTuple):
    """An environment, and an empty directory with an empty home to call it from."""

    python: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        path = os.pathsep.join((str(self.python.parent), os.environ["PATH"]))
        return {"PATH": path, "HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def call(self, *argv: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The command line, from the empty directory."""
        command = [str(self.python.parent / "spike-compressor"), *map(str, argv)]
        return self._run(command, code)

    def json(self, *argv: object) -> Any:
        """What a call prints, the one object."""
        return json.loads(self.call(*argv, "--json").stdout)

    def say(self, source: str) -> str:
        """What some Python prints there."""
        return self._run([str(self.python), "-c", source], 0).stdout

    def _run(self, command: list[str], code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done


def pip(*argv: object) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, argv)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def build(project: Path, out: Path) -> Path:
    """Its wheel, made of its source distribution, as `python -m build` does."""
    code = f"import setuptools.build_meta as backend; print(backend.build_sdist({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (source,) = out.glob("*.tar.gz")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out, source)
    (wheel,) = out.glob("*.whl")
    return wheel


def copy_sources(project: Path) -> None:
    project.mkdir(exist_ok=True)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    left = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.so", "*.dylib")
    for name in ("plugin", "recipes", "kernels", "tools", "tests", "rtl"):
        shutil.copytree(ROOT / name, project / name, ignore=left)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("source")
    copy_sources(project)
    return build(project, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def inside(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def required(wheel: Path) -> set[str]:
    """Names of what the wheel depends on, directly and indirectly, without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = re.findall(r"^Requires-Dist: (.*)$", archive.read(name).decode(), re.MULTILINE)
    found: set[str] = set()
    todo = [Requirement(line) for line in lines]
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        try:
            found.add(name)
            todo += map(Requirement, distribution(name).requires or ())
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed here, which spike-compressor depends on")
    return found


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An environment with the wheel and its dependencies alone."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in required(wheel):
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            target = Path(str(package.locate_file(top)))
            if target.exists() and not (packages / top).exists():
                (packages / top).symlink_to(target)
    python = home / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    return Place(python, tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def demo(place: Place) -> Any:
    return place.json("demo", "--questions", 2)


@pytest.fixture(scope="module")
def crowded(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same environment, with a package of somebody else in it."""
    project = tmp_path_factory.mktemp("theirs")
    (project / "pyproject.toml").write_text(THEIR_PROJECT)
    (project / "their_spikes.py").write_text(THEIR_MODULE)
    pip("--python", place.python, "install", "--no-deps", "--no-index", "--no-build-isolation", project)
    (place.folder / "theirs.yaml").write_text(THEIR_RECIPE)
    return place


# What is in it


def test_the_wheel_has_what_it_needs_and_no_more(wheel: Path, inside: set[str]) -> None:
    assert wheel.stat().st_size <= LARGEST
    package = {name for name in inside if name.startswith("spike_compressor/")}
    assert {name.partition("/")[0] for name in inside - package} == {f"{'-'.join(wheel.stem.split('-')[:2])}.dist-info"}
    plugin = ROOT / "plugin"
    here = {path.relative_to(plugin).as_posix() for path in plugin.glob("spike_compressor/**/*") if path.is_file()}
    here = {name for name in here if "__pycache__" not in name and not name.endswith((".so", ".dylib"))} | {KERNELS}
    assert package == here | {f"spike_compressor/recipes/{name}.yaml" for name in recipe_names()}
    assert wheel.stem.split("-")[2:4] == ["py3", "none"]  # for every Python, on this kind of machine
    assert wheel.stem.split("-")[4] != "any"
    assert any(name.endswith("/licenses/LICENSE") for name in inside)
    assert "spike_compressor/demo/MODEL_CARD.md" in package
    assert not {name for name in inside if name.endswith((".sv", ".pyc", "/train.py", "/sources.py"))}


def test_without_a_compiler_the_wheel_is_for_every_machine_and_building_says_so(tmp_path: Path) -> None:
    copy_sources(tmp_path / "source")
    code = "import setuptools.build_meta as backend; backend.build_wheel('out')"
    environment = os.environ | {"CXX": "no-such-compiler"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "source", capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "no-such-compiler" in done.stderr
    (wheel,) = (tmp_path / "source" / "out").glob("*.whl")
    assert wheel.stem.endswith("-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        assert KERNELS not in archive.namelist()


def test_everything_that_is_imported_is_a_dependency() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional")[0]
    declared = {canonicalize_name(Requirement(line).name) for line in re.findall(r'^    "([^"]+)"', project, re.M)}
    owners = packages_distributions()
    for file in (ROOT / "plugin" / "spike_compressor").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names} - {"spike_compressor"} - sys.stdlib_module_names:
                owned = {canonicalize_name(owner) for owner in owners.get(name, (name,))}
                assert owned & (declared | OPTIONAL), f"{file.name} imports {name}, which is not among the dependencies"


def test_nothing_else_is_visible_there(place: Place) -> None:
    others = ("lm_eval", "pytest", "hypothesis", "cocotb", "mypy", "easy_vqa", "helpers", "demo_model", "pip")
    code = f"from importlib.util import find_spec; print([name for name in {others} if find_spec(name)])"
    assert place.say(code) == "[]\n"
    where = Path(place.say("import spike_compressor; print(spike_compressor.__file__)").strip())
    assert where.is_relative_to(place.python.parents[1])


# What it does


def test_demo(place: Place, demo: Any) -> None:
    from spike_compressor.demo.data import KINDS

    page = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8").split("## The fields of `--json`")[1]
    named = set(re.findall(r"^\| `(\w+)[.`…]", page.split("\n## ")[0], re.MULTILINE))
    assert set(demo) == named
    assert set(demo["accuracy"]["spiking"]["questions"]) == set(KINDS)
    assert demo["accuracy"]["float"]["average"] > 0.8
    assert demo["accuracy"]["spiking"]["average"] > 0.8
    assert demo["recipe"] == "gptq_w4_tclif_rebuilt.yaml"
    assert demo["coverage"] > 0.95
    assert all((place.folder / demo[name]).exists() for name in ("checkpoint", "trace"))


@pytest.mark.slow
def test_demo_with_a_recipe_by_name(place: Place) -> None:
    shown = place.call("demo", "--recipe", "rtn_w4_tclif_34", "--questions", 2, "--out", "rtn").stdout
    assert "rtn_w4_tclif_34" in shown
    assert f"make rtl TRACE={place.folder / 'rtn' / 'trace'}" in shown.replace("\n", "")
    assert "pip install" not in shown


def test_oneshot_with_a_recipe_by_name(place: Place) -> None:
    made = place.json("oneshot", "--model", "demo", "--data", "demo", "--recipe", "rtn_w4_tclif_34", "--out", "made")
    assert len(made["config"]["plan"]) == 68


def test_inspect(place: Place, demo: Any) -> None:
    assert len(place.json("inspect", demo["checkpoint"])["config"]["plan"]) == 68
    place.call("inspect", demo["checkpoint"], "--plot", "plan.svg")
    assert (place.folder / "plan.svg").is_file()


def test_recipes(place: Place) -> None:
    assert [entry["name"] for entry in place.json("recipes")["recipes"]] == list(recipe_names())
    assert place.call("recipes", "rtn_w4_tclif_34").stdout == (ROOT / "recipes" / "rtn_w4_tclif_34.yaml").read_text()


def test_what_is_missing_is_one_line(place: Place) -> None:
    for argv, names in (
        (("demo", "--recipe", "recipes/rtn_w4_tclif_34.yaml"), ["rtn_w4_tclif_34?"]),
        (("oneshot", "--model", "some/llama", "--recipe", "rtn_w4_tclif_34", "--out", "x"), ["some/llama", "Hub"]),
    ):
        failed = place.call(*argv, code=2)
        assert failed.stderr.count("\n") == 1, failed.stderr
        assert all(name in failed.stderr for name in names)


# What somebody else adds to it


def test_a_coding_a_statistic_an_allocation_and_an_adapter_of_another_package(crowded: Place) -> None:
    tiny_paligemma(crowded.folder / "paligemma")
    made = crowded.json("oneshot", "--model", "paligemma", "--recipe", "theirs.yaml", "--out", "theirs")
    plan = made["config"]["plan"]
    assert plan["model.language_model.layers.0.mlp.up_proj"]["timesteps"] == {"text": 5, "vision": 4}
    assert plan["model.language_model.layers.0.self_attn.q_proj"]["timesteps"] == {"text": 4, "vision": 3}
    assert made["config"]["coding"] == "least_first"
    assert {entry["threshold_statistic"] for entry in plan.values()} == {"second_largest"}
    assert made["config"]["adapter"]["modules"] == {"vision": ["model.vision_tower", "model.multi_modal_projector"]}


def test_a_backend_of_another_package(crowded: Place, demo: Any) -> None:
    layer = "model.multi_modal_projector.linear_1"
    argv = ["trace", demo["checkpoint"], "--data", "demo", "--samples", 1, "--tokens", 2, "--layers", layer]
    ours = crowded.json(*argv, "--out", "ours")
    assert not (crowded.folder / "careful.txt").exists()
    theirs = crowded.json(*argv, "--out", "careful", "--backend", "careful")
    assert (crowded.folder / "careful.txt").exists()
    assert [one["sha256"] for one in ours["layers"]] == [one["sha256"] for one in theirs["layers"]]


@pytest.mark.slow
def test_an_evaluation_of_another_package_in_worker_processes(crowded: Place) -> None:
    argv = [
        "--model",
        "demo",
        "--data",
        "demo",
        "--samples",
        "8",
        "--budget",
        "3/4",
        "--eval",
        "process",
        "answers:1",
        "--jobs",
        "2",
    ]
    result = crowded.json("compare", *argv, "--recipes", "theirs.yaml", "compare/rtn_w4_g64", "--out", "compare")
    rows = [row for row in result["rows"] if row["kind"] == "spiking"]
    assert [row["recipe"] for row in rows] == ["theirs", "rtn_w4_g64"]
    assert (crowded.folder / "compare" / "report.html").is_file()
    text = json.dumps(result)
    assert "least_first" in text
    parents = set(map(int, re.findall(r'"parent": (\d+)', text)))
    assert len(parents) == 1
    assert os.getpid() not in parents  # they ran below the command line


def test_what_cannot_be_imported_is_one_line_for_who_asks_for_it(crowded: Place) -> None:
    (crowded.folder / "bad.yaml").write_text(THEIR_RECIPE.replace("least_first", "broken"))
    failed = crowded.call("oneshot", "--model", "demo", "--recipe", "bad.yaml", "--out", "bad", code=2)
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert all(name in failed.stderr for name in ("broken", "their-spikes", "their_spikes.not_there"))


def tiny_paligemma(path: Path) -> None:
    """An untrained model of an architecture that has no adapter here, with the demo's processor."""
    import torch
    from spike_compressor.demo.model import build_processor
    from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipVisionConfig

    processor = build_processor()
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = SiglipVisionConfig(
        image_size=64, patch_size=16, projection_dim=64, vision_use_head=False, num_image_tokens=16, **sizes
    )
    text = {"vocab_size": len(processor.tokenizer), "max_position_embeddings": 128, "head_dim": 16}
    config = PaliGemmaConfig(
        vision_config=vision,
        text_config=GemmaConfig(num_key_value_heads=4, **text, **sizes, **special),
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=64,
    )
    torch.manual_seed(0)
    PaliGemmaForConditionalGeneration(config).save_pretrained(path)
    processor.save_pretrained(path)
