"""The page in a real browser without a network: images load, nothing overflows, nothing is fetched, it prints."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.results_factory import Results, blobs, shifted

from nnunet_reca.cli.compare import main
from nnunet_reca.report.page import POLICY

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
#: Shows the page in a frame of a phone's, a desktop's and a printed page's width, and writes down what it finds.
PROBE = """<!doctype html><body><script>
const source = SOURCE, found = {};
const guard = "<script>violations = [];" +
  "addEventListener('securitypolicyviolation', e => violations.push(e.blockedURI))</scr" + "ipt><title>";
function look(name, width, text) {
  const frame = document.createElement('iframe');
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.onload = () => {
    const page = frame.contentDocument, images = [...page.images];
    const right = element => element.getBoundingClientRect().right;
    found[name] = {width, scroll: page.documentElement.scrollWidth, images: images.map(i => i.naturalWidth),
      widest: Math.max(...[...page.querySelectorAll('table'), ...images].map(right)),
      clipped: [...page.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth + 1).length,
      fetched: frame.contentWindow.performance.getEntriesByType('resource').map(e => e.name.slice(0, 60)),
      violations: frame.contentWindow.violations};
  };
  frame.srcdoc = text.replace('<title>', guard);
  document.body.append(frame);
}
look('phone', 390, source);
look('desktop', 1280, source);
look('paper', 695, source.replace('@media print', '@media screen'));
onload = () => {
  const out = document.createElement('pre'); out.id = 'found'; out.textContent = JSON.stringify(found);
  document.body.replaceChildren(out);
};
</script></body>"""


def browse(folder: Path, *words: str) -> str:
    profile = folder / "profile"
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report on three models of long names, one of them in two runs, five folds and nine labels."""
    folder = tmp_path_factory.mktemp("browser")
    labels = {"background": 0} | {f"label with a name {n}": n for n in range(1, 10)}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(folder / name))
        results = Results(folder, labels)
        cases = {str(f): {f"c{f}{n}": blobs(2 * f + n, range(1, 10), (3, 36, 14)) for n in range(2)} for f in range(5)}
        names = [
            f"nnUNetTrainer{n}_with_quite_a_long_name" for n in ("Alpha", "BetaBeta_x", "Gamma_yy", "Gamma_yy_seed1")
        ]
        for case, array in ((c, a) for fold in cases.values() for c, a in fold.items()):
            results.reference(case, array)
        for by, name in enumerate(names):
            results.model(name, {f: {c: shifted(a, by + 1) for c, a in found.items()} for f, found in cases.items()})
        words = ["-d", "999", "-tr", *names, "-np", "1", "--all-pairs", "--overlays", "2"]
        assert main([*words, "-o", str(folder / "report")]) == 0
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    """What the browser saw, by width. Scripts, which the page forbids, are allowed for the probe."""
    folder = tmp_path_factory.mktemp("probe")
    text = page.read_text()
    assert POLICY in text
    text = text.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'")
    probe = folder / "probe.html"
    probe.write_text(PROBE.replace("SOURCE", json.dumps(text).replace("</", "<\\/")))
    dom = browse(folder, "--dump-dom", probe.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)
    assert found, dom[-2000:]
    return json.loads(html.unescape(found[1]))


WIDTHS = ("phone", "desktop", "paper")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_image_loads(seen, page, width):
    assert len(seen[width]["images"]) == len(list((page.parent / "figures").iterdir()))
    assert all(pixels > 100 for pixels in seen[width]["images"])


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_sideways(seen, width):
    assert seen[width]["scroll"] <= seen[width]["width"], seen[width]


def test_tables_fit_on_paper_where_nothing_scrolls(seen):
    assert seen["paper"]["clipped"] == 0 and seen["paper"]["widest"] <= seen["paper"]["width"] + 1


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_fetched_or_tried(seen, width):
    assert not [name for name in seen[width]["fetched"] if not name.startswith("data:")]
    assert seen[width]["violations"] == []


def test_it_prints_on_several_pages_without_a_network(page, tmp_path):
    target = tmp_path / "report.pdf"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", page.as_uri())
    content = target.read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", content))
    assert content.startswith(b"%PDF") and 4 <= pages <= 40


def test_the_screenshot_is_not_blank(page, tmp_path):
    from skimage import io

    target = tmp_path / "shot.png"
    browse(tmp_path, "--window-size=1280,1600", f"--screenshot={target}", page.as_uri())
    pixels = io.imread(target)[..., :3]
    assert pixels.shape[1] == 1280 and np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 50
