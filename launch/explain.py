"""What `--help` says of a recipe: its page, and every field with its default and what it is for."""

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
  about: str  # the comment beside it, where it is declared; '' if there is none


def fields(config: Any, prefix: str = "") -> Iterator[Field]:
  """Yields the fields of a dataclass, those of nested ones in their places."""
  comments = _comments(type(config))
  for name in _names(type(config)):
    value = getattr(config, name)
    if dataclasses.is_dataclass(value):
      yield from fields(value, f"{prefix}{name}.")
    else:
      yield Field(prefix + name, value, comments.get(name, ""))


def text(recipe: str, page: str, config: Any, width: int, learners: Sequence[str] = ()) -> str:
  """Returns the help of a recipe in lines of `width` characters.

  Args:
    recipe: its name, with its argument if it has one.
    page: its docstring.
    config: its default settings.
    learners: what may stand after the colon.
  """
  lines = [f"The recipe {recipe}:", "", *textwrap.indent(inspect.cleandoc(page), "  ").splitlines(), ""]
  if learners:
    lines += [*textwrap.wrap(f"Its learners, after a colon: {', '.join(learners)}.", width), ""]
  lines.append("Its fields, with their defaults:")
  for field in fields(config):
    lines.append(f"  --config.{field.name}={_typed(field.default)}")
    lines += textwrap.wrap(field.about, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
  return "\n".join(lines)


def _names(cls: type) -> list[str]:
  """Returns the fields of a dataclass: what it adds to the classes it inherits from before what they have."""
  declared = [name for each in cls.__mro__ for name in vars(each).get("__annotations__", ())]
  return list(dict.fromkeys(reversed(declared)))[::-1]  # a default that is changed leaves a field where it was


def _typed(value: Any) -> str:
  """Returns a value as one would type it in a shell."""
  said = str(value)
  return f"'{said}'" if any(character in said for character in " ()[]*&;<>|$") else said


def _comments(cls: type) -> dict[str, str]:
  """Returns the comment beside each field, from the source of a class and of those it inherits from."""
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
