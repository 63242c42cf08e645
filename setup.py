"""What `pyproject.toml` cannot say: recipes lie at the top of the repository, and are installed inside the package."""

from setuptools import find_namespace_packages, setup

RECIPES = "spike_compressor.recipes"
setup(
    packages=[
        *find_namespace_packages("plugin", include=["spike_compressor*"]),
        RECIPES,
        *(f"{RECIPES}.{folder}" for folder in find_namespace_packages("recipes")),
    ],
    package_dir={"": "plugin", RECIPES: "recipes"},
)
