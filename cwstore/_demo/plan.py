"""The demo's own plan: an initiative of 5 phases and 40 tasks."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cwstore.entities.task import TaskCategoryLike, TaskPriorityLike
    from cwstore.store import Store


class Planned(NamedTuple):
    """A task; the others are named by their keys."""

    phase: str
    key: str
    name: str
    category: "TaskCategoryLike" = "execute"
    priority: "TaskPriorityLike" = "medium"
    needs: str = ""
    parent: str = ""


#: Each phase with those that must be complete before it.
PHASES = {
    "Groundwork": (),
    "Server": ("Groundwork",),
    "Browser": ("Groundwork",),
    "Proof": ("Server", "Browser"),
    "Release": ("Proof",),
}

TASKS = (
    Planned("Groundwork", "survey", "Read how sign-in works today", "research", "high"),
    Planned("Groundwork", "threats", "List what an attacker could try", "research", "high"),
    Planned("Groundwork", "browsers", "Find out which browsers know passkeys", "research"),
    Planned("Groundwork", "flow", "Draw the new sign-in flow", "plan", "high", "survey browsers"),
    Planned(
        "Groundwork", "fallback", "Decide what happens without a passkey", "discuss", needs="flow"
    ),
    Planned(
        "Groundwork", "tables", "Design the tables for credentials", "plan", "high", "flow threats"
    ),
    Planned("Groundwork", "limits", "Choose rate limits", "plan", needs="threats"),
    Planned("Groundwork", "words", "Agree on the words that users see", "discuss", "low", "flow"),
    Planned("Server", "api", "Build the sign-in service", priority="high"),
    Planned("Server", "migrate", "Write the migration", priority="high", parent="api"),
    Planned("Server", "challenge", "Issue challenges", needs="migrate", parent="api"),
    Planned("Server", "register", "Register a passkey", needs="challenge", parent="api"),
    Planned(
        "Server", "verify", "Verify a signature", priority="high", needs="challenge", parent="api"
    ),
    Planned("Server", "counter", "Refuse a cloned authenticator", needs="verify", parent="api"),
    Planned("Server", "throttle", "Apply the rate limits", needs="register verify", parent="api"),
    Planned("Server", "revoke", "Let a user remove a passkey", needs="register", parent="api"),
    Planned("Server", "audit", "Log each sign-in for the audit", priority="low", needs="verify"),
    Planned("Server", "describe", "Publish the API description", "detail", needs="register verify"),
    Planned("Browser", "ui", "Build the sign-in pages", priority="high"),
    Planned("Browser", "button", "Add the passkey button", parent="ui"),
    Planned("Browser", "prompt", "Offer a passkey after a password", needs="button", parent="ui"),
    Planned("Browser", "client", "Call the service", needs="describe", parent="ui"),
    Planned("Browser", "errors", "Explain every refusal", needs="client", parent="ui"),
    Planned("Browser", "manage", "List and remove passkeys", needs="client", parent="ui"),
    Planned(
        "Browser", "keyboard", "Make it work by keyboard alone", "refine", needs="prompt manage"
    ),
    Planned("Browser", "translate", "Translate the texts", "refine", "low", "errors"),
    Planned("Proof", "unit", "Test the service", "verify", "high"),
    Planned("Proof", "browser", "Test the pages in four browsers", "verify"),
    Planned("Proof", "load", "Sign in a thousand users at once", "verify", needs="unit"),
    Planned("Proof", "attack", "Try every attack on the list", "verify", "high", "unit"),
    Planned("Proof", "reader", "Try a screen reader", "verify", needs="browser"),
    Planned("Proof", "review", "Review the whole diff", "review", "high", "attack load reader"),
    Planned("Proof", "repair", "Repair what the review found", needs="review"),
    Planned("Release", "flag", "Put it behind a flag", priority="high"),
    Planned("Release", "merge", "Merge the branch", "merge", "high", "flag"),
    Planned("Release", "stage", "Switch it on for the team", needs="merge"),
    Planned("Release", "watch", "Watch the error rates", "verify", needs="stage"),
    Planned("Release", "guide", "Write the guide for users", priority="low"),
    Planned("Release", "announce", "Announce it", "discuss", "low", "guide watch"),
    Planned("Release", "retire", "Plan the end of passwords", "plan", "low", "watch"),
)


def store_plan(store: "Store") -> str:
    """Store the plan, all or nothing; the id of its initiative. Its phases are approved."""
    with store.transaction():
        initiative = store.initiatives.create(name="Sign in with a passkey", branch="cw/passkeys")
        phases: dict[str, str] = {}
        for name, needs in PHASES.items():
            phase = store.phases.create(initiative_id=initiative.id, name=name, status="approved")
            phases[name] = phase.id
            for need in needs:
                store.phases.create_dependency(phase.id, phases[need])
        tasks: dict[str, str] = {}
        for position, planned in enumerate(TASKS):
            task = store.tasks.create(
                name=planned.name,
                phase_id=phases[planned.phase],
                parent_task_id=tasks.get(planned.parent),
                category=planned.category,
                priority=planned.priority,
                sort_order=position,
            )
            tasks[planned.key] = task.id
            for need in planned.needs.split():
                store.tasks.create_dependency(task.id, tasks[need])
    return initiative.id
