"""Which flavors the pods of a pod set may run on, and which namespaces a queue serves: taints, affinity, selectors.

The trap: a pod's node selector and affinity count only for the label keys that the flavor itself declares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dure.core.queueing.kueue.objects import Flavor, PodSet

Rule = Mapping[str, Any]

_BLOCKING = {"NoSchedule", "NoExecute"}
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def tolerates(toleration: Rule, taint: Rule) -> bool:
    """Return whether a toleration covers a taint, as the Kubernetes scheduler reads it."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    if operator in {"Lt", "Gt"}:
        try:
            mine, theirs = int(toleration.get("value") or ""), int(taint.get("value") or "")
        except ValueError:
            return False
        return theirs < mine if operator == "Lt" else theirs > mine
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


def _rule_problem(rule: Rule, at: str) -> str:
    """Return what is wrong with a match expression, in Kubernetes' words; empty when nothing is."""
    operator, values = rule.get("operator", ""), [str(one) for one in rule.get("values") or ()]
    told = ""
    if operator not in _OPERATORS:
        known = ", ".join(f'"{one}"' for one in _OPERATORS)
        return f'{at}.operator: Unsupported value: "{operator}": supported values: {known}'
    if operator in {"In", "NotIn"} and not values:
        told = "for 'in', 'notin' operators, values set can't be empty"
    elif operator in {"Exists", "DoesNotExist"} and values:
        told = "values set must be empty for exists and does not exist"
    elif operator in {"Gt", "Lt"} and len(values) != 1:
        told = "for 'Gt', 'Lt' operators, exactly one value is required"
    elif operator in {"Gt", "Lt"} and not _is_integer(values[0]):
        told = "for 'Gt', 'Lt' operators, the value must be an integer"
        return f'{at}.values[0]: Invalid value: "{values[0]}": {told}'
    return f"{at}.values: Invalid value: {json.dumps(values, separators=(',', ':'))}: {told}" if told else ""


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def affinity_holds(flavor: Flavor, pods: PodSet) -> tuple[bool, str]:
    """Return whether the pods' node selector and required affinity accept the flavor's labels, and what is malformed.

    A malformed term counts only if no other holds.
    """
    labels = flavor.labels
    if any(labels[key] != value for key, value in pods.node_selector.items() if key in labels):
        return False, ""
    if pods.affinity_terms is None:
        return True, ""
    terms = []
    for term in pods.affinity_terms:
        rules = [rule for rule in term.get("matchExpressions") or () if rule.get("key") in labels]
        if not rules:
            return True, ""
        terms.append(rules)
    problems: list[str] = []
    for index, rules in enumerate(terms):
        at = f"nodeSelectorTerms[{index}].matchExpressions"
        found = [told for place, rule in enumerate(rules) if (told := _rule_problem(rule, f"{at}[{place}]"))]
        problems += found
        if not found and all(requirement_holds(rule, labels) for rule in rules):
            return True, ""
    told = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return not terms, told if problems else ""


def term_holds(term: Rule, labels: Mapping[str, str], name: str) -> bool:
    """Return whether a node selector term accepts a node; one without rules accepts none."""
    rules, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not rules and not fields:
        return False
    return all(requirement_holds(rule, labels) for rule in rules) and all(
        requirement_holds(rule, {"metadata.name": name}) for rule in fields
    )


def selector_holds(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector accepts the labels; None accepts nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(requirement_holds(rule, labels) for rule in selector.get("matchExpressions") or ())
