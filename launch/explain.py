"""The help text of a recipe: its docstring, and every field with its default and comment."""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from typing import Any, Iterator, NamedTuple, Sequence


class Field(NamedTuple):
  """One setting of a recipe."""
  name: str  # as typed after --config.
  default: Any
  about: str  # the comment next to its declaration, or ''


def fields(config: Any, prefix: str = "") -> Iterator[Field]:
  """Yields the fields of a dataclass in order, including those of nested dataclasses."""
  comments = _comments(type(config))
  for name in _names(type(config)):
    value = getattr(config, name)
    if dataclasses.is_dataclass(value):
      yield from fields(value, f"{prefix}{name}.")
    else:
      yield Field(prefix + name, value, comments.get(name, ""))


def text(recipe: str, page: str, config: Any, width: int, learners: Sequence[str] = (),
         unread: Sequence[str] = ()) -> str:
  """Returns the help text of a recipe in lines of `width` characters.

  Args:
    recipe: the name of the recipe, with its argument if it has one.
    page: its docstring.
    config: its default settings.
    learners: its possible arguments.
    unread: fields that its learner does not read; they are only named, at the end.
  """
  lines = [f"The recipe {recipe}:", "", *textwrap.indent(inspect.cleandoc(page), "  ").splitlines(), ""]
  if learners:
    lines += [*textwrap.wrap(f"Its learners, after a colon: {', '.join(learners)}.", width), ""]
  lines.append("Its fields, with their defaults:")
  for field in fields(config):
    if field.name in unread:
      continue
    lines.append(f"  --config.{field.name}={_typed(field.default)}")
    lines += textwrap.wrap(field.about, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
  if unread:
    said = ", ".join(f"config.{name}" for name in unread)
    lines += ["", *textwrap.wrap(f"The learner {config.learner} does not read {said}.", width)]
  return "\n".join(lines)


def _names(cls: type) -> list[str]:
  """Returns the fields of a dataclass: its own before those of its base classes."""
  declared = [name for each in cls.__mro__ for name in vars(each).get("__annotations__", ())]
  return list(dict.fromkeys(reversed(declared)))[::-1]  # a field with an overridden default keeps its position


def _typed(value: Any) -> str:
  """Returns a value as it would be typed in a shell."""
  said = str(value)
  return f"'{said}'" if any(character in said for character in " ()[]*&;<>|$") else said


def _comments(cls: type) -> dict[str, str]:
  """Returns the comment next to each field, from the source of a class and its base classes."""
  found = {}
  for each in reversed(cls.__mro__[:-1]):
    source = textwrap.dedent(inspect.getsource(each))
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    beside = {token.start[0]: token.string.lstrip("# ")
              for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT}
    for node in body:
      if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.lineno in beside:
        found[node.target.id] = beside[node.lineno]
  return found
