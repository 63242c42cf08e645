"""How the demo's model and its embedded data were made; README.md says how to make them again."""
