"""VLMEvalKit's command line with the model of this package, on benchmark files that were made here.

VLMEvalKit downloads a published file anew where its checksum is another. Files made here have another checksum, so its
table of checksums is emptied; nothing else differs from `python -m spike_compressor.integrations.vlmeval`.
"""

from __future__ import annotations

from spike_compressor.integrations.vlmeval.__main__ import main
from vlmeval.dataset import image_mcq, image_vqa, image_yorn

for kind in (image_vqa.ImageVQADataset, image_vqa.OCRBench, image_yorn.ImageYORNDataset, image_mcq.ImageMCQDataset):
    kind.DATASET_MD5.clear()

if __name__ == "__main__":
    raise SystemExit(main())
