"""What `pyproject.toml` cannot say: recipes lie at the top of the repository, and are installed inside the package."""

import sys

from setuptools import find_namespace_packages, setup

RECIPES = "spike_compressor.recipes"
packages = find_namespace_packages("plugin", include=["spike_compressor*"])
package_dir = {"": "plugin"}
if "editable_wheel" not in sys.argv:  # a checkout that is installed in place finds them where they lie
    packages += [RECIPES, *(f"{RECIPES}.{folder}" for folder in find_namespace_packages("recipes"))]
    package_dir[RECIPES] = "recipes"

setup(packages=packages, package_dir=package_dir)
