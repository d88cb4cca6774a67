"""The report of a run: valid, complete, self-contained HTML that escapes all text."""

import base64
import json
import shutil
import subprocess

import html5lib
from matplotlib.figure import Figure
import pytest

from metajax.lab.reports import html, page
from metajax.lab.reports.figures import save

_RESULTS = {"accuracy": {"mean": 0.93104, "interval_95": 0.00621}, "loss": {"mean": 0.28, "interval_95": 0.04}}
_TEST = {"episodes": 600, "test_seed": 3, "notes": "Glyphs <b>& letters</b>, 5-way.", "results": _RESULTS}


@pytest.fixture
def workdir(tmp_path):
  folder = tmp_path / "a <run>"
  folder.mkdir()
  config = {"seed": 0, "data": '<script>alert("x")</script>', "training": {"steps": 10}}
  (folder / "run.json").write_text(json.dumps({"recipe": "experiments/quickstart.py", "config": config}))
  (folder / "test.json").write_text(json.dumps(_TEST))
  (folder / "test_50_1.json").write_text(json.dumps({**_TEST, "episodes": 50}))
  (folder / "metrics.csv").write_text("step,loss,val_loss\n5,1.5,0.75\n10,1.25,\n")
  for name in ("task_map", "curves"):
    save(Figure(figsize=(1, 1)), folder / f"{name}.png")
  return folder


def _parsed(path):
  return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(path.read_text(encoding="utf-8"))


def _tables(document):
  return [[[cell.text for cell in row] for row in table.iter("tr")] for table in document.iter("table")]


def test_it_holds_everything_a_run_left(workdir):
  document = _parsed(html.write(workdir))
  assert document.find(".//h1").text == "a <run>"
  test, again, metrics, settings, about = _tables(document)
  assert test == again == [["measure", "mean", "95 % interval"], ["accuracy", "0.9310", "± 0.0062"],
                           ["loss", "0.2800", "± 0.0400"]]
  assert metrics[1:] == [["loss", "1.25", "10"], ["val_loss", "0.75", "5"]]
  assert settings[1:] == [["recipe", "experiments/quickstart.py"], ["config.seed", "0"],
                          ["config.data", '<script>alert("x")</script>'], ["config.training.steps", "10"]]
  assert {"machine", "devices", "python", "jax", "optax"} <= {row[0] for row in about}
  assert "Glyphs <b>& letters</b>, 5-way. 600 episodes, list 3." in [part.text for part in document.iter("p")]


def test_pictures_are_inside_and_nothing_is_loaded(workdir):
  document = _parsed(html.write(workdir))
  images = list(document.iter("img"))
  assert [image.get("alt") for image in images] == ["Picture: curves", "Picture: task map"]
  for image, name in zip(images, ("curves", "task_map")):
    kind, content = image.get("src").split(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == (workdir / f"{name}.png").read_bytes()
  assert not [tag for tag in document.iter() if tag.tag in ("script", "link", "iframe") or tag.get("href")]
  assert "http" not in (workdir / "report.html").read_text(encoding="utf-8").replace("base64", "")


def test_a_run_from_python_has_no_settings(workdir):
  (workdir / "run.json").unlink()
  assert len(_tables(_parsed(html.write(workdir)))) == 4


def test_a_run_without_metrics_has_no_report(tmp_path):
  with pytest.raises(FileNotFoundError):
    html.write(tmp_path)
  assert not list(tmp_path.iterdir())


def _comparison(folder):
  """Writes a page with what is wide in the report of a comparison."""
  numbers = ["(7.03 ± 0.91)e-05"] * 9
  parts = [page.listing(["no_difference" * 9]), page.table(["arm", *["± over"] * 9], [["both", *numbers]]),
           page.preformatted("x" * 500), *[page.picture(page.png(Figure(figsize=size)), "A map.", half=half)
                                           for size, half in (((14, 3), False), ((5, 4), True), ((5, 4), True))]]
  (folder / "report.html").write_text(page.page("Does it help? " + ", ".join(["contrast.weight=0.03"] * 4), parts))
  return folder / "report.html"


@pytest.mark.parametrize("kind", ["run", "comparison"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_scrolling_sideways(workdir, tmp_path, width, kind):
  browser = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
  if browser is None:
    pytest.skip("the report is NOT RENDERED: there is no chromium on this machine")
  save(Figure(figsize=(14, 3)), workdir / "wide.png")
  (html.write(workdir) if kind == "run" else _comparison(workdir)).rename(tmp_path / "report.html")
  # A window cannot be as narrow as a phone, but a frame can. The page around it measures it, without a driver.
  (tmp_path / "frame.html").write_text(f'''<iframe src="report.html" width={width} height=800 style="border:0"></iframe>
<script>onload = () => {{
  const page = document.querySelector("iframe").contentDocument
  const sizes = [...page.body.querySelectorAll("*")].map(e => parseInt(getComputedStyle(e).fontSize))
  document.title = [page.documentElement.scrollWidth, Math.min(...sizes),
                    ...[...page.images].map(i => i.naturalWidth)].join(" ")
}}</script>''')
  done = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                         "--disable-background-networking", "--allow-file-access-from-files",
                         f'--user-data-dir={tmp_path / "profile"}', "--virtual-time-budget=3000", "--dump-dom",
                         (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=60)
  wide, smallest, *images = map(int, done.stdout.split("<title>")[1].split("</title>")[0].split())
  assert smallest >= 16
  assert wide <= width and len(images) == 3 and all(images), done.stderr
