"""Downloads from a local test server with correct and faulty answers; no network is needed."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import os
from pathlib import Path
import socket
import tempfile
import threading
import time

import numpy as np
import pytest

from metajax.data.download import DownloadError, cache_dir, cached_arrays, download

_BODY = bytes(range(256)) * 1000  # several chunks
_SUM = hashlib.sha256(_BODY).hexdigest()
_PAGE = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
_ANSWERS = {
    "/good": _BODY,
    "/wrong": _BODY[:-1] + b"!",
    "/page": _PAGE,
    "/page-of-that-size": _PAGE.ljust(len(_BODY)),
    "/short": _BODY[:-1],
    "/empty": b"",
    "/long": _BODY + b"!",
}


class _Handler(BaseHTTPRequestHandler):

  def do_GET(self):
    if self.path == "/endless":
      self._endless()
    elif self.path.startswith("/breaks"):
      self._break()
    elif self.path not in _ANSWERS:
      self.send_error(404)
    else:
      self.send_response(200)
      # A broken connection: shorter than announced.
      self.send_header("Content-Length", str(len(_BODY) if self.path == "/short" else len(_ANSWERS[self.path])))
      self.end_headers()
      self.wfile.write(_ANSWERS[self.path])

  def _break(self):
    """Sends a third of the body and disconnects; `/breaks-anew` ignores ranges and sends everything the third time."""
    self.server.asked.append(self.headers["Range"])
    start = int((self.headers["Range"] or "bytes=0-")[6:-1]) if self.path == "/breaks" else 0
    self.send_response(206 if start else 200)
    if start:
      self.send_header("Content-Range", f"bytes {start}-{len(_BODY) - 1}/{len(_BODY)}")
    self.send_header("Content-Length", str(len(_BODY) - start))
    self.end_headers()
    whole = self.path == "/breaks-anew" and len(self.server.asked) == 3
    self.wfile.write(_BODY[start:] if whole else _BODY[start:start + len(_BODY) // 3 + len(self.server.asked)])

  def _endless(self):
    self.send_response(200)
    self.end_headers()
    try:
      while True:
        self.wfile.write(_BODY)
        self.server.sent += len(_BODY)
    except OSError:
      self.close_connection = True

  def log_message(self, format, *args):
    del format, args


@pytest.fixture(scope="module")
def server():
  with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
    running.sent, running.asked = 0, []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    thread.join()


@pytest.fixture
def address(server, monkeypatch):
  monkeypatch.setenv("no_proxy", "127.0.0.1")
  return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("before", [None, b"an older file"])
def test_good_file_arrives_whole_and_alone(address, tmp_path, before):
  target = tmp_path / "below" / "file.zip"
  if before is not None:
    target.parent.mkdir()
    target.write_bytes(before)
  download(f"{address}/good", target, sha256=_SUM.upper(), size=len(_BODY))
  assert target.read_bytes() == _BODY
  assert os.listdir(target.parent) == ["file.zip"]


@pytest.mark.bad_input
@pytest.mark.parametrize("before", [None, b"an older file"])
@pytest.mark.parametrize("page, got", [
    ("/wrong", hashlib.sha256(_ANSWERS["/wrong"]).hexdigest()),
    ("/page", "an HTML page"),
    ("/page-of-that-size", "an HTML page"),
    ("/short", f"only {len(_BODY) - 1} bytes"),
    ("/empty", "only 0 bytes"),
    ("/long", f"more than {len(_BODY)} bytes"),
    ("/absent", "HTTP status 404"),
])
def test_bad_answer_leaves_the_folder_as_it_was(address, tmp_path, page, got, before):
  target = tmp_path / "file.zip"
  if before is not None:
    target.write_bytes(before)
  with pytest.raises(DownloadError) as caught:
    download(address + page, target, sha256=_SUM, size=len(_BODY))
  for part in (address + page, f"expected {len(_BODY)} bytes with SHA-256 {_SUM}", got,
               f"put it at {target}"):
    assert part in str(caught.value)
  assert "\n" not in str(caught.value)
  assert os.listdir(tmp_path) == ([] if before is None else ["file.zip"])
  assert before is None or target.read_bytes() == before


@pytest.mark.parametrize("page", ["/breaks", "/breaks-anew"])
def test_broken_connection_is_taken_up_again(server, address, tmp_path, page):
  server.asked.clear()
  download(address + page, tmp_path / "file", sha256=_SUM, size=len(_BODY))
  assert (tmp_path / "file").read_bytes() == _BODY
  third = len(_BODY) // 3
  assert server.asked[:2] == [None, f"bytes={third + 1}-"] and len(server.asked) == 3
  assert os.listdir(tmp_path) == ["file"]


def test_endless_answer_is_cut_off(server, address, tmp_path):
  with pytest.raises(DownloadError, match="more than 1000 bytes"):
    download(f"{address}/endless", tmp_path / "file", sha256=_SUM, size=1000)
  # At most the contents of the socket's buffers have left the server.
  assert server.sent < 50_000_000
  assert os.listdir(tmp_path) == []


def test_refused_connection(tmp_path):
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))  # bound but not listening, so nothing answers at this port
    with pytest.raises(DownloadError, match="refused"):
      download(f"http://127.0.0.1:{taken.getsockname()[1]}/x", tmp_path / "file", sha256=_SUM, size=1)
  assert os.listdir(tmp_path) == []


def test_silent_server_is_given_up(tmp_path):
  with socket.socket() as silent:
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    begin = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
      download(f"http://127.0.0.1:{silent.getsockname()[1]}/x", tmp_path / "file", sha256=_SUM, size=1, timeout=0.1)
    assert time.monotonic() - begin < 2
  assert os.listdir(tmp_path) == []


@pytest.mark.bad_input
@pytest.mark.parametrize("url", ["file:///etc/hostname", "no address at all", "http://a b/c", "http://[::1/c"])
def test_invalid_address(tmp_path, url):
  with pytest.raises(DownloadError, match="Could not download"):
    download(url, tmp_path / "file", sha256=_SUM, size=1)
  assert os.listdir(tmp_path) == []


def test_local_file_is_no_download(tmp_path):
  (tmp_path / "here").write_bytes(_BODY)
  with pytest.raises(DownloadError, match="neither http nor https"):
    download((tmp_path / "here").as_uri(), tmp_path / "file", sha256=_SUM, size=len(_BODY))
  assert os.listdir(tmp_path) == ["here"]


def test_place_that_cannot_be_written(address, tmp_path):
  (tmp_path / "folder").write_bytes(b"a file in the way")
  with pytest.raises(DownloadError, match="folder"):
    download(f"{address}/good", tmp_path / "folder" / "file", sha256=_SUM, size=len(_BODY))


@pytest.mark.parametrize("own, shared, expected", [
    ("/a", "/b", "/a"), ("", "/b", "/b/metajax"), (None, "/b", "/b/metajax"), (None, None, "/home/u/.cache/metajax"),
    ("~/x", None, "/home/u/x"),
])
def test_cache_dir(monkeypatch, own, shared, expected):
  for name, value in (("METAJAX_CACHE_DIR", own), ("XDG_CACHE_HOME", shared), ("HOME", "/home/u")):
    monkeypatch.delenv(name, raising=False)
    if value is not None:
      monkeypatch.setenv(name, value)
  assert cache_dir() == Path(expected)


def _numbers():
  return {"a": np.arange(3000), "b": np.array(["x", "yz"])}


def test_cached_arrays_are_built_once(tmp_path):
  path = tmp_path / "below" / "some.npz"
  first = cached_arrays(path, ("a", "b"), _numbers)
  second = cached_arrays(path, ("a", "b"), lambda: pytest.fail("built although it was there"))
  for key in ("a", "b"):
    np.testing.assert_array_equal(first[key], second[key])
    assert first[key].dtype == second[key].dtype
  assert os.listdir(path.parent) == ["some.npz"]


@pytest.mark.bad_input
@pytest.mark.parametrize("spoil", [
    lambda body: b"", lambda body: b"rubbish", lambda body: body[:-30], lambda body: body[:len(body) // 2],
    lambda body: body[:200] + bytes(50) + body[250:],
], ids=["empty", "rubbish", "cut", "half", "overwritten"])
def test_broken_cache_is_rebuilt(tmp_path, spoil):
  path = tmp_path / "some.npz"
  cached_arrays(path, ("a", "b"), _numbers)
  whole = path.read_bytes()
  path.write_bytes(spoil(whole))
  np.testing.assert_array_equal(cached_arrays(path, ("a", "b"), _numbers)["a"], np.arange(3000))
  cached_arrays(path, ("a", "b"), lambda: pytest.fail("the broken file was not replaced"))


@pytest.mark.bad_input
@pytest.mark.parametrize("other", [
    lambda path: np.savez(path, a=np.arange(3)),
    lambda path: np.save(path, np.arange(3)),
    lambda path: np.savez(path, a=np.array([{}], dtype=object), b=np.arange(2)),
], ids=["lacks b", "npy", "pickle"])
def test_another_file_instead_of_the_cache_is_rebuilt(tmp_path, other):
  path = tmp_path / "some.npz"
  with open(path, "wb") as file:
    other(file)
  np.testing.assert_array_equal(cached_arrays(path, ("a", "b"), _numbers)["a"], np.arange(3000))


def test_cache_that_cannot_be_written_warns(tmp_path):
  (tmp_path / "folder").write_bytes(b"a file in the way")
  with pytest.warns(UserWarning, match="METAJAX_CACHE_DIR"):
    arrays = cached_arrays(tmp_path / "folder" / "some.npz", ("a", "b"), _numbers)
  np.testing.assert_array_equal(arrays["a"], np.arange(3000))


def test_two_at_once_build_once(tmp_path):
  built, results, path = [], [], tmp_path / "some.npz"

  def build():
    built.append(1)
    time.sleep(0.3)  # long enough for the other process to arrive
    return _numbers()

  threads = [threading.Thread(target=lambda: results.append(cached_arrays(path, ("a", "b"), build))) for _ in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(built) == 1 and len(results) == 2
  np.testing.assert_array_equal(results[0]["a"], results[1]["a"])


def test_failed_build_leaves_no_cache(tmp_path):
  with pytest.raises(ZeroDivisionError):
    cached_arrays(tmp_path / "some.npz", ("a",), lambda: {"a": np.array(1 // 0)})
  assert os.listdir(tmp_path) == []


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
  for name in ("METAJAX_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
    monkeypatch.delenv(name, raising=False)

  def homeless():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.setattr(Path, "home", homeless)
  monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
  assert cache_dir() == tmp_path / f"metajax-cache-{os.getuid()}"
