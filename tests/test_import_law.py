"""The import rules: modules depend only on lower layers, not on each other in cycles, and not on a machine."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("metajax", "experiments", "launch", "benchmarks")
LAYERS = (
  ("metajax.types",),
  ("metajax.examples", "metajax.checks", "metajax.losses", "metajax.measures", "metajax.descent",
   "metajax.network_state", "metajax.kinds", "metajax.per_example", "metajax.bucket"),
  ("metajax.contrast", "metajax.kernels"),
  ("metajax.networks",),
  ("metajax.learners", "metajax.objectives", "metajax.tasks"),
  ("metajax.estimators",),
  ("metajax.data",),
  ("metajax.training", "metajax.serving"),
  ("metajax.lab",),
  ("experiments",),
  ("launch",),
  ("benchmarks",),
)
# Imports that are forbidden although the layers would allow them.
FORBIDDEN = {
  "metajax.learners": ("metajax.networks", "metajax.losses", "metajax.objectives", "metajax.tasks"),
  "metajax.objectives": ("metajax.learners", "metajax.tasks"),
  "metajax.tasks": ("metajax.learners", "metajax.objectives"),
  "metajax.training": ("metajax.learners", "metajax.data"),
}
ONLY = {"metajax.lab.reports": ("metajax.types", "metajax.lab.reports"),
        "metajax.lab.statistics": ()}
# The target platform is known at lowering (`kernels`), and where devices are handled.
OF_A_PLATFORM = re.compile(r"\b(default_backend|optimization_barrier)\b")
MAY_ASK = ("metajax.kernels", "metajax.training", "metajax.lab", "launch", "benchmarks")
CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MAKERS = ("dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict")
CHANGERS = ("append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear", "remove",
            "discard", "sort", "reverse", "appendleft")


def within(module, package):
  return module == package or module.startswith(package + ".")


def layer(module):
  """Returns the layer of a module, or None if it has none."""
  if module == "metajax":  # the top-level package, which experiments may import but no part of the library
    return LAYERS.index(("experiments",))
  heights = [height for height, layer in enumerate(LAYERS) for package in layer if within(module, package)]
  return heights[0] if heights else None


def imported(tree, known):
  """Returns all modules that a module imports; a name from a package counts as its submodule if it is one."""
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = "." * node.level + (node.module or "")
      for alias in node.names:
        found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base)
  return found


def law_broken(sources):
  """Returns a sentence for each breach of the import rules by `sources`, a dict from module names to their text."""
  breaches = []
  imports = {name: imported(ast.parse(text), sources) for name, text in sources.items()}
  for name, targets in imports.items():
    height = layer(name)
    if height is None and sources[name].strip():
      breaches.append(f"{name} has no layer")
    for target in sorted(targets):
      if target.startswith("."):
        breaches.append(f"{name} imports {target}, relatively")
      if within(target, "absl") and not (within(name, "launch") or within(name, "benchmarks")):
        breaches.append(f"{name} imports absl")
      if not any(within(target, package) for package in PACKAGES):
        continue
      if target not in sources:
        breaches.append(f"{name} imports {target}, which does not exist")
      if target in sources and (layer(target) or 0) > (height or 0):
        breaches.append(f"{name} imports {target}, which is above it")
      for package, banned in FORBIDDEN.items():
        if within(name, package) and any(within(target, each) for each in banned):
          breaches.append(f"{name} imports {target}, which {package} must not know")
      for package, allowed in ONLY.items():
        if within(name, package) and not any(within(target, each) for each in allowed):
          breaches.append(f"{name} imports {target}, but {package} may import {' and '.join(allowed)} alone")
  return breaches + circles(imports)


def circles(imports):
  """Returns a sentence for each module that imports itself directly or indirectly."""
  breaches = []
  for start in imports:
    reached, waiting = set(), [start]
    while waiting:
      for target in imports.get(waiting.pop(), ()):
        if target not in reached:
          reached.add(target)
          waiting.append(target)
    if start in reached:
      breaches.append(f"{start} imports itself, by way of others")
  return breaches


def is_table(node, tree):
  """Returns whether an assignment is a table of constants: literal, not empty, NAMED_SO, and never written to."""
  target = node.targets[0] if isinstance(node, ast.Assign) else node.target
  if not isinstance(target, ast.Name) or not (target.id.isupper() or target.id == "__all__"):
    return False
  try:
    if not ast.literal_eval(node.value):
      return False
  except ValueError:
    return False
  for each in ast.walk(tree):
    written = isinstance(each, ast.Subscript) and not isinstance(each.ctx, ast.Load)
    changed = isinstance(each, ast.Attribute) and each.attr in CHANGERS
    if (written or changed) and isinstance(each.value, ast.Name) and each.value.id == target.id:
      return False
  return True


def mutable_state(text):
  """Returns the lines at which a module creates state on import: a mutable container or an array."""
  lines, tree = [], ast.parse(text)
  for node in tree.body:
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if isinstance(value, ast.Call):
      called = ast.unparse(value.func)
      if called.split(".")[-1] in MAKERS or called.startswith(("jnp.", "jax.random.", "jax.numpy.", "jax.device_put")):
        lines.append(node.lineno)
    elif isinstance(node, ast.AugAssign) or isinstance(value, CONTAINERS) and not is_table(node, tree):
      lines.append(node.lineno)
  return lines + [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]


def machine_paths(text):
  """Returns paths that look specific to an author's machine; `/home/u` is allowed."""
  roots = "work|root|home|Users|mnt|tmp|opt|srv|data"
  return re.findall(rf"(?<![\w.}}>~/:-])/(?!home/u\b)(?:{roots})/[\w.+-]+", text)


def read_sources():
  sources = {}
  for package in PACKAGES:
    for path in sorted((ROOT / package).rglob("*.py")):
      name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
      sources[name.removesuffix(".__init__")] = path.read_text()
  return sources


SOURCES = read_sources()
each_module = pytest.mark.parametrize("name", SOURCES)


def test_the_import_rules_hold():
  assert len(SOURCES) > 30
  assert law_broken(SOURCES) == []


@each_module
def test_a_module_has_a_docstring_and_is_short(name):
  text = SOURCES[name]
  if text.strip():  # an empty `__init__` needs no docstring
    assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"
  longest = 250 if within(name, "metajax") and not within(name, "metajax.kernels") else 400
  assert len(text.splitlines()) <= longest


@each_module
def test_a_module_asks_for_no_platform(name):
  """A program compiled for a TPU on a machine without one must be the TPU's program."""
  assert any(within(name, package) for package in MAY_ASK) or not OF_A_PLATFORM.search(SOURCES[name])


def test_the_equations_are_short():
  assert len(SOURCES["metajax.contrast.equations"].splitlines()) < 80


@pytest.mark.parametrize("name", [name for name in SOURCES if not within(name, "benchmarks")])
def test_a_module_holds_no_state(name):
  assert mutable_state(SOURCES[name]) == []


def test_no_file_has_a_path_of_a_machine():
  paths = [path for folder in (*PACKAGES, "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
  paths += [path for name in ("setup.cfg", "README.md") if (path := ROOT / name).exists()]
  assert {str(path): found for path in paths if (found := machine_paths(path.read_text()))} == {}


@pytest.mark.parametrize("name, line, breach", [
  ("metajax.types", "import metajax.examples", "above"),
  ("metajax.examples", "from metajax.tasks import sampling", "above"),
  ("metajax.contrast.equations", "from metajax.networks import mlp", "above"),
  ("metajax.kernels.convolution", "from metajax.networks import mlp", "above"),
  ("metajax.networks.mlp", "from metajax.learners.maml import adapt", "above"),
  ("metajax.objectives.solve", "from metajax.training import sharding", "above"),
  ("metajax.data.omniglot", "from metajax.training import hosts", "above"),
  ("metajax.training.step", "def f():\n  from metajax.lab import recipe", "above"),
  ("metajax.lab.recipe", "import experiments.images", "above"),
  ("experiments.images", "from launch import train", "above"),
  ("launch.train", "from benchmarks import tables", "above"),
  ("metajax.learners.maml", "from metajax.networks import mlp", "must not know"),
  ("metajax.learners.maml", "from metajax import losses", "must not know"),
  ("metajax.objectives.solve", "from metajax import learners", "must not know"),
  ("metajax.training.step", "from metajax.learners.maml import maml", "must not know"),
  ("metajax.lab.reports.maps", "from metajax.examples import union", "alone"),
  ("metajax.types", "from metajax import Network", "above"),
  ("metajax.training.step", "import metajax", "above"),
  ("metajax.types", "from absl import flags", "absl"),
  ("experiments.images", "import absl.logging", "absl"),
  ("metajax.types", "from . import examples", "relatively"),
  ("metajax.training.step", "import metajax.nowhere", "does not exist"),
  ("metajax.newcomer", "import jax", "no layer"),
  ("metajax.checks", "from metajax.losses import accuracy", "itself"),
])
def test_breaches_of_the_import_rules_are_detected(name, line, breach):
  sources = {module: "" for module in SOURCES}
  sources |= {"metajax.losses": "from metajax import checks", "metajax.newcomer": ""}
  assert law_broken(sources | {name: ""}) == []
  assert any(breach in sentence for sentence in law_broken(sources | {name: line}))


@pytest.mark.parametrize("line, held", [
  ("A = []", 1), ("A: dict = {}", 1), ("A = dict(a=1)", 1), ("A = collections.deque()", 1), ("A = jnp.zeros(3)", 1),
  ("A = jax.random.key(0)", 1), ("A = 1\nA += 1", 1), ("def f():\n  global a\n  a = 1", 1), ("A = [x for x in y]", 1),
  ("A = {1: 2}\nA[3] = 4", 1), ("A = {1: 2}\ndef f():\n  A.update(b)", 1), ("A = [1]\ndel A[0]", 1),
  ("cache = {1: 2}", 1), ("A = {1: b}", 1), ("A = {1: 2}\nb = A[1]", 0), ("__all__ = ['a']", 0), ("A = (1, 2)", 0),
  ("A = frozenset('ab')", 0), ("A = MappingProxyType({1: 2})", 0), ("def f():\n  a = []", 0), ("A = TypeVar('A')", 0),
  ("A = Callable[[int], int]", 0)])
def test_state_can_be_seen(line, held):
  assert len(mutable_state(line)) == held


def test_paths_of_a_machine_can_be_seen():
  assert machine_paths('open("' + "/work" + '/main/x")') and machine_paths("see /" + "home/me/data")
  assert not machine_paths("runs/work/x https://a.org/data/set /256 a/b --workdir=<dir>/tmp/x")
