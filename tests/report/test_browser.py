"""The pages in a real browser: axe-core finds nothing, and no page scrolls sideways, on a phone and on a desktop.

Needs Chromium and axe-core's own script: `npm install axe-core` here, or elsewhere and `AXE=PATH_TO/axe.min.js`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mmedpo.pipeline.comparing import compare_runs
from mmedpo.report import ReportContent, render
from pipeline.test_comparing import BASE, run_of

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))
WIDTHS = (390, 1280)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine"),
    pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install axe-core, and set AXE to its axe.min.js"),
]

_FRAME = """<!doctype html><html lang="en"><title>frame</title><body>
<iframe id="page" title="page" style="width:%dpx;height:900px" src="page.html"></iframe><pre id="found"></pre>
<script>window.onmessage = event => { document.getElementById("found").textContent = event.data; }</script>
</body></html>"""
_ASK = """<script>
addEventListener("load", () => axe.run(document).then(found => parent.postMessage(JSON.stringify({
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  scheme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
  passes: found.passes.length,
  violations: found.violations.map(one => one.id + ": " + one.nodes.slice(0, 3).map(node => node.html).join(" | ")),
}), "*")));
</script>"""


def looked_at(page: str, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What axe-core says of a page of this width; a page's own policy allows no script, so it is taken out."""
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    script = f"<script>{AXE.read_text('utf-8')}</script>{_ASK}"
    assert open_page.count("</body>") == 1
    (folder / "page.html").write_text(open_page.replace("</body>", script + "</body>"), "utf-8")
    (folder / "frame.html").write_text(_FRAME % width)
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", *scheme,
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width + 60},1000", "--virtual-time-budget=60000",
        "--dump-dom", (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-500:]
    assert found[1], "axe-core said nothing"
    told: dict[str, Any] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return told


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two runs of which one loses cases."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [run_of(folder / "first", ["yes"] * 12), run_of(folder / "second-with-a-long-name", BASE, beta=0.2)]
    return render(compare_runs([run.path for run in runs]).content)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_axe_finds_nothing_and_the_page_does_not_scroll_sideways(
    kind: str, width: int, dark: bool, rich_content: ReportContent, comparison: str, tmp_path: Path
) -> None:
    page = render(rich_content) if kind == "report" else comparison
    found = looked_at(page, tmp_path, width, dark)
    assert found["scheme"] == ("dark" if dark else "light")
    assert found["passes"] > 10
    assert found["violations"] == []
    assert found["wide"] <= 0


def test_a_page_with_faults_is_found_out(tmp_path: Path) -> None:
    bad = '<!doctype html><html><head></head><body><img src="data:,"><p style="width:2000px">x</p></body></html>'
    found = looked_at(bad, tmp_path, 390, dark=False)
    assert {one.split(":")[0] for one in found["violations"]} >= {"image-alt", "html-has-lang", "document-title"}
    assert found["wide"] > 1000
