"""MIMIC-CXR-JPG 2: the radiographs of MIMIC-CXR as JPEG (Johnson et al. 2019), credentialed.

mimic-cxr-2.0.0-{split,metadata,chexpert}.csv.gz
files/p10/p10000032/s50414267/<dicom_id>.jpg
files/p10/p10000032/s50414267.txt                       reports, from MIMIC-CXR
"""

from __future__ import annotations

from pathlib import Path

from mmedpo.data.assemble import OFFICIAL, assemble
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress
from mmedpo.data.readers.mimic_cxr import LICENCE, read_studies
from mmedpo.data.report_text import ReportSettings
from mmedpo.registry import register

_LISTING = "mimic-cxr-2.0.0-split.csv"


@register("dataset", "mimic-cxr-jpg")
class MimicCxrJpg:
    """Reader of the JPEG release."""

    name = "mimic-cxr-jpg"
    data_use: DataUse = "restricted"
    licence = LICENCE
    group = "reports"
    settings = ReportSettings

    def __init__(self, own: ReportSettings | None = None) -> None:
        self.own = own or ReportSettings()

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads one question per study (the first frontal view); default split: official.

        Raises:
            DataError: not the dataset's folder, or too little is usable.
            ConfigError: unknown split scheme.
        """
        parsed = read_studies(self.name, root, self.own, ".jpg", _LISTING)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)
