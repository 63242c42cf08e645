"""The embedded vision-language model, its data, and the scripts that made both.

Nothing is imported here: ``spike_compressor.demo.model`` and ``.data`` are light, ``.train`` is not.
"""
