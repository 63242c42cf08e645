"""What `pyproject.toml` cannot say: recipes lie at the top of the repository, and are installed inside the package; the
kernels are compiled, into a library that needs no Python."""

import importlib.util
import sys
import tempfile
import warnings
from pathlib import Path

from setuptools import Command, find_namespace_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

RECIPES = "spike_compressor.recipes"
packages = find_namespace_packages("plugin", include=["spike_compressor*"])
package_dir = {"": "plugin"}
if "editable_wheel" not in sys.argv:  # a checkout that is installed in place finds them where they lie
    packages += [RECIPES, *(f"{RECIPES}.{folder}" for folder in find_namespace_packages("recipes"))]
    package_dir[RECIPES] = "recipes"

spec = importlib.util.spec_from_file_location("kernels_build", Path(__file__).parent / "kernels" / "build.py")
kernels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernels)


class BuildKernels(Command):
    """Compile the kernels, once; a package without them runs on torch."""

    description = "compile the kernels"
    user_options = ()

    def initialize_options(self):
        self.folder = self.library = None

    def finalize_options(self):
        self.folder = Path(tempfile.mkdtemp())

    def run(self):
        try:
            self.library = kernels.build(self.folder)
        except kernels.BuildError as error:
            warnings.warn(f"the kernels were not compiled, and the package runs on torch alone: {error}", stacklevel=1)


class BuildPackage(build_py):
    """The package, and the library of the kernels in it; in place where the checkout is installed in place."""

    def run(self):
        super().run()
        self.run_command("build_kernels")
        library = self.get_finalized_command("build_kernels").library
        if library is not None:
            folder = kernels.BESIDE if self.editable_mode else Path(self.build_lib, "spike_compressor", "kernels")
            kernels.place(library, folder)


class Wheel(bdist_wheel):
    """A wheel for one kind of machine where it has the library, and for every Python on it."""

    def run(self):
        self.run_command("build_kernels")
        self.root_is_pure = self.get_finalized_command("build_kernels").library is None
        self.distribution.has_ext_modules = lambda: not self.root_is_pure  # where files of the wheel are installed
        super().run()

    def get_tag(self):
        return super().get_tag() if self.root_is_pure else ("py3", "none", super().get_tag()[2])


setup(
    packages=packages,
    package_dir=package_dir,
    cmdclass={"build_kernels": BuildKernels, "build_py": BuildPackage, "bdist_wheel": Wheel},
)
