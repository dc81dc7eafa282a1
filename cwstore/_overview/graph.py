"""The plan of an initiative as text that other programs draw: Mermaid and DOT (Graphviz)."""

from collections.abc import Iterator

from cwstore._overview.board import state_of
from cwstore._overview.reading import Board
from cwstore.entities.task import Task

_COLOURS = {
    "completed": "#c8e6c9",
    "in progress": "#bbdefb",
    "ready": "#fff9c4",
    "waiting": "#eeeeee",
    "needs approval": "#ffe0b2",
    "blocked": "#ffcdd2",
    "elsewhere": "#ffffff",
}


def mermaid(board: Board) -> str:
    """A flowchart: an arrow goes from a task to the one that waits for it."""
    names = _names(board)
    lines = ["flowchart LR"]
    for title, tasks in _groups(board):
        if title is not None:
            lines.append(f'    subgraph {title[0]}["{_mermaid_text(title[1])}"]')
        for task in tasks:
            style = state_of(board, task).replace(" ", "_")
            lines.append(f'    {names[task.id]}["{_mermaid_text(task.name)}"]:::{style}')
        if title is not None:
            lines.append("    end")
    lines += [
        f'    {names[needed.id]}(["{_mermaid_text(needed.name)}"]):::elsewhere'
        for needed in board.outside.values()
    ]
    lines += [f"    {names[needed]} --> {names[task]}" for needed, task in _edges(board)]
    for state, colour in _COLOURS.items():
        lines.append(f"    classDef {state.replace(' ', '_')} fill:{colour},color:#000")
    return "\n".join(lines)


def dot(board: Board) -> str:
    """A digraph: an arrow goes from a task to the one that waits for it."""
    names = _names(board)
    lines = ["digraph plan {", "    rankdir=LR;", '    node [shape=box, style="filled,rounded"];']
    for title, tasks in _groups(board):
        if title is not None:
            lines.append(f"    subgraph cluster_{title[0]} {{ label={_dot_text(title[1])};")
        for task in tasks:
            state = state_of(board, task)
            lines.append(
                f"    {names[task.id]} [label={_dot_text(task.name)}, tooltip={_dot_text(state)},"
                f' fillcolor="{_COLOURS[state]}"];'
            )
        if title is not None:
            lines.append("    }")
    lines += [
        f"    {names[needed.id]} [label={_dot_text(needed.name)}, style=dashed,"
        ' tooltip="of another initiative"];'
        for needed in board.outside.values()
    ]
    lines += [f"    {names[needed]} -> {names[task]};" for needed, task in _edges(board)]
    return "\n".join([*lines, "}"])


def _names(board: Board) -> dict[str, str]:
    """A name for each node: ids may hold what these languages read as their own."""
    ids = [*(task.id for task in board.tasks), *board.outside]
    return {one: f"t{number}" for number, one in enumerate(ids)}


def _groups(board: Board) -> Iterator[tuple[tuple[str, str] | None, list[Task]]]:
    """The tasks of each phase, with name and title of that, and those without a phase."""
    for number, phase in enumerate(board.phases):
        title = (f"p{number}", f"{phase.name} ({phase.status.replace('_', ' ')})")
        yield title, [task for task in board.tasks if task.phase_id == phase.id]
    yield None, [task for task in board.tasks if task.phase_id is None]


def _edges(board: Board) -> Iterator[tuple[str, str]]:
    for task, needs in board.task_needs.items():
        for needed in needs:
            yield needed, task


def _mermaid_text(text: str) -> str:
    """Everything but letters, digits and the like as a numbered entity."""
    return "".join(c if c.isalnum() or c in " ,.-_/()" else f"#{ord(c)};" for c in text)


def _dot_text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'
