"""The allocation strategies, one per file. A new file here is found and registered by itself."""

from spike_compressor.registry import import_folder

import_folder(__name__, __path__)
