"""Which flavors the pods of a pod set may run on, and which namespaces a queue serves: taints, affinity, selectors.

The trap: a pod's node selector and affinity count only for the label keys that the flavor itself declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dure.core.queueing.kueue.objects import Flavor, PodSet

Rule = Mapping[str, Any]

_BLOCKING = {"NoSchedule", "NoExecute"}


def tolerates(toleration: Rule, taint: Rule) -> bool:
    """Return whether a toleration covers a taint, as the Kubernetes scheduler reads it."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated_taint(flavor: Flavor, tolerations: Iterable[Rule]) -> Rule | None:
    """Return the first blocking taint of the flavor that nothing tolerates, or None."""
    return blocking_taint(flavor.taints, (*tolerations, *flavor.tolerations))


def blocking_taint(taints: Iterable[Rule], known: Sequence[Rule]) -> Rule | None:
    """Return the first taint that keeps pods away and that none of the known tolerations covers, or None."""
    for taint in taints:
        if taint.get("effect") in _BLOCKING and not any(tolerates(one, taint) for one in known):
            return taint
    return None


def taint_text(taint: Rule) -> str:
    """Return a taint as Kueue prints it, for instance `{instance spot NoSchedule <nil>}`."""
    parts = [*(taint.get(part, "") for part in ("key", "value", "effect")), taint.get("timeAdded", "<nil>")]
    return "{" + " ".join(parts) + "}"


def requirement_holds(rule: Rule, labels: Mapping[str, str]) -> bool:
    """Return whether one match expression holds for the labels."""
    value = labels.get(rule.get("key", ""))
    values = [str(one) for one in rule.get("values") or ()]
    operator = rule.get("operator")
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator in {"Gt", "Lt"} and value is not None and values:
        try:
            left, right = int(value), int(values[0])
        except ValueError:
            return False
        return left > right if operator == "Gt" else left < right
    return False


def affinity_holds(flavor: Flavor, pods: PodSet) -> bool:
    """Return whether the pods' node selector and required affinity accept the flavor's labels."""
    labels = flavor.labels
    if any(labels[key] != value for key, value in pods.node_selector.items() if key in labels):
        return False
    if pods.affinity_terms is None:
        return True
    terms = []
    for term in pods.affinity_terms:
        rules = [rule for rule in term.get("matchExpressions") or () if rule.get("key") in labels]
        if not rules:
            return True
        terms.append(rules)
    return not terms or any(all(requirement_holds(rule, labels) for rule in rules) for rules in terms)


def selector_holds(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector accepts the labels; None accepts nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(requirement_holds(rule, labels) for rule in selector.get("matchExpressions") or ())
