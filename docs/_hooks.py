"""Brings what the pages link to outside docs/ into the site: results of the benchmarks, files of the root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def on_files(files: Files, config: Any) -> Files:
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        files.append(File(str(path.relative_to(ROOT)), str(ROOT), config.site_dir, config.use_directory_urls))
    for name in OUTSIDE:
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    results = "\n".join(f"* [{f.src_uri}]({f.src_uri})" for f in files if f.src_uri.startswith("benchmarks/results/"))
    markdown = markdown.replace("](../benchmarks/results)", "](results.md#files-of-results)")
    markdown = markdown.replace("](../", "](")
    if page.file.src_uri == "results.md":
        markdown += f"\n\n## Files of results\n\n{results}\n"
    for folder in ("docs/", "docs/../"):
        markdown = markdown.replace(f"]({folder}", "](")
    return markdown
