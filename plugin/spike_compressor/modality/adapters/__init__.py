"""Adapters of the supported architectures, a few lines each. A new file here is found and registered by itself.

Placeholders are found by token id. Each architecture scatters the features of its pictures, newlines between rows of
tiles included, exactly where those ids stand; tokens that mark a picture's begin and end are text.
"""

from spike_compressor.registry import import_folder

import_folder(__name__, __path__)
